/**
 * @file The checkpoints of one run: weights out, test.
 */
import { useEffect, useState, type ReactNode } from 'react';
import { formatBytes } from '../../../lib/bytes';
import type { CheckpointInfo } from '../../../training/types';
import { dateText, fixed } from '../../format';
import { useRuns } from '../../state/runsStore';
import type { RunRecord } from '../../state/types';

export function Checkpoints({
  run,
  attempt,
}: {
  readonly run: RunRecord;
  readonly attempt: (work: Promise<unknown>) => void;
}): ReactNode {
  const { checkpoints, exportWeights } = useRuns();
  const [list, setList] = useState<readonly CheckpointInfo[] | null>(null);
  useEffect(() => {
    let current = true;
    checkpoints(run.id).then(
      (found) => current && setList(found),
      (error: unknown) => current && attempt(Promise.reject(error)),
    );
    return () => {
      current = false;
    };
    // `attempt` only shows an error; it is new at every render.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [run.id, run.updatedAt, checkpoints]);
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Checkpoints of “{run.name}”</h2>
        <span className="muted small">complete and verified; the last two and the best are kept</span>
      </header>
      <table data-testid="checkpoints">
        <thead>
          <tr>
            <th>Kind</th>
            <th className="num">Epoch</th>
            <th className="num">Step</th>
            <th className="num">Validation Dice</th>
            <th className="num">Size</th>
            <th>Saved</th>
            <th>Weights for Python</th>
          </tr>
        </thead>
        <tbody>
          {(list ?? []).map((c) => (
            <tr key={c.id}>
              <td>{c.kind}</td>
              <td className="num">
                {c.epoch}
                {c.batchInEpoch > 0 && ` + ${c.batchInEpoch} batches`}
              </td>
              <td className="num">{c.step}</td>
              <td className="num">{fixed(c.valDice)}</td>
              <td className="num">{formatBytes(c.bytes)}</td>
              <td>{dateText(c.savedAt)}</td>
              <td>
                <button
                  type="button"
                  className="button quiet small"
                  onClick={() => attempt(exportWeights(c.id, 'safetensors'))}
                >
                  .safetensors
                </button>
                <button
                  type="button"
                  className="button quiet small"
                  title="torch.load(path, weights_only=True)"
                  onClick={() => attempt(exportWeights(c.id, 'pth'))}
                >
                  .pth
                </button>
              </td>
            </tr>
          ))}
          {list?.length === 0 && (
            <tr>
              <td colSpan={7} className="muted">
                None saved
              </td>
            </tr>
          )}
        </tbody>
      </table>
    </section>
  );
}
