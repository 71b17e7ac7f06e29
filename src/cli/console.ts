/**
 * @file What the command line prints: lines, a progress bar on a terminal, a table. Imports Node.
 */
import { metricNames } from '../metrics/caseMetrics';
import { definitions } from '../metrics/definitions';
import type { SummaryRow } from '../metrics/summary';

export function say(line: string): void {
  clearBar();
  process.stdout.write(`${line}\n`);
}

let barShown = false;

function clearBar(): void {
  if (!barShown) return;
  process.stdout.write('\r\u001B[K');
  barShown = false;
}

/** On a terminal only: "epoch 3 [=====     ] 12/24  loss 0.41". */
export function bar(label: string, done: number, total: number, rest = ''): void {
  if (!process.stdout.isTTY) return;
  const width = 24;
  const full = Math.round((width * done) / Math.max(1, total));
  process.stdout.write(
    `\r\u001B[K${label} [${'='.repeat(full)}${' '.repeat(width - full)}] ${done}/${total}  ${rest}`,
  );
  barShown = true;
}

/** Columns padded to their widest cell; numbers (all but the first column) to the right. */
export function table(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, c) => Math.max(...rows.map((r) => (r[c] ?? '').length)));
  for (const row of rows)
    say(
      row
        .map((cell, c) => (c === 0 ? cell.padEnd(widths[c] ?? 0) : cell.padStart(widths[c] ?? 0)))
        .join('  '),
    );
}

/** Mean ± std (n) per label and metric. */
export function summaryTable(summary: readonly SummaryRow[], convention: string, where: string): void {
  const labels = [...new Set(summary.map((r) => r.label))];
  const cell = (label: string, metric: string): string => {
    const r = summary.find((s) => s.label === label && s.metric === metric);
    return r === undefined || Number.isNaN(r.mean)
      ? `n/a (${r?.n ?? 0})`
      : `${r.mean.toFixed(4)} ± ${r.std.toFixed(4)} (${r.n})`;
  };
  say(
    `Mean ± population standard deviation over cases (n cases with a value); ${convention} convention; ${where}`,
  );
  table([
    ['metric', ...labels],
    ...metricNames.map((m) => [
      `${definitions[m].title}${definitions[m].unit === '' ? '' : ` (${definitions[m].unit})`}`,
      ...labels.map((l) => cell(l, m)),
    ]),
  ]);
}
