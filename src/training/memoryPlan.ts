/**
 * @file How much GPU memory a run takes, from its recordings, before anything of it is made. Imports models, gpu.
 */
import type { StudioConfig } from '../config/types';
import { kernelsOn, studioBackend } from '../gpu/launch';
import { RecordingError } from '../gpu/plan/recording';
import type { RunShapes } from '../models/deviceStep';
import type { MemoryPlan } from './memoryParts';
import { TrainingSession } from './session';
import { evaluationBatchSize } from './validate';

/** Cases per epoch, which decide whether there are shorter last batches. */
export interface RunCases {
  readonly train: number;
  readonly validation: number;
}

/** Full batches, as if there were no shorter last one. */
function fullBatches(config: StudioConfig): RunCases {
  const train = config.training.batch_size * config.training.accumulation_steps;
  return { train, validation: evaluationBatchSize(config) };
}

/** Sizes of the batches that n cases make: the full one, and what is left over. */
function batchSizes(n: number, size: number, dropLast: boolean): number[] {
  const left = n % size;
  const sizes = n >= size ? [size] : [];
  if (left > 0 && (!dropLast || n < size)) sizes.push(left);
  return sizes;
}

/** The batch shapes of a run, as BatchSource and `validate` make them. */
export function runShapes(config: StudioConfig, cases: RunCases): RunShapes {
  const { batch_size: batch, drop_last: dropLast, accumulation_steps: k } = config.training;
  const train = batchSizes(cases.train, batch, dropLast);
  const whole = Math.floor(cases.train / batch);
  const batches = whole + (train.some((size) => size < batch) ? 1 : 0);
  return {
    size: config.model.image_size,
    train,
    evaluation: batchSizes(cases.validation, evaluationBatchSize(config), false),
    single: k === 1 || batches % k === 1,
    several: k > 1 && batches > 1,
  };
}

/**
 * The memory of a run of this config, by recording its passes; no GPU memory is taken and nothing is computed. Takes 0.1 to a few
 * seconds of the CPU. Null where steps are not recorded (WASM, kernels switched off).
 * On top come what TensorFlow.js holds for reading validation results, and the driver's own.
 * @throws UserError 'gpu-out-of-memory' when the device cannot bind one of the tensors.
 */
export function planMemory(config: StudioConfig, cases = fullBatches(config)): MemoryPlan | null {
  const backend = kernelsOn() ? studioBackend() : null;
  if (backend === null) return null;
  return backend.countOnly(() => {
    const session = new TrainingSession(config, null, { counted: true });
    try {
      return session.planMemory(runShapes(config, cases));
    } catch (error) {
      if (error instanceof RecordingError) return null; // the run will be taped
      throw error;
    } finally {
      session.dispose();
    }
  });
}
