/**
 * @file The validation pass of an epoch: evaluation mode, Dice and IoU per image, mean over images. Imports metrics, data, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import { assembleBatch } from '../data/batch';
import type { PreparedSample, SampleReader } from '../data/types';
import { countOverlap, definedMean, diceOf, iouOf } from '../metrics/overlap';
import { yieldToEventLoop } from '../lib/async';
import { segmentationLoss } from '../nn/losses';
import { readOutputs } from './output';
import type { TrainingSession } from './session';
import type { PredictionPanel } from './types';

export interface Validation {
  readonly loss: number;
  /** Mean over images (and, with several labels, over foreground labels of an image first), by the run's convention. */
  readonly dice: number;
  readonly iou: number;
  /** Dice per foreground label, mean over images. */
  readonly dicePerLabel: readonly number[];
  readonly panels: readonly PredictionPanel[];
}

export interface ValidationRequest {
  readonly session: TrainingSession;
  readonly reader: SampleReader;
  readonly ids: readonly string[];
  readonly panelIds: ReadonlySet<string>;
  readonly onProgress: (done: number) => void;
  /** Polled between batches; true ends the pass early (the result is then null). */
  readonly isStopped: () => boolean;
}

/** Batch size of evaluation passes: no gradients are kept, so the training batch always fits. */
export function evaluationBatchSize(config: StudioConfig): number {
  return config.evaluation.batch_size ?? config.training.batch_size;
}

export async function validate(request: ValidationRequest): Promise<Validation | null> {
  const { session, reader, ids } = request;
  const { config } = session;
  const size = config.model.image_size;
  const step = evaluationBatchSize(config);
  const rows: { dice: number[]; iou: number[] }[] = [];
  const panels: PredictionPanel[] = [];
  let lossSum = 0;
  for (let at = 0; at < ids.length; at += step) {
    if (request.isStopped()) return null;
    const samples = await Promise.all(ids.slice(at, at + step).map((id) => reader.prepared(id, size)));
    const { outputs, loss } = await predictBatch(session, samples);
    lossSum += loss * samples.length;
    samples.forEach((sample, i) => {
      const output = outputs[i];
      if (output === undefined) return;
      const scores = score(output.labels, sample.mask, config);
      rows.push(scores);
      if (request.panelIds.has(sample.id)) {
        panels.push({
          id: sample.id,
          size,
          prediction: output.values,
          kind: output.kind,
          dice: definedMean(scores.dice),
        });
      }
    });
    request.onProgress(Math.min(ids.length, at + step));
    await yieldToEventLoop();
  }
  const labels = config.model.num_classes - 1;
  return {
    loss: ids.length === 0 ? Number.NaN : lossSum / ids.length,
    dice: definedMean(rows.map((r) => definedMean(r.dice))),
    iou: definedMean(rows.map((r) => definedMean(r.iou))),
    dicePerLabel: Array.from({ length: labels }, (_, l) =>
      definedMean(rows.map((r) => r.dice[l] ?? Number.NaN)),
    ),
    panels,
  };
}

async function predictBatch(
  session: TrainingSession,
  samples: readonly PreparedSample[],
): Promise<{ outputs: Awaited<ReturnType<typeof readOutputs>>; loss: number }> {
  const { config } = session;
  const size = config.model.image_size;
  const batch = assembleBatch(samples, size, config.data.normalization);
  let logits: tf.Tensor4D | null = null;
  let lossTensor: tf.Tensor | null = null;
  try {
    const predicted = await session.predict(batch.images, batch.count, size);
    logits = predicted;
    lossTensor = tf.tidy(() => {
      const labels = tf.tensor3d(batch.labels, [batch.count, size, size], 'int32');
      return segmentationLoss(config.loss, predicted, labels).total;
    });
    const outputs = await readOutputs(logits, size, size, config.evaluation.threshold);
    return { outputs, loss: (await lossTensor.data())[0] as number };
  } finally {
    tf.dispose([...(logits === null ? [] : [logits]), ...(lossTensor === null ? [] : [lossTensor])]);
  }
}

/** Dice and IoU of every foreground label of one image. */
function score(
  prediction: Uint8Array,
  truth: Uint8Array,
  config: StudioConfig,
): { dice: number[]; iou: number[] } {
  const { convention } = config.evaluation;
  const classes = config.model.num_classes;
  const dice: number[] = [];
  const iou: number[] = [];
  for (let label = 1; label < classes; label++) {
    const overlap = countOverlap(prediction, truth, label);
    dice.push(diceOf(overlap, convention, classes === 2));
    iou.push(iouOf(overlap, convention));
  }
  return { dice, iou };
}
