/**
 * @file Metrics of a stored evaluation under another threshold. Imports metrics, storage. The same arithmetic as the test itself,
 * on the stored probabilities (p x 255, rounded).
 */
import type { SampleReader } from '../data/types';
import { yieldToEventLoop } from '../lib/async';
import { UserError } from '../lib/errors';
import { caseMetrics } from '../metrics/caseMetrics';
import type { CaseMetrics } from '../metrics/caseMetrics';
import { definedMean } from '../metrics/overlap';
import { summarize } from '../metrics/summary';
import { readEvaluation } from '../storage/runs';
import type { CaseResult, EvaluationResult } from '../storage/types';
import { labelMap } from '../training/runFolder';
import type { Rescored } from './protocol';

export interface RescoreOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number) => void;
}

/** The evaluation read last, with its ground truth: a slider asks for many thresholds of one evaluation. */
let kept: { readonly result: EvaluationResult; readonly truth: Map<string, Uint8Array> } | null = null;

/** Throws 'evaluation-missing'; an abort leaves what was read for the next threshold. */
export async function rescore(
  evaluationId: string,
  threshold: number,
  reader: SampleReader,
  { signal, onProgress }: RescoreOptions,
): Promise<Rescored> {
  if (kept?.result.id !== evaluationId) {
    const result = await readEvaluation(evaluationId);
    if (!result) throw new UserError('evaluation-missing', 'This test result is no longer in this browser');
    kept = { result, truth: new Map() };
  }
  const { result, truth } = kept;
  const numbers: CaseMetrics[][] = [];
  for (const one of result.cases) {
    signal.throwIfAborted();
    const mask = truth.get(one.id) ?? (await truthOf(one, result, reader));
    truth.set(one.id, mask);
    numbers.push(scoresAt(one, mask, threshold, result));
    onProgress(numbers.length, result.cases.length);
    await yieldToEventLoop(); // lets the next threshold's abort in
  }
  return {
    cases: result.cases.map((one, i) => describeCase(one, numbers[i] ?? [])),
    summary: summarize(result.labels.names.slice(1), numbers),
  };
}

async function truthOf(one: CaseResult, result: EvaluationResult, reader: SampleReader): Promise<Uint8Array> {
  return result.resolution === 'original'
    ? (await reader.original(one.id)).mask
    : (await reader.prepared(one.id, one.width)).mask;
}

/** All metrics of every foreground label of one case. */
export function scoresAt(
  one: CaseResult,
  truth: Uint8Array,
  threshold: number,
  { labels, convention }: Pick<EvaluationResult, 'labels' | 'convention'>,
): CaseMetrics[] {
  const prediction = labelMap(one, threshold);
  const binary = labels.names.length === 2;
  return labels.names
    .slice(1)
    .map((_, i) => caseMetrics(prediction, truth, one.width, one.height, i + 1, { convention, binary }));
}

function describeCase(one: CaseResult, metrics: readonly CaseMetrics[]): Rescored['cases'][number] {
  return {
    id: one.id,
    perLabel: one.perLabel.map((label, i) => ({ ...label, metrics: { ...metrics[i] } })),
    dice: definedMean(metrics.map((m) => m.dice)),
  };
}
