/**
 * @file One chart: curves over step, epoch or time; smoothing, true logarithm, best marked, data as table and CSV, picture as SVG.
 */
import { useMemo, useRef, useState, type ReactNode } from 'react';
import {
  CartesianGrid,
  Line,
  LineChart,
  ReferenceDot,
  ReferenceLine,
  ResponsiveContainer,
  Tooltip,
  XAxis,
  YAxis,
} from 'recharts';
import { stringifyCsv } from '../../../formats/csv';
import { compact } from '../../format';
import { downsample, positive, smooth, type Point } from './series';

const LIMIT = 800;
const DASHES = ['', '5 3', '2 2', '8 3 2 3', '1 3'];

export interface Curve {
  readonly name: string;
  readonly points: readonly Point[];
  /** CSS colour; dash is the second channel. */
  readonly color: string;
}

export interface ChartProps {
  readonly title: string;
  readonly curves: readonly Curve[];
  readonly xLabel: string;
  readonly unit?: string;
  readonly smoothing?: number;
  readonly best?: { readonly x: number; readonly y: number; readonly text: string } | null;
  readonly marks?: readonly { readonly x: number; readonly text: string }[];
  readonly height?: number;
  readonly domain?: readonly [number | 'auto', number | 'auto'];
}

type Row = Record<string, number>;

/** Rows for recharts: one per x, raw values under "name", smoothed ones under "name~". */
function rowsOf(curves: readonly Curve[], smoothing: number, log: boolean): { rows: Row[]; hidden: number } {
  const byX = new Map<number, Row>();
  let hidden = 0;
  const put = (key: string, points: readonly Point[]): void => {
    for (const p of points) {
      const row = byX.get(p.x) ?? { x: p.x };
      row[key] = p.y;
      byX.set(p.x, row);
    }
  };
  for (const c of curves) {
    const finite = c.points.filter((p) => Number.isFinite(p.y));
    const { shown, hidden: gone } = log ? positive(finite) : { shown: finite, hidden: 0 };
    hidden += gone;
    put(c.name, downsample(shown, LIMIT));
    if (smoothing > 0) put(`${c.name}~`, downsample(smooth(shown, smoothing), LIMIT));
  }
  return { rows: [...byX.values()].sort((a, b) => (a['x'] as number) - (b['x'] as number)), hidden };
}

/** Axis ticks: three digits are enough to tell them apart and fit. */
const tick = (v: number): string => compact(Number(v.toPrecision(3)));

/** "validation Dice rose from 0.41 to 0.86". */
function summaryOf(curves: readonly Curve[]): string {
  return curves
    .flatMap(({ name, points }) => {
      const finite = points.filter((p) => Number.isFinite(p.y));
      const [a, b] = [finite[0], finite.at(-1)];
      if (a === undefined || b === undefined || finite.length < 2) return [];
      return [
        `${name} ${b.y > a.y ? 'rose' : b.y < a.y ? 'fell' : 'stayed'} from ${compact(a.y)} to ${compact(b.y)}`,
      ];
    })
    .join('; ');
}

function save(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

export function Chart({
  title,
  curves,
  xLabel,
  unit = '',
  smoothing = 0,
  best = null,
  marks = [],
  height = 190,
  domain = ['auto', 'auto'],
}: ChartProps): ReactNode {
  const [log, setLog] = useState(false);
  const [table, setTable] = useState(false);
  const [lit, setLit] = useState<string | null>(null);
  const frame = useRef<HTMLDivElement>(null);
  const { rows, hidden } = useMemo(() => rowsOf(curves, smoothing, log), [curves, smoothing, log]);
  const file = title.replaceAll(/\W+/g, '_').toLowerCase();
  const csv = (): void => {
    const names = curves.map((c) => c.name);
    const all = rowsOf(curves, 0, false).rows;
    save(
      `${file}.csv`,
      'text/csv',
      stringifyCsv([
        [xLabel, ...names],
        ...all.map((r) => [r['x'] ?? null, ...names.map((n) => r[n] ?? null)]),
      ]),
    );
  };
  const svg = (): void => {
    const node = frame.current?.querySelector('svg.recharts-surface');
    if (node !== null && node !== undefined)
      save(`${file}.svg`, 'image/svg+xml', new XMLSerializer().serializeToString(node));
  };
  const summary = summaryOf(curves);
  return (
    <figure className="panel chart">
      <header>
        <h2 className="grow">
          {title}
          {unit !== '' && <span className="muted"> ({unit})</span>}
        </h2>
        <button
          type="button"
          className="button quiet small"
          aria-pressed={log}
          onClick={() => setLog(!log)}
          title="Logarithmic vertical axis"
        >
          log
        </button>
        <button
          type="button"
          className="button quiet small"
          aria-pressed={table}
          onClick={() => setTable(!table)}
          title="Show the numbers as a table"
        >
          table
        </button>
        <button type="button" className="button quiet small" onClick={csv} title="Download the curve as CSV">
          CSV
        </button>
        <button
          type="button"
          className="button quiet small"
          onClick={svg}
          disabled={rows.length === 0}
          title="Download the picture as SVG"
        >
          SVG
        </button>
      </header>
      <div className="legend row wrap small">
        {curves.map((c, i) => (
          <span key={c.name} onMouseEnter={() => setLit(c.name)} onMouseLeave={() => setLit(null)}>
            <svg width="22" height="8" aria-hidden="true">
              <line
                x1="0"
                y1="4"
                x2="22"
                y2="4"
                stroke={c.color}
                strokeWidth="2"
                strokeDasharray={DASHES[i % DASHES.length]}
              />
            </svg>{' '}
            {c.name}
          </span>
        ))}
        {hidden > 0 && <span className="muted">{hidden} points ≤ 0 hidden</span>}
      </div>
      {table ? (
        <div
          style={{ maxHeight: height, overflow: 'auto' }}
          tabIndex={0}
          role="region"
          aria-label={`${title}: numbers`}
        >
          <table>
            <thead>
              <tr>
                <th>{xLabel}</th>
                {curves.map((c) => (
                  <th key={c.name} className="num">
                    {c.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.slice(-200).map((r) => (
                <tr key={r['x']}>
                  <td>{compact(r['x'] as number)}</td>
                  {curves.map((c) => (
                    <td key={c.name} className="num">
                      {r[c.name] === undefined ? '' : compact(r[c.name] as number)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div ref={frame} style={{ height }} aria-label={`${title}. ${summary}`} role="img">
          {rows.length === 0 ? (
            <p className="muted small" style={{ padding: 24, textAlign: 'center' }}>
              No points yet
            </p>
          ) : (
            <ResponsiveContainer width="100%" height="100%">
              <LineChart data={rows} margin={{ top: 8, right: 14, bottom: 2, left: 0 }}>
                <CartesianGrid stroke="var(--line)" strokeWidth={0.5} />
                <XAxis
                  dataKey="x"
                  type="number"
                  domain={
                    xLabel === 'epoch'
                      ? [(low: number) => Math.floor(low), (high: number) => Math.ceil(high)]
                      : ['dataMin', 'dataMax']
                  }
                  allowDecimals={false}
                  tickCount={7}
                  tickFormatter={compact}
                  tick={{ fontSize: 11, fill: 'var(--text-2)' }}
                  stroke="var(--line-strong)"
                  label={{
                    value: xLabel,
                    position: 'insideBottomRight',
                    offset: 0,
                    fontSize: 11,
                    fill: 'var(--text-2)',
                  }}
                  height={28}
                />
                <YAxis
                  scale={log ? 'log' : 'linear'}
                  domain={log ? ['auto', 'auto'] : [...domain]}
                  allowDataOverflow={log}
                  tickFormatter={tick}
                  tick={{ fontSize: 11, fill: 'var(--text-2)' }}
                  stroke="var(--line-strong)"
                  width={52}
                />
                <Tooltip
                  isAnimationActive={false}
                  formatter={(value) => compact(Number(value))}
                  labelFormatter={(x) => `${xLabel} ${compact(Number(x))}`}
                  itemSorter={(item) => -Number(item.value)}
                  contentStyle={{
                    background: 'var(--panel)',
                    border: '1px solid var(--line-strong)',
                    borderRadius: 4,
                    fontSize: 12,
                  }}
                />
                {marks.map((m) => (
                  <ReferenceLine
                    key={`${m.x}${m.text}`}
                    x={m.x}
                    stroke="var(--line-strong)"
                    strokeDasharray="2 3"
                    label={{ value: m.text, fontSize: 10, fill: 'var(--text-2)', position: 'insideTopLeft' }}
                  />
                ))}
                {curves.flatMap((c, i) => {
                  const dash = DASHES[i % DASHES.length];
                  const faint = lit !== null && lit !== c.name;
                  const common = {
                    type: 'linear' as const,
                    dot: rows.length < 2,
                    isAnimationActive: false,
                    connectNulls: true,
                    stroke: c.color,
                    ...(dash === '' || dash === undefined ? {} : { strokeDasharray: dash }),
                  };
                  const raw = (
                    <Line
                      key={c.name}
                      {...common}
                      dataKey={c.name}
                      strokeWidth={lit === c.name ? 2.4 : 1.6}
                      strokeOpacity={(smoothing > 0 ? 0.28 : 1) * (faint ? 0.25 : 1)}
                    />
                  );
                  const soft = (
                    <Line
                      key={`${c.name}~`}
                      {...common}
                      dataKey={`${c.name}~`}
                      name={`${c.name}, smoothed`}
                      strokeWidth={lit === c.name ? 2.6 : 1.8}
                      strokeOpacity={faint ? 0.25 : 1}
                    />
                  );
                  return smoothing > 0 ? [raw, soft] : [raw];
                })}
                {best !== null && (
                  <ReferenceDot
                    x={best.x}
                    y={best.y}
                    r={4}
                    fill="var(--accent)"
                    stroke="var(--panel)"
                    label={{
                      value: best.text,
                      position: 'insideBottomRight',
                      fontSize: 11,
                      fill: 'var(--text)',
                    }}
                  />
                )}
              </LineChart>
            </ResponsiveContainer>
          )}
        </div>
      )}
      <figcaption className="visually-hidden">{summary}</figcaption>
    </figure>
  );
}
