/**
 * @file Inspect: test a checkpoint, cases worst first, four linked views.
 */
import type { ReactNode } from 'react';
import { describeMetric } from '../../../metrics/definitions';
import { metricNames } from '../../../metrics/caseMetrics';
import { Empty, ErrorNote, ProgressLine } from '../../components/basics';
import { fixed } from '../../format';
import { useInspect } from '../../state/inspectStore';
import { CaseList } from './CaseList';
import { TestForm } from './TestForm';
import { Viewer } from './Viewer';
import './inspect.css';

/** HD, the single farthest pixel, is in the CSV; HD95 is what papers report. */
const COLUMNS = metricNames.filter((m) => m !== 'hd');

export function InspectScreen(): ReactNode {
  const { result, status, progress, error, cancel } = useInspect();
  return (
    <div className="inspect-screen">
      <div className="inspect-side">
        <TestForm />
        {error !== null && <ErrorNote error={error} />}
        {status === 'running' && (
          <div className="panel">
            <div className="body stack tight">
              <ProgressLine done={progress?.done ?? 0} total={progress?.total ?? null} label="Testing" />
              <button type="button" className="button" onClick={cancel}>
                Stop
              </button>
            </div>
          </div>
        )}
        {result !== null && <CaseList />}
      </div>
      <div className="stack" style={{ minHeight: 0 }}>
        {result === null ? (
          <section className="panel" style={{ height: '100%' }}>
            <Empty title="Nothing tested yet">
              Choose a run and press “Test”: cases appear worst first, with image, ground truth, prediction
              and difference side by side.
            </Empty>
          </section>
        ) : (
          <>
            <Summary />
            <Viewer />
          </>
        )}
      </div>
    </div>
  );
}

function Summary(): ReactNode {
  const { result, exportPredictions, exportCasesCsv } = useInspect();
  if (result === null) return null;
  const labels = [...new Set(result.summary.map((r) => r.label))];
  const row = (label: string, metric: string): (typeof result.summary)[number] | undefined =>
    result.summary.find((r) => r.label === label && r.metric === metric);
  return (
    <section className="panel">
      <header>
        <h2 className="grow ellipsis">{result.title}</h2>
        <span className="chip" title="What metrics say for empty masks, and which HD95">
          {result.convention === 'framework' ? "framework's convention" : "MONAI's convention"}
        </span>
        <span className="chip" title="Where masks were compared; distances are in these pixels">
          {result.resolution === 'model' ? 'at network size' : 'at original size'}
        </span>
        <button
          type="button"
          className="button"
          onClick={() => void exportPredictions('zip')}
          title="8-bit PNG label maps, as a zip"
        >
          Predictions
        </button>
        <button
          type="button"
          className="button"
          onClick={() => void exportCasesCsv()}
          title="One row per case and label"
        >
          Cases CSV
        </button>
      </header>
      <div style={{ overflowX: 'auto' }}>
        <table className="summary-table" data-testid="summary">
          <thead>
            <tr>
              <th title="Mean and population standard deviation over cases">Mean ± std</th>
              {COLUMNS.map((m) => (
                <th key={m} className="num" title={describeMetric(m, result.convention)}>
                  {describeMetric(m, result.convention).split(':')[0]}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {labels.map((label) => (
              <tr key={label}>
                <td>
                  {label} <span className="muted small">n = {row(label, 'dice')?.n ?? 0}</span>
                </td>
                {COLUMNS.map((m) => {
                  const r = row(label, m);
                  const digits = ['hd95', 'assd', 'hd'].includes(m) ? 2 : 3;
                  return (
                    <td
                      key={m}
                      className="num"
                      title={
                        r === undefined
                          ? undefined
                          : `n = ${r.n} cases with a value. ${describeMetric(m, result.convention)}`
                      }
                    >
                      {fixed(r?.mean, digits)} <span className="muted small">± {fixed(r?.std, digits)}</span>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
