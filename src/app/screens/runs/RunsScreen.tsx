/**
 * @file Runs: the table, comparison, export and import.
 */
import { useEffect, useRef, useState, type ReactNode } from 'react';
import { formatBytes } from '../../../lib/bytes';
import { toPlainError, type PlainError } from '../../../lib/errors';
import { Confirm, Empty, ErrorNote } from '../../components/basics';
import { compact, dateText, fixed } from '../../format';
import { goTo, href } from '../../router';
import { useConfig } from '../../state/configStore';
import { useRuns } from '../../state/runsStore';
import { useTraining } from '../../state/trainingStore';
import type { RunRecord } from '../../state/types';
import { Checkpoints } from './Checkpoints';
import { Compare } from './Compare';
import { Continue } from './Continue';
import './runs.css';
import '../data/data.css';

export function RunsScreen(): ReactNode {
  const store = useRuns();
  const { refresh } = store;
  const resume = useTraining((s) => s.resume);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [deleting, setDeleting] = useState<RunRecord | null>(null);
  const [continuing, setContinuing] = useState<RunRecord | null>(null);
  const [error, setError] = useState<PlainError | null>(null);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    void refresh();
  }, [refresh]);
  const attempt = (work: Promise<unknown>): void => {
    setError(null);
    work.catch((e: unknown) => setError(toPlainError(e)));
  };
  const chosen = store.runs.filter((r) => picked.has(r.id));
  return (
    <div
      className="stack"
      onDragOver={(e) => e.preventDefault()}
      onDrop={(e) => {
        e.preventDefault();
        const file = e.dataTransfer.files[0];
        if (file !== undefined) attempt(store.importFile(file));
      }}
    >
      {(error ?? store.error) !== null && <ErrorNote error={(error ?? store.error) as PlainError} />}
      <section className="panel">
        <header>
          <h2 className="grow">Runs</h2>
          <span className="muted small">drop an exported run or weights here</span>
          <button
            type="button"
            className="button"
            onClick={() => {
              if (input.current === null) return;
              input.current.value = ''; // the same file again is a change too
              input.current.click();
            }}
          >
            Import…
          </button>
          <input
            ref={input}
            type="file"
            hidden
            accept=".zip,.safetensors,.pth,.pt,.bin"
            data-testid="import-input"
            aria-label="Run or weights to import"
            onChange={(e) =>
              e.target.files?.[0] !== undefined && attempt(store.importFile(e.target.files[0]))
            }
          />
        </header>
        {store.status === 'loading' && (
          <p className="muted" style={{ padding: 12 }}>
            Reading the runs…
          </p>
        )}
        {store.status === 'ready' && store.runs.length === 0 && (
          <Empty title="No runs yet">
            Every training appears here with its configuration, its metrics and its checkpoints, and stays
            after a reload.
          </Empty>
        )}
        {store.runs.length > 0 && (
          <div style={{ overflowX: 'auto' }}>
            <table className="runs-table" data-testid="runs">
              <thead>
                <tr>
                  <th>
                    <span className="visually-hidden">Compare</span>
                  </th>
                  <th>Name</th>
                  <th>Model and data</th>
                  <th>Status</th>
                  <th className="num">Epochs</th>
                  <th className="num" title="Highest validation Dice and its epoch">
                    Best Dice
                  </th>
                  <th className="num" title="Validation Dice of the last epoch">
                    Last Dice
                  </th>
                  <th className="num">Last loss</th>
                  <th className="num" title="Checkpoints kept in this browser">
                    Size
                  </th>
                  <th>Started</th>
                  <th>
                    <span className="visually-hidden">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {store.runs.map((r) => (
                  <Row
                    key={r.id}
                    run={r}
                    picked={picked.has(r.id)}
                    onPick={() =>
                      setPicked((before) => {
                        const next = new Set(before);
                        if (!next.delete(r.id)) next.add(r.id);
                        return next;
                      })
                    }
                    onDelete={() => setDeleting(r)}
                    onContinue={() => setContinuing(r)}
                    attempt={attempt}
                  />
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      {chosen.length === 1 && <Checkpoints run={chosen[0] as RunRecord} attempt={attempt} />}
      {chosen.length > 0 && <Compare runs={chosen} />}
      <Continue
        run={continuing}
        onClose={() => setContinuing(null)}
        onContinue={(epochs) => {
          if (continuing !== null) attempt(resume(continuing.id, undefined, continuing.epoch + epochs));
          setContinuing(null);
          goTo('train');
        }}
      />
      <Confirm
        open={deleting !== null}
        title="Delete run"
        action="Delete"
        onCancel={() => setDeleting(null)}
        onConfirm={() => {
          if (deleting !== null) attempt(store.remove(deleting.id));
          setDeleting(null);
        }}
      >
        {deleting !== null && (
          <p>
            “{deleting.name}” with its checkpoints ({formatBytes(deleting.bytes)}) is deleted from this
            browser. This cannot be undone.
          </p>
        )}
      </Confirm>
    </div>
  );
}

const FINISHED: readonly RunRecord['status'][] = ['completed', 'early-stopped'];
const RESUMABLE: readonly RunRecord['status'][] = ['interrupted', 'paused', 'stopped', 'failed'];

function Row({
  run,
  picked,
  onPick,
  onDelete,
  onContinue,
  attempt,
}: {
  readonly run: RunRecord;
  readonly picked: boolean;
  readonly onPick: () => void;
  readonly onDelete: () => void;
  readonly onContinue: () => void;
  readonly attempt: (work: Promise<unknown>) => void;
}): ReactNode {
  const store = useRuns();
  const active = useTraining((s) => s.runId === run.id && !['idle', 'ended', 'failed'].includes(s.status));
  const busy = useTraining((s) => !['idle', 'ended', 'failed'].includes(s.status));
  const resume = useTraining((s) => s.resume);
  const load = useConfig((s) => s.load);
  return (
    <tr aria-selected={picked}>
      <td>
        <input
          type="checkbox"
          checked={picked}
          onChange={onPick}
          aria-label={`Show ${run.name}`}
          title="Show details; several: compare"
        />
      </td>
      <td>
        <input
          className="input name"
          aria-label="Run name"
          defaultValue={run.name}
          key={run.name}
          title={run.name}
          onKeyDown={(e) => e.key === 'Enter' && e.currentTarget.blur()}
          onBlur={(e) =>
            e.target.value.trim() !== '' &&
            e.target.value !== run.name &&
            attempt(store.rename(run.id, e.target.value.trim()))
          }
        />
      </td>
      <td>
        {run.model}
        <div className="muted small">{run.datasetName}</div>
      </td>
      <td>
        <span className={`chip ${run.status === 'failed' ? 'error' : ''}`} title={run.error?.message}>
          {run.origin === 'imported' ? 'imported' : run.status}
        </span>
      </td>
      <td className="num">
        {run.epoch} / {run.epochs}
      </td>
      <td className="num">{run.best === null ? '–' : `${fixed(run.best.dice)} @ ${run.best.epoch}`}</td>
      <td className="num">{fixed(run.last?.['val/dice'])}</td>
      <td className="num">
        {run.last?.['train/loss'] === undefined ? '–' : compact(run.last['train/loss'])}
      </td>
      <td className="num">{formatBytes(run.bytes)}</td>
      <td className="started">{dateText(run.createdAt)}</td>
      <td>
        <div className="run-actions">
          {RESUMABLE.includes(run.status) && (
            <button
              type="button"
              className="button quiet small"
              disabled={busy}
              title={busy ? 'Another training is running' : 'Goes on from the last checkpoint'}
              onClick={() => {
                attempt(resume(run.id));
                goTo('train');
              }}
            >
              Resume
            </button>
          )}
          {FINISHED.includes(run.status) && run.origin === 'trained' && (
            <button
              type="button"
              className="button quiet small"
              disabled={busy}
              title={busy ? 'Another training is running' : 'Trains more epochs from the last checkpoint'}
              onClick={onContinue}
            >
              Continue…
            </button>
          )}
          <a className="button quiet small" href={href('inspect', { run: run.id })}>
            Test
          </a>
          <button
            type="button"
            className="button quiet small"
            title="Puts this run's settings into the configuration"
            onClick={() => {
              load(run.config);
              goTo('train');
            }}
          >
            Use config
          </button>
          <button
            type="button"
            className="button quiet small"
            title="Config, metrics, log, weights, last test, TensorBoard events"
            onClick={() => attempt(store.exportRun(run.id, 'zip'))}
          >
            Zip
          </button>
          <button
            type="button"
            className="button quiet small"
            disabled={!('showDirectoryPicker' in globalThis)}
            title={
              'showDirectoryPicker' in globalThis
                ? 'The run folder, straight into a folder of yours'
                : 'This browser cannot write into folders; use Zip'
            }
            onClick={() => attempt(store.exportRun(run.id, 'directory'))}
          >
            Folder…
          </button>
          <button
            type="button"
            className="button quiet small"
            disabled={active}
            title={active ? 'It is training' : undefined}
            onClick={onDelete}
          >
            Delete
          </button>
        </div>
      </td>
    </tr>
  );
}
