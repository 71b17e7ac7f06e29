/**
 * @file What follows from an inspected data set and its configuration: how masks are read, the split, the report. Imports data.
 * A generator with a pause between its steps, so that no step of a large data set holds the page for long.
 */
import type { DataConfig } from '../../config/types';
import { inferLabels } from '../../data/labels';
import { buildReport, labelProblems } from '../../data/report';
import { makeSplit } from '../../data/split';
import type { Dataset, Problem, SampleFacts, Split } from '../../data/types';
import { yieldToEventLoop } from '../../lib/async';
import { toPlainError } from '../../lib/errors';
import type { DatasetState } from './types';

export type Conclusion = Partial<
  Pick<DatasetState, 'labels' | 'labelReason' | 'split' | 'splitError' | 'report'>
>;

/** Yields what each step found, errors included as state. */
export async function* conclusions(
  dataset: Dataset,
  facts: ReadonlyMap<string, SampleFacts>,
  excluded: ReadonlySet<string>,
  config: DataConfig,
): AsyncGenerator<Conclusion> {
  let labels: DatasetState['labels'] = null;
  try {
    const inferred = inferLabels(dataset, facts, config);
    labels = inferred.labels;
    yield { labels, labelReason: inferred.reason };
  } catch (error) {
    yield { labels: null, labelReason: '', split: null, splitError: toPlainError(error) };
  }
  await yieldToEventLoop();
  let split: Split | null = null;
  if (labels) {
    try {
      const unusable =
        config.on_problem === 'exclude'
          ? errorSamples(facts, labelProblems(dataset.samples, facts, labels))
          : [];
      const left = new Set([...excluded, ...config.exclude, ...unusable]);
      split = makeSplit(dataset, config, { excluded: left, facts });
      yield { split, splitError: null };
    } catch (error) {
      yield { split: null, splitError: toPlainError(error) };
    }
  }
  await yieldToEventLoop();
  yield { report: buildReport(dataset, facts, labels, split) };
}

/** Samples that cannot be decoded, whose mask does not fit, or whose foreground the labels would lose. */
function errorSamples(facts: ReadonlyMap<string, SampleFacts>, reading: readonly Problem[]): string[] {
  const out = reading.filter((p) => p.severity === 'error').flatMap((p) => p.sampleIds);
  for (const { id, problems } of facts.values()) {
    if (problems.some((problem) => problem.severity === 'error')) out.push(id);
  }
  return out;
}
