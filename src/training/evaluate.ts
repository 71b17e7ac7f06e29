/**
 * @file Tests weights on cases: a prediction and all metrics per case, and their summary. Imports data, metrics, tfjs-core.
 */
import type { MetricConvention, StudioConfig } from '../config/types';
import { assembleBatch } from '../data/batch';
import type { LabelSpec, Sample, SampleReader } from '../data/types';
import type { TensorMap } from '../formats/tensor';
import { settleDevice } from '../gpu/health';
import { trimMemory } from '../gpu/memory';
import { yieldToEventLoop } from '../lib/async';
import { UserError } from '../lib/errors';
import { caseMetrics, type CaseMetrics } from '../metrics/caseMetrics';
import { definedMean } from '../metrics/overlap';
import { summarize, type SummaryRow } from '../metrics/summary';
import { readOutputs, type CaseOutput } from './output';
import { TrainingSession } from './session';
import { evaluationBatchSize } from './validate';

export interface CaseEvaluation {
  readonly id: string;
  readonly folderName: string;
  readonly className: string | null;
  /** Foreground labels in the order of the LabelSpec. NaN = not defined under the convention. */
  readonly perLabel: readonly {
    readonly label: number;
    readonly name: string;
    readonly metrics: Readonly<Record<string, number>>;
  }[];
  /** Foreground mean of Dice over labels. */
  readonly dice: number;
  /** width x height: binary probability x 255, multi-class label indices. */
  readonly prediction: Uint8Array;
  readonly kind: 'probability' | 'labels';
  readonly width: number;
  readonly height: number;
}

export interface Evaluation {
  readonly cases: readonly CaseEvaluation[];
  readonly summary: readonly SummaryRow[];
}

export interface EvaluationRequest {
  /** Model, normalisation, threshold, convention and resolution are read from it. */
  readonly config: StudioConfig;
  readonly weights: TensorMap;
  readonly labels: LabelSpec;
  readonly samples: readonly Sample[];
  readonly reader: SampleReader;
  readonly onCase?: (latest: CaseEvaluation, done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Throws UserError 'labels-differ' when the model has another number of classes than the data. Case order is kept. */
export async function evaluateModel(request: EvaluationRequest): Promise<Evaluation> {
  const { config, labels, samples, reader, signal } = request;
  if (labels.names.length !== config.model.num_classes) {
    throw new UserError(
      'labels-differ',
      `The model predicts ${config.model.num_classes} classes, the masks have ${labels.names.length} (${labels.names.join(', ')})`,
      { subject: 'model.num_classes', hint: 'Choose another mask reading (data.label_mode) for this data.' },
    );
  }
  const session = new TrainingSession(config, request.weights, { trains: false });
  try {
    const cases: CaseEvaluation[] = [];
    const numbers: CaseMetrics[][] = [];
    const step = config.evaluation.resolution === 'original' ? 1 : evaluationBatchSize(config);
    for (let at = 0; at < samples.length; at += step) {
      signal?.throwIfAborted();
      for (const [sample, output, size, truth] of await predict(
        session,
        samples.slice(at, at + step),
        reader,
      )) {
        const metrics = scoreCase(output.labels, truth, size, labels, config.evaluation.convention);
        const one = describe(sample, output, size, labels, metrics);
        cases.push(one);
        numbers.push(metrics);
        request.onCase?.(one, cases.length, samples.length);
      }
      await yieldToEventLoop();
    }
    await settleDevice();
    return { cases, summary: summarize(labels.names.slice(1), numbers) };
  } finally {
    session.dispose();
    trimMemory();
  }
}

type Size = readonly [width: number, height: number];

/** Outputs at the resolution the metrics are computed at, with the ground truth there. */
async function predict(
  session: TrainingSession,
  samples: readonly Sample[],
  reader: SampleReader,
): Promise<[Sample, CaseOutput, Size, Uint8Array][]> {
  const { config } = session;
  const side = config.model.image_size;
  const prepared = await Promise.all(samples.map((s) => reader.prepared(s.id, side)));
  const batch = assembleBatch(prepared, side, config.data.normalization);
  const logits = await session.predict(batch.images, batch.count, side);
  try {
    const { threshold, resolution } = config.evaluation;
    if (resolution === 'model') {
      const outputs = await readOutputs(logits, side, side, threshold);
      return samples.map((s, i) => [
        s,
        outputs[i] as CaseOutput,
        [side, side],
        (prepared[i] as { mask: Uint8Array }).mask,
      ]);
    }
    const sample = samples[0] as Sample; // one at a time: sizes differ
    const { width, height, mask } = await reader.original(sample.id);
    const [output] = await readOutputs(logits, height, width, threshold);
    return [[sample, output as CaseOutput, [width, height], mask]];
  } finally {
    logits.dispose();
  }
}

/** All metrics of every foreground label; also for a new threshold on a stored probability map. */
export function scoreCase(
  prediction: Uint8Array,
  truth: Uint8Array,
  [width, height]: Size,
  labels: LabelSpec,
  convention: MetricConvention,
): CaseMetrics[] {
  const binary = labels.names.length === 2;
  return labels.names
    .slice(1)
    .map((_, i) => caseMetrics(prediction, truth, width, height, i + 1, { convention, binary }));
}

function describe(
  sample: Sample,
  output: CaseOutput,
  [width, height]: Size,
  labels: LabelSpec,
  metrics: readonly CaseMetrics[],
): CaseEvaluation {
  return {
    id: sample.id,
    folderName: sample.folderName,
    className: sample.className,
    perLabel: metrics.map((m, i) => ({
      label: i + 1,
      name: labels.names[i + 1] as string,
      metrics: { ...m },
    })),
    dice: definedMean(metrics.map((m) => m.dice)),
    prediction: output.values,
    kind: output.kind,
    width,
    height,
  };
}
