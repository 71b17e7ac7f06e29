/**
 * @file The report before training: counts, sizes, foreground, mask values and how they are read.
 */
import type { ReactNode } from 'react';
import { Figure } from '../../components/basics';
import { fixed } from '../../format';
import { useConfig } from '../../state/configStore';
import { useDataset } from '../../state/datasetStore';

export function ReportPanel(): ReactNode {
  const report = useDataset((s) => s.report);
  const labels = useDataset((s) => s.labels);
  const reason = useDataset((s) => s.labelReason);
  const config = useConfig((s) => s.config);
  const setValue = useConfig((s) => s.setValue);
  if (report === null) return null;
  const size = (r: readonly [number, number, number] | null): string =>
    r === null ? '–' : r[0] === r[2] ? `${r[0]} px` : `${r[0]}–${r[2]} px, mean ${Math.round(r[1])}`;
  const f = report.foreground;
  const largest = Math.max(1, ...(f?.histogram ?? []));
  const usesThreshold = labels?.encoding.kind === 'threshold' || labels?.encoding.kind === 'class';
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Report</h2>
        <span className="muted small">
          {report.inspected.toLocaleString()} of {report.total.toLocaleString()} samples checked
        </span>
      </header>
      <div className="body stack">
        <table>
          <thead>
            <tr>
              <th>Class</th>
              <th className="num">Samples</th>
              <th className="num">Train</th>
              <th className="num">Validation</th>
              <th className="num">Test</th>
              <th className="num">Not used</th>
            </tr>
          </thead>
          <tbody>
            {report.counts.map((r) => (
              <tr key={r.className} style={r.className === 'all' ? { fontWeight: 600 } : undefined}>
                <td>{r.className}</td>
                <td className="num">{r.total}</td>
                <td className="num">{r.train}</td>
                <td className="num">{r.val}</td>
                <td className="num">{r.test}</td>
                <td className="num">{r.unused}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <div className="report-grid">
          <div className="stack tight">
            <Figure label="Width" value={size(report.width)} />
            <Figure label="Height" value={size(report.height)} />
            <Figure
              label="Patients"
              value={report.patients ?? 'not known'}
              title="Case numbers from names or tables"
            />
            <Figure
              label="Image modes"
              value={<span className="small">{report.modes.map(([m, n]) => `${m} ${n}`).join(', ')}</span>}
              title="Pillow's mode names of the files"
            />
          </div>
          {f !== null && (
            <div className="stack tight">
              <span className="muted small" title="Share of foreground pixels per image">
                Foreground per image: mean {fixed(100 * f.mean, 1)} %, median {fixed(100 * f.median, 1)} %,{' '}
                {fixed(100 * f.min, 1)}–{fixed(100 * f.max, 1)} %
              </span>
              <div
                className="histogram"
                role="img"
                aria-label={`Histogram of the foreground share, 0 to ${fixed(100 * f.max, 1)} percent`}
              >
                {f.histogram.map((n, i) => (
                  <span
                    key={i}
                    style={{ height: `${(100 * n) / largest}%` }}
                    title={`${n} images from ${fixed(100 * i * f.binWidth, 1)} to ${fixed(100 * (i + 1) * f.binWidth, 1)} %`}
                  />
                ))}
              </div>
              <div className="row between small muted">
                <span>0 %</span>
                <span>{fixed(100 * f.max, 1)} %</span>
              </div>
            </div>
          )}
        </div>
        <div className="stack tight">
          <div className="row">
            <h3 className="grow">Masks</h3>
            <label className="row small">
              read as
              <select
                className="input"
                style={{ width: 120 }}
                value={config?.data.label_mode ?? 'auto'}
                onChange={(e) => setValue('data.label_mode', e.target.value)}
              >
                {['auto', 'binary', 'values', 'colors', 'class'].map((m) => (
                  <option key={m}>{m}</option>
                ))}
              </select>
            </label>
            {usesThreshold && (
              <label className="row small" title="A mask pixel above it is foreground">
                threshold
                <input
                  className="input"
                  style={{ width: 64 }}
                  type="number"
                  min={0}
                  max={254}
                  value={config?.data.threshold ?? 127}
                  onChange={(e) => setValue('data.threshold', Number(e.target.value))}
                />
              </label>
            )}
          </div>
          <p className="small">{reason}</p>
          {report.softMasks > 0 && (
            <p className="note warning small">
              {report.softMasks} masks have soft edges. Pixels above {config?.data.threshold} count as
              foreground; change the threshold above if that is not what you mean.
            </p>
          )}
          <div className="values">
            {report.values.slice(0, 40).map((v) => (
              <span
                key={v.value}
                className={`chip ${v.label === null ? 'warning' : ''}`}
                title={`${v.pixels.toLocaleString()} pixels`}
              >
                <span className="mono">{v.value}</span> → {v.label ?? 'unexpected'}
              </span>
            ))}
            {report.values.length > 40 && (
              <span className="muted small">and {report.values.length - 40} more values</span>
            )}
          </div>
        </div>
      </div>
    </section>
  );
}
