/**
 * @file What is planned is what is then held, and close to the least possible; a recording takes no memory of the device.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import type { StudioConfig } from '../config/types';
import { studioBackend } from '../gpu/launch';
import { useBackend } from '../gpu/ops/testSupport';
import type { StudioBackend } from '../gpu/studioBackend';
import { models } from '../models/registry';
import { dryRun, fittingBatchSize } from './dryRun';
import type { MemoryPlan } from './memoryParts';
import { planMemory, runShapes } from './memoryPlan';
import { TrainingSession } from './session';
import { noise, smallConfig, smallSegFormer } from './testSupport';

beforeAll(() => useBackend('webgpu'), 60_000);

const backend = (): StudioBackend => studioBackend() as StudioBackend;

/** What the device holds. */
function held(): object {
  const { numTensors, numBytes } = tf.memory();
  return { numTensors, numBytes, own: backend().ownBytes, pool: backend().bufferManager.numBytesAllocated };
}

const config = (...overrides: string[]): StudioConfig =>
  resolveConfig(configFiles, 'train', overrides).config;

/** Must be there: steps are recorded on this backend. */
function planned(of: StudioConfig, ...rest: [cases?: Parameters<typeof planMemory>[1]]): MemoryPlan {
  return planMemory(of, ...rest) as MemoryPlan;
}

// Models and batches as published: recorded only, which takes a second and no memory.
it.each([
  ['tinyusfm', config('model=tinyusfm', 'training.batch_size=32')],
  ['segformer', config('model=segformer_b0', 'model.image_size=256', 'training.batch_size=4')],
])('%s in full size: temporaries within 1.1 of what is alive at once, kept or recomputed', (_, full) => {
  const before = held();
  const started = performance.now();
  const kept = planned(full);
  expect(performance.now() - started).toBeLessThan(10_000);
  const recomputed = planned({ ...full, training: { ...full.training, recompute: 'blocks' } });
  for (const plan of [kept, recomputed]) {
    const { weights, optimizer, temporaries, inputs, constants } = plan;
    expect(plan.bytes).toBe(weights + optimizer + temporaries + inputs + constants);
    expect(temporaries).toBeLessThanOrEqual(1.1 * (plan.lowerBound - (plan.bytes - temporaries)));
  }
  expect(recomputed.temporaries).toBeLessThan(0.6 * kept.temporaries);
  expect(held()).toEqual(before);
});

it('every registered model can be planned, and takes less with its blocks recomputed', () => {
  for (const name of models.keys()) {
    const base = config(`model=${name}`, 'training.batch_size=2', 'model.image_size=224');
    const recomputed = planned({ ...base, training: { ...base.training, recompute: 'blocks' } });
    expect(recomputed.bytes, name).toBeLessThan(planned(base).bytes);
  }
});

// Five cases in twos, two batches a step: a short batch, a step of one batch; three validation cases in twos.
it.each([
  ['tinyusfm', smallConfig('training.accumulation_steps=2')],
  ['segformer', smallSegFormer('training.accumulation_steps=2')],
])('%s: the planned bytes are those that training and evaluation then hold', async (_, small) => {
  const cases = { train: 5, validation: 3 };
  expect(runShapes(small, cases)).toEqual({
    size: 32, train: [2, 1], evaluation: [2, 1], single: true, several: true,
  }); // prettier-ignore
  const before = backend().ownBytes;
  const plan = planned(small, cases);
  expect(backend().ownBytes).toBe(before);
  const session = new TrainingSession(small, null, { execution: 'plan' });
  try {
    await session.step([noise(small, 2, 0), noise(small, 2, 1)], 1e-3, 0, 0);
    await session.step([noise(small, 1, 2)], 1e-3, 1, 2);
    for (const count of [2, 1]) {
      const { images, size } = noise(small, count, 3);
      (await session.predict(images, count, size)).dispose();
    }
    expect(backend().ownBytes - before).toBe(plan.bytes);
  } finally {
    session.dispose();
  }
  expect(backend().ownBytes).toBe(before);
});

it('a batch that the device cannot bind is refused by its plan; what fits is found without trying it', async () => {
  const { device } = backend();
  const { limits } = device;
  const limit = 8 * 32 * 32 * 3 * 4 + 255; // bytes: eight images, the largest tensor here
  const few = Object.fromEntries(
    Object.keys(Object.getPrototypeOf(limits) as object).map((key) => [key, Reflect.get(limits, key)]),
  );
  const asked = smallConfig('training.batch_size=32');
  const before = held();
  Object.defineProperty(device, 'limits', {
    value: { ...few, maxStorageBufferBindingSize: limit },
    configurable: true,
  });
  try {
    expect(() => planMemory(asked)).toThrow(expect.objectContaining({ code: 'gpu-out-of-memory' }));
    expect(held()).toEqual(before);
    const plans: MemoryPlan[] = [];
    const result = await dryRun(asked, 64, 4, (plan) => plans.push(plan));
    expect(plans).toEqual([result.planned]); // the refused ones have none
    expect(result.fittingBatchSize).toBe(8);
  } finally {
    Object.defineProperty(device, 'limits', { value: limits, configurable: true });
  }
  expect(device.limits.maxStorageBufferBindingSize).toBeGreaterThan(limit);
});

it('the dry run tells the plan before the first step, and finds what fits', async () => {
  const small = smallConfig();
  const told: MemoryPlan[] = [];
  let dispatched = false;
  const { queue } = backend();
  const submit = queue.submit.bind(queue);
  queue.submit = (buffers) => {
    dispatched ||= told.length === 0;
    submit(buffers);
  };
  const result = await dryRun(small, 5, 3, (plan) => told.push(plan)).finally(() => (queue.submit = submit));
  expect(dispatched).toBe(false);
  expect(told).toEqual([result.planned]);
  expect(result.planned?.bytes).toBe(planned(small, { train: 5, validation: 3 }).bytes);
  expect(result.recomputedBytes).not.toBeNull();
  expect(result.fittingBatchSize).toBeNull();
  expect(await fittingBatchSize(small, 1)).toBe(1);
});
