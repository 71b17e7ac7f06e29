/**
 * @file What a run will cost, measured by one real step on dummy images before the start. Imports gpu, tfjs-core.
 */
import type { StudioConfig } from '../config/types';
import { isOutOfMemory, settleDevice } from '../gpu/health';
import { memoryUse, trimMemory } from '../gpu/memory';
import { Random } from '../lib/random';
import { evaluationBatchSize } from './validate';
import { TrainingSession, type HostBatch } from './session';

export interface DryRunResult {
  readonly stepMs: number; // one optimiser step, accumulation included
  readonly evalMs: number; // per image
  readonly peakBytes: number; // held by the backend for a step, beyond what was held before
  readonly perEpochSeconds: number;
  readonly totalSeconds: number;
  readonly parameterCount: number;
  readonly checkpointBytes: number; // weights and optimiser state
  /** Null when the asked batch size fits; else the largest found that does (times are then cold). */
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

interface Measured {
  readonly stepMs: number;
  readonly evalMs: number;
  readonly parameters: number;
  readonly stateBytes: number; // weights and moments
  readonly peakBytes: number; // tensors alive at the end of a forward pass
}

async function measure(config: StudioConfig, batchSize: number, warm: boolean): Promise<Measured> {
  const session = new TrainingSession(config, null);
  try {
    const batch = dummyBatch(config, batchSize);
    const parts = Array.from({ length: config.training.accumulation_steps }, () => batch);
    // The first step compiles pipelines; only the second one is timed.
    if (warm) {
      await session.step(parts, 1e-6, 0, 0);
      await settleDevice();
    }
    const started = performance.now();
    await session.step(parts, 1e-6, 1, 1);
    await settleDevice();
    const stepMs = performance.now() - started;
    const evalMs = await timeEvaluation(session, config);
    const { parameters } = session.store.elementCounts();
    const stateBytes = parameters * 4 + session.optimizer.bytes;
    return { stepMs, evalMs, parameters, stateBytes, peakBytes: session.peakBytes };
  } finally {
    session.dispose();
  }
}

async function timeEvaluation(session: TrainingSession, config: StudioConfig): Promise<number> {
  const n = evaluationBatchSize(config);
  const { images, size } = dummyBatch(config, n);
  const started = performance.now();
  const logits = await session.predict(images, n, size);
  await logits.data().finally(() => logits.dispose());
  await settleDevice();
  return (performance.now() - started) / n;
}

/** The largest batch size up to `from` that trains one step, found by halving; null when none does. */
async function fitting(
  config: StudioConfig,
  from: number,
): Promise<{ readonly size: number; readonly measured: Measured } | null> {
  for (let size = from; size >= 1; size = Math.floor(size / 2)) {
    try {
      return { size, measured: await measure(config, size, false) };
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
    } finally {
      trimMemory();
    }
  }
  return null;
}

/** The largest batch size up to `from` that trains one step; 0 when none does. */
export async function fittingBatchSize(config: StudioConfig, from: number): Promise<number> {
  return (await fitting(config, from))?.size ?? 0;
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
  const before = memoryUse();
  const asked = config.training.batch_size;
  let fittingSize: number | null = null;
  let measured: Measured;
  try {
    measured = await measure(config, asked, true);
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    const found = await fitting(config, Math.floor(asked / 2));
    if (found === null) throw error;
    ({ size: fittingSize, measured } = found);
  }
  // The WASM heap never shrinks, so a second estimate would find no growth: then the tensors themselves are the measure.
  const peakBytes = Math.max(memoryUse().poolBytes - before.poolBytes, measured.peakBytes - before.bytes);
  trimMemory();
  const images = (fittingSize ?? asked) * config.training.accumulation_steps;
  const perEpochSeconds = ((trainCases / images) * measured.stepMs + valCases * measured.evalMs) / 1000;
  return {
    stepMs: measured.stepMs,
    evalMs: measured.evalMs,
    peakBytes,
    perEpochSeconds,
    totalSeconds: perEpochSeconds * config.training.num_epochs,
    parameterCount: measured.parameters,
    checkpointBytes: measured.stateBytes,
    fittingBatchSize: fittingSize,
  };
}
