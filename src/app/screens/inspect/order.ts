/**
 * @file The order of cases. Pure.
 */
import { definitions } from '../../../metrics/definitions';
import type { MetricName } from '../../../metrics/caseMetrics';
import { definedMean } from '../../../metrics/overlap';
import type { CaseResult } from '../../../storage/types';

/** A metric of a case: mean over its labels. */
export function valueOf(c: Pick<CaseResult, 'perLabel'>, metric: MetricName): number {
  return definedMean(c.perLabel.map((l) => l.metrics[metric] ?? Number.NaN));
}

/** Worst (or best) first by a metric; cases without a value last; filtered by name. */
export function orderedCases<C extends Pick<CaseResult, 'id' | 'perLabel'>>(
  cases: readonly C[],
  metric: MetricName,
  worst: boolean,
  filter: string,
): C[] {
  const rising = definitions[metric].rising;
  const sign = worst === rising ? 1 : -1;
  const words = filter.trim().toLowerCase();
  return cases
    .filter((c) => words === '' || c.id.toLowerCase().includes(words))
    .map((c) => ({ c, v: valueOf(c, metric) }))
    .sort((a, b) => {
      if (Number.isNaN(a.v) || Number.isNaN(b.v))
        return Number(Number.isNaN(a.v)) - Number(Number.isNaN(b.v));
      return sign * (a.v - b.v) || (a.c.id < b.c.id ? -1 : 1);
    })
    .map(({ c }) => c);
}
