/**
 * @file A recorded and replayed step against the same step taped by TensorFlow.js: the same bits; against the kernels' twins: the same
 * numbers up to rounding. Every recording is made twice, so that nothing is frozen into a plan.
 */
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StudioConfig } from '../config/types';
import { setKernels, studioBackend } from '../gpu/launch';
import { memoryUse, trimMemory } from '../gpu/memory';
import { useBackend } from '../gpu/ops/testSupport';
import { setDoubleTrace } from '../models/stepRecording';
import { TrainingSession, type HostBatch, type SessionOptions } from './session';
import { bits, noise, smallConfig, smallSegFormer } from './testSupport';

beforeAll(async () => {
  await useBackend('webgpu');
  setDoubleTrace(true);
}, 60_000);
afterAll(() => {
  setDoubleTrace(false);
});

interface Outcome {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly state: Awaited<ReturnType<TrainingSession['toTensorMap']>>;
  readonly logits: Float32Array;
}

/** Steps of two micro-batches, the second smaller, or of one; then a prediction. */
async function run(config: StudioConfig, options: SessionOptions, steps = 4): Promise<Outcome> {
  const session = new TrainingSession(config, null, options);
  try {
    const losses: number[] = [];
    const norms: number[] = [];
    for (let step = 0; step < steps; step++) {
      const parts = [noise(config, 2, 2 * step), noise(config, 1, 2 * step + 1)];
      const given = step % 2 === 0 ? parts : [parts[0] as HostBatch];
      const { loss, gradNorm } = await session.step(given, 5e-3 / (step + 1), step, 2 * step);
      losses.push(loss);
      norms.push(gradNorm);
    }
    const { images, count, size } = noise(config, 2, 99);
    const predicted = await session.predict(images, count, size);
    const logits = (await predicted.data()) as Float32Array;
    predicted.dispose();
    if (options.execution === 'plan') expect(session.notPlanned).toBeNull();
    return { losses, norms, state: await session.toTensorMap(), logits };
  } finally {
    session.dispose();
  }
}

const MODELS: Readonly<Record<string, StudioConfig>> = {
  tinyusfm: smallConfig('training.gradient_clip=0.5'),
  segformer: smallSegFormer('optimizer.name=sgd'),
};

describe.each(Object.entries(MODELS))('%s', (_, config) => {
  it('replayed = taped, bit for bit; kernels = twins up to rounding; nothing is left on the device', async () => {
    trimMemory();
    const before = { tensors: tf.memory().numTensors, own: studioBackend()?.ownBytes };
    const planned = await run(config, { execution: 'plan' });
    const taped = await run(config, { execution: 'tape' });
    expect(planned.losses).toEqual(taped.losses);
    expect(planned.norms).toEqual(taped.norms);
    expect(bits({ dtype: 'float32', shape: [], data: planned.logits })).toEqual(
      bits({ dtype: 'float32', shape: [], data: taped.logits }),
    );
    for (const [name, tensor] of planned.state) {
      expect(bits(taped.state.get(name) ?? tensor), name).toEqual(bits(tensor));
    }
    setKernels(false);
    const twins = await run(config, {}).finally(() => setKernels(true));
    // Adam's first steps follow the signs of gradients that are zero but for rounding: the paths part slowly.
    planned.losses.forEach((loss, i) => {
      expect(Math.abs(loss / (twins.losses[i] as number) - 1)).toBeLessThan(i === 0 ? 1e-5 : 1e-2);
    });
    trimMemory();
    expect({ tensors: tf.memory().numTensors, own: studioBackend()?.ownBytes }).toEqual(before);
    expect(memoryUse().bytes).toBeGreaterThanOrEqual(0);
  }, 240_000);

  it('blocks recomputed: the same losses and gradient norms, bit for bit, taped and replayed', async () => {
    const blocks = { ...config, training: { ...config.training, recompute: 'blocks' as const } };
    const kept = await run(config, { execution: 'plan' }, 3);
    for (const execution of ['plan', 'tape'] as const) {
      const { losses, norms } = await run(blocks, { execution }, 3);
      expect({ losses, norms }, execution).toEqual({ losses: kept.losses, norms: kept.norms });
    }
  }, 240_000);
});
