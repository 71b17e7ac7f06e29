/**
 * @file One run's curves, or several overlaid, with what differs between their configurations.
 */
import { lazy, Suspense, useEffect, useMemo, useState, type ReactNode } from 'react';
import { leaves, type Tree } from '../../../config/tree';
import { toPlainError, type PlainError } from '../../../lib/errors';
import { ErrorNote } from '../../components/basics';
import { useRuns } from '../../state/runsStore';
import type { LiveSeries, RunRecord } from '../../state/types';

const Chart = lazy(() => import('../../components/chart/Chart').then((m) => ({ default: m.Chart })));
const COLORS = ['var(--run-1)', 'var(--run-2)', 'var(--run-3)', 'var(--run-4)', 'var(--run-5)'];

export function Compare({ runs }: { readonly runs: readonly RunRecord[] }): ReactNode {
  const history = useRuns((s) => s.history);
  const [series, setSeries] = useState<ReadonlyMap<string, LiveSeries>>(new Map());
  const [error, setError] = useState<PlainError | null>(null);
  const key = runs.map((r) => `${r.id}:${r.updatedAt}`).join();
  useEffect(() => {
    let current = true;
    Promise.all(runs.map(async (r) => [r.id, await history(r.id)] as const)).then(
      (all) => current && setSeries(new Map(all)),
      (e: unknown) => current && setError(toPlainError(e)),
    );
    return () => {
      current = false;
    };
    // `key` stands for the runs and their state.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [key, history]);
  const curves = (metric: string): { name: string; color: string; points: { x: number; y: number }[] }[] =>
    runs.map((r, i) => ({
      name: r.name,
      color: COLORS[i % COLORS.length] as string,
      points: (series.get(r.id)?.epochs ?? []).map((e) => ({
        x: e.epoch,
        y: e.metrics[metric] ?? Number.NaN,
      })),
    }));
  return (
    <>
      {error !== null && <ErrorNote error={error} />}
      <div className="run-detail">
        <Suspense fallback={<p className="muted">Loading charts…</p>}>
          <Chart title="Validation Dice" curves={curves('val/dice')} xLabel="epoch" domain={[0, 1]} />
          <Chart title="Train loss" curves={curves('train/loss')} xLabel="epoch" />
        </Suspense>
      </div>
      <ConfigDifference runs={runs} />
    </>
  );
}

/** All keys of one run, or those in which several differ. */
function ConfigDifference({ runs }: { readonly runs: readonly RunRecord[] }): ReactNode {
  const rows = useMemo(() => {
    const all = runs.map(
      (r) => new Map([...leaves(r.config as unknown as Tree)].map(([k, v]) => [k, JSON.stringify(v)])),
    );
    const keys = [...new Set(all.flatMap((m) => [...m.keys()]))];
    return keys
      .map((k) => [k, all.map((m) => m.get(k) ?? '–')] as const)
      .filter(([, values]) => runs.length === 1 || new Set(values).size > 1);
  }, [runs]);
  return (
    <details className="panel" open={runs.length > 1}>
      <summary style={{ padding: '8px 12px', fontWeight: 600 }}>
        {runs.length === 1 ? 'Configuration as used' : `Configuration: ${rows.length} keys differ`}
      </summary>
      <div style={{ overflowX: 'auto' }}>
        <table>
          <thead>
            <tr>
              <th>Key</th>
              {runs.map((r) => (
                <th key={r.id}>{r.name}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map(([k, values]) => (
              <tr key={k}>
                <td className="mono">{k}</td>
                {values.map((v, i) => (
                  <td key={runs[i]?.id} className="mono">
                    {v}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
