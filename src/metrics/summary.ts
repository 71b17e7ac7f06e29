/**
 * @file Means over cases. Imports nothing. A case without a value (NaN) is left out, and n says how many had one.
 */
import { metricNames, type CaseMetrics, type MetricName } from './caseMetrics';

export interface SummaryRow {
  readonly label: string; // class name or "foreground mean"
  readonly metric: MetricName;
  readonly mean: number;
  readonly std: number; // population (divides by n)
  readonly n: number;
}

/** Mean and population standard deviation of the defined values; NaN when there is none. */
export function meanStd(values: readonly number[]): { mean: number; std: number; n: number } {
  const defined = values.filter((v) => !Number.isNaN(v));
  const n = defined.length;
  if (n === 0) return { mean: Number.NaN, std: Number.NaN, n };
  const mean = defined.reduce((a, b) => a + b, 0) / n;
  const variance = defined.reduce((a, b) => a + (b - mean) ** 2, 0) / n;
  return { mean, std: Math.sqrt(variance), n };
}

/**
 * Rows per label and metric, then (with several labels) the foreground mean: per case first over labels, then over cases.
 * @param cases cases[i][l]: case i, foreground label l in the order of `labels`.
 */
export function summarize(
  labels: readonly string[],
  cases: readonly (readonly CaseMetrics[])[],
): SummaryRow[] {
  const rows: SummaryRow[] = [];
  labels.forEach((label, l) => {
    for (const metric of metricNames) {
      rows.push({ label, metric, ...meanStd(cases.map((c) => c[l]?.[metric] ?? Number.NaN)) });
    }
  });
  if (labels.length > 1) {
    for (const metric of metricNames) {
      const perCase = cases.map((c) => meanStd(c.map((m) => m[metric])).mean);
      rows.push({ label: 'foreground mean', metric, ...meanStd(perCase) });
    }
  }
  return rows;
}
