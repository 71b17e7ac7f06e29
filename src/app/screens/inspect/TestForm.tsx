/**
 * @file What to test on what: run, checkpoint, split or folder, convention, resolution.
 */
import { useEffect, useState, type ReactNode } from 'react';
import type { CheckpointInfo } from '../../../training/types';
import { dateText, fixed } from '../../format';
import { useRoute } from '../../router';
import { useDataset } from '../../state/datasetStore';
import { useInspect } from '../../state/inspectStore';
import { useRuns } from '../../state/runsStore';
import { useTraining } from '../../state/trainingStore';

export function TestForm(): ReactNode {
  const { query } = useRoute();
  const { runs, refresh, checkpoints } = useRuns();
  const inspect = useInspect();
  const folders = useDataset((s) => s.folders);
  const dataOpen = useDataset((s) => s.dataset !== null);
  const busy = useTraining((s) => s.status === 'running');
  const [runId, setRunId] = useState(query.get('run') ?? '');
  const [list, setList] = useState<readonly CheckpointInfo[]>([]);
  const [checkpointId, setCheckpointId] = useState('');
  const [target, setTarget] = useState('split:test');
  const [convention, setConvention] = useState<'framework' | 'monai'>('framework');
  const [resolution, setResolution] = useState<'model' | 'original'>('model');
  const reload = inspect.refresh;
  useEffect(() => {
    void refresh();
    void reload();
  }, [refresh, reload]);
  const run = runs.find((r) => r.id === runId) ?? runs[0] ?? null;
  const current = run?.id ?? null;
  const updated = run?.updatedAt;
  useEffect(() => {
    if (current === null) return;
    let live = true;
    void checkpoints(current).then((found) => {
      if (!live) return;
      setList(found);
      setCheckpointId((before) =>
        found.some((c) => c.id === before)
          ? before
          : ((found.find((c) => c.kind === 'best') ?? found[0])?.id ?? ''),
      );
    });
    return () => {
      live = false;
    };
  }, [current, updated, checkpoints]);
  const why =
    run === null
      ? 'Train or import a run first'
      : checkpointId === ''
        ? 'This run has no checkpoint'
        : !dataOpen
          ? 'Open the data first'
          : inspect.status === 'running'
            ? 'A test is running'
            : null;
  const test = (): void => {
    if (run === null) return;
    const [kind, value] = target.split(/:(.*)/s) as [string, string];
    void inspect.evaluate({
      runId: run.id,
      checkpointId,
      target:
        kind === 'split' ? { kind: 'split', split: value as 'test' } : { kind: 'folder', folderId: value },
      convention,
      resolution,
    });
  };
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Test</h2>
        <button
          type="button"
          className="button primary"
          disabled={why !== null}
          title={why ?? (busy ? 'Runs between training steps' : undefined)}
          onClick={test}
          data-testid="test-button"
        >
          Test
        </button>
      </header>
      <div className="body stack tight">
        <label className="field-label">
          Run
          <select
            className="input"
            value={current ?? ''}
            onChange={(e) => setRunId(e.target.value)}
            disabled={runs.length === 0}
          >
            {runs.length === 0 && <option value="">no runs yet</option>}
            {runs.map((r) => (
              <option key={r.id} value={r.id}>
                {r.name}
              </option>
            ))}
          </select>
        </label>
        <label className="field-label">
          Checkpoint
          <select
            className="input"
            value={checkpointId}
            onChange={(e) => setCheckpointId(e.target.value)}
            disabled={list.length === 0}
          >
            {list.length === 0 && <option value="">none</option>}
            {list.map((c) => (
              <option key={c.id} value={c.id}>
                {c.kind}: epoch {c.epoch}
                {c.batchInEpoch > 0 ? ` + ${c.batchInEpoch} batches` : ''}
                {c.valDice === null ? '' : `, validation Dice ${fixed(c.valDice)}`}
              </option>
            ))}
          </select>
        </label>
        <label className="field-label">
          On
          <select className="input" value={target} onChange={(e) => setTarget(e.target.value)}>
            {(['test', 'val', 'train'] as const).map((s) => (
              <option key={s} value={`split:${s}`}>
                {s === 'val' ? 'validation' : s} split{run === null ? '' : ` (${run.split[s].length})`}
              </option>
            ))}
            {folders.map((f) => (
              <option key={f.id} value={`folder:${f.id}`}>
                all of {f.name}
              </option>
            ))}
          </select>
        </label>
        <div className="row">
          <label className="field-label grow" title="What metrics say for empty masks, and which HD95">
            Convention
            <select
              className="input"
              value={convention}
              onChange={(e) => setConvention(e.target.value as 'framework')}
            >
              <option value="framework">framework</option>
              <option value="monai">MONAI</option>
            </select>
          </label>
          <label className="field-label grow" title="Where masks are compared">
            Compared at
            <select
              className="input"
              value={resolution}
              onChange={(e) => setResolution(e.target.value as 'model')}
            >
              <option value="model">network size</option>
              <option value="original">original size</option>
            </select>
          </label>
        </div>
        {inspect.previous.length > 0 && (
          <label className="field-label">
            Earlier results
            <select
              className="input"
              value={inspect.result?.id ?? ''}
              onChange={(e) => e.target.value !== '' && void inspect.open(e.target.value)}
            >
              <option value="">choose…</option>
              {inspect.previous.map((p) => (
                <option key={p.id} value={p.id}>
                  {p.title}, {dateText(p.createdAt)}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
    </section>
  );
}
