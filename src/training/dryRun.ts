/**
 * @file What a run will cost: memory by plan, times by one real step on dummy images, before the start. Imports gpu, models.
 */
import type { StudioConfig } from '../config/types';
import { isOutOfMemory, settleDevice } from '../gpu/health';
import { memoryUse, trimMemory } from '../gpu/memory';
import { Random } from '../lib/random';
import type { MemoryPlan } from './memoryParts';
import { planMemory, type RunCases } from './memoryPlan';
import { evaluationBatchSize } from './validate';
import { TrainingSession, type HostBatch } from './session';

export interface DryRunResult {
  readonly stepMs: number; // one optimiser step, accumulation included
  readonly evalMs: number; // per image
  readonly peakBytes: number; // measured: held by the backend for a step, beyond what was held before
  /** What the whole run will hold, from its recordings; null where steps are not recorded. */
  readonly planned: MemoryPlan | null;
  /** The planned bytes with training.recompute=blocks, where that is another choice. */
  readonly recomputedBytes: number | null;
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

async function measure(config: StudioConfig, warm: boolean): Promise<Measured> {
  const session = new TrainingSession(config, null);
  try {
    const batch = dummyBatch(config, config.training.batch_size);
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
    trimMemory();
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

interface Fitting {
  readonly config: StudioConfig; // with the batch size that fits
  readonly planned: MemoryPlan | null;
  readonly measured: Measured;
}

/**
 * The largest batch size up to the config's that fits, by halving: plans first, which cost nothing, then a step.
 * @throws UserError 'gpu-out-of-memory' when not even one image fits.
 */
async function fitting(
  asked: StudioConfig,
  planOf: (config: StudioConfig) => MemoryPlan | null,
): Promise<Fitting> {
  for (let size = asked.training.batch_size; ; size = Math.floor(size / 2)) {
    const config = withBatchSize(asked, size);
    try {
      const planned = planOf(config);
      return { config, planned, measured: await measure(config, size === asked.training.batch_size) };
    } catch (error) {
      if (!isOutOfMemory(error) || size <= 1) throw error;
    }
  }
}

function withBatchSize(config: StudioConfig, size: number): StudioConfig {
  return { ...config, training: { ...config.training, batch_size: size } };
}

/** The largest batch size up to `from` that trains one step; 0 when none does. */
export async function fittingBatchSize(config: StudioConfig, from: number): Promise<number> {
  if (from < 1) return 0;
  try {
    return (await fitting(withBatchSize(config, from), planMemory)).config.training.batch_size;
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    return 0;
  }
}

/** Bytes of the run if blocks are recomputed; null when they are, or without plans. */
function recomputedBytes(config: StudioConfig, cases: RunCases | undefined): number | null {
  if (config.training.recompute === 'blocks') return null;
  return (
    planMemory({ ...config, training: { ...config.training, recompute: 'blocks' } }, cases)?.bytes ?? null
  );
}

/**
 * Plans the memory, then runs one step of training and one of evaluation, then frees everything. A batch size whose tensors the device
 * cannot bind is found from its plan and not tried.
 * @param trainCases, valCases cases per epoch, for the times and for shorter last batches.
 * @param onPlanned told the memory before the first step runs, and again for each smaller batch size.
 * @throws UserError 'gpu-out-of-memory' when not even one image fits.
 */
export async function dryRun(
  config: StudioConfig,
  trainCases: number,
  valCases: number,
  onPlanned?: (plan: MemoryPlan) => void,
): Promise<DryRunResult> {
  trimMemory();
  const before = memoryUse();
  const cases = trainCases > 0 ? { train: trainCases, validation: valCases } : undefined;
  const fits = await fitting(config, (candidate) => {
    const plan = planMemory(candidate, cases);
    if (plan !== null) onPlanned?.(plan);
    return plan;
  });
  const { planned, measured } = fits;
  const size = fits.config.training.batch_size;
  // The WASM heap never shrinks, so a second estimate would find no growth: then the tensors themselves are the measure.
  const peakBytes = Math.max(memoryUse().poolBytes - before.poolBytes, measured.peakBytes - before.bytes);
  const images = size * config.training.accumulation_steps;
  const perEpochSeconds = ((trainCases / images) * measured.stepMs + valCases * measured.evalMs) / 1000;
  return {
    stepMs: measured.stepMs,
    evalMs: measured.evalMs,
    peakBytes,
    planned,
    recomputedBytes: planned === null ? null : recomputedBytes(fits.config, cases),
    perEpochSeconds,
    totalSeconds: perEpochSeconds * config.training.num_epochs,
    parameterCount: measured.parameters,
    checkpointBytes: measured.stateBytes,
    fittingBatchSize: size === config.training.batch_size ? null : size,
  };
}
