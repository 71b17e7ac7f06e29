/**
 * @file What a run will cost, measured by one real step on dummy images before the start. Imports gpu, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import { isOutOfMemory, settleDevice } from '../gpu/health';
import { memoryUse, trimMemory } from '../gpu/memory';
import { Random } from '../lib/random';
import { evaluationBatchSize } from './validate';
import { TrainingSession, type HostBatch } from './session';

export interface DryRunResult {
  readonly stepMs: number; // one optimiser step, accumulation included
  readonly evalMs: number; // per image
  readonly peakBytes: number; // held by the backend after a step, beyond what was held before
  readonly perEpochSeconds: number;
  readonly totalSeconds: number;
  readonly parameterCount: number;
  readonly checkpointBytes: number; // weights and optimiser state
  /** Null when the asked batch size fits; else the largest that does (0: none). */
  readonly fittingBatchSize: number | null;
}

/** A batch of noise with a disc as label: every loss term is alive. */
function dummyBatch(config: StudioConfig, count: number): HostBatch {
  const size = config.model.image_size;
  const random = new Random('dry-run', config.seed);
  const images = Float32Array.from({ length: count * size * size * 3 }, () => random.uniform(-1, 1));
  const labels = new Int32Array(count * size * size);
  for (let i = 0; i < labels.length; i++) {
    const x = (i % size) - size / 2;
    const y = (Math.floor(i / size) % size) - size / 2;
    if (x * x + y * y < (size * size) / 16) labels[i] = 1;
  }
  return { images, labels, count, size };
}

async function measure(
  config: StudioConfig,
  batchSize: number,
  warm: boolean,
): Promise<{ stepMs: number; evalMs: number; session: { parameters: number; bytes: number } }> {
  const session = new TrainingSession(config, null);
  try {
    const batch = dummyBatch(config, batchSize);
    const parts = Array.from({ length: config.training.accumulation_steps }, () => batch);
    // The first step compiles pipelines; only the second one is timed.
    if (warm) {
      await session.step(parts, 1e-6, 0, 0)();
      await settleDevice();
    }
    const started = performance.now();
    await session.step(parts, 1e-6, 1, 1)();
    await settleDevice();
    const stepMs = performance.now() - started;
    const evalMs = await timeEvaluation(session, config);
    const { parameters } = session.store.elementCounts();
    return { stepMs, evalMs, session: { parameters, bytes: parameters * 4 + session.optimizer.bytes } };
  } finally {
    session.dispose();
  }
}

async function timeEvaluation(session: TrainingSession, config: StudioConfig): Promise<number> {
  const n = evaluationBatchSize(config);
  const { images, size } = dummyBatch(config, n);
  const input = tf.tensor4d(images, [n, size, size, 3]);
  const started = performance.now();
  const logits = session.predict(input);
  await logits.data();
  tf.dispose([input, logits]);
  await settleDevice();
  return (performance.now() - started) / n;
}

/** The largest batch size up to `from` that trains one step; 0 when none does. Halves until it fits. */
export async function fittingBatchSize(config: StudioConfig, from: number): Promise<number> {
  for (let size = from; size >= 1; size = Math.floor(size / 2)) {
    try {
      await measure(config, size, false);
      return size;
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
    } finally {
      trimMemory();
    }
  }
  return 0;
}

/**
 * Runs one step of training and one of evaluation, then frees everything.
 * @param trainCases, valCases cases per epoch, for the times.
 */
export async function dryRun(
  config: StudioConfig,
  trainCases: number,
  valCases: number,
): Promise<DryRunResult> {
  trimMemory();
  const before = memoryUse().poolBytes;
  const asked = config.training.batch_size;
  let fitting: number | null = null;
  let measured: Awaited<ReturnType<typeof measure>>;
  try {
    measured = await measure(config, asked, true);
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    fitting = await fittingBatchSize(config, Math.floor(asked / 2));
    if (fitting === 0) throw error;
    measured = await measure(config, fitting, true);
  }
  const peakBytes = Math.max(0, memoryUse().poolBytes - before);
  trimMemory();
  const images = (fitting ?? asked) * config.training.accumulation_steps;
  const perEpochSeconds = ((trainCases / images) * measured.stepMs + valCases * measured.evalMs) / 1000;
  return {
    stepMs: measured.stepMs,
    evalMs: measured.evalMs,
    peakBytes,
    perEpochSeconds,
    totalSeconds: perEpochSeconds * config.training.num_epochs,
    parameterCount: measured.session.parameters,
    checkpointBytes: measured.session.bytes,
    fittingBatchSize: fitting,
  };
}
