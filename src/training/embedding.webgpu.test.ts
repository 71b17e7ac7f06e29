/**
 * @file Features for the embedding, on WebGPU: planned as taped to the bit, equal to the mean of what the forward pass captures, from the
 * weights that train and in the memory of the training plan.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { distance } from '../gpu/kernels/testValues';
import { studioBackend } from '../gpu/launch';
import { useBackend } from '../gpu/ops/testSupport';
import { Random } from '../lib/random';
import { TrainingSession, type HostBatch } from './session';
import { smallConfig } from './testSupport';

beforeAll(() => useBackend('webgpu'), 60_000);

const config = smallConfig();
const { image_size: size } = config.model;

function batch(count: number, key: string): HostBatch {
  const random = new Random('embedding', key);
  const images = Float32Array.from({ length: count * size * size * 3 }, () => random.uniform(-1, 1));
  const labels = Int32Array.from({ length: count * size * size }, (_, i) => Number(i % size > size / 2));
  return { images, labels, count, size };
}

async function values(tensors: readonly tf.Tensor[]): Promise<number[][]> {
  const read = await Promise.all(tensors.map((t) => t.data()));
  tf.dispose([...tensors]);
  return read.map((each) => [...each]);
}

/** The definition: the mean over positions of every feature that a plain forward pass captures. */
async function captured(session: TrainingSession, images: Float32Array): Promise<number[][]> {
  const means = tf.tidy(() => {
    const found: tf.Tensor[] = [];
    const capture = (_: string, x: tf.Tensor): void => {
      const [b, c] = [x.shape[0] as number, x.shape[x.rank - 1] as number];
      found.push(tf.mean(tf.reshape(x, [b, -1, c]), 1));
    };
    const ctx = session.store.context({ training: false, seed: config.seed, step: 0, capture });
    session.model.forward(ctx, session.architecture, tf.tensor4d(images, [2, size, size, 3]));
    return found;
  });
  return values(means);
}

it('planned = taped to the bit, and the mean over positions; follows the weights; takes no memory of its own', async () => {
  const { images } = batch(2, 'seen');
  const results: number[][][] = [];
  for (const execution of ['plan', 'tape'] as const) {
    const session = new TrainingSession(config, null, { execution });
    const names = session.model.featureNames(session.architecture);
    const before = await values(await session.embed(images, 2, size, names));
    await session.step([batch(2, 'train')], 1e-2, 0, 0);
    const held = studioBackend()?.ownBytes;
    const after = await values(await session.embed(images, 2, size, names));
    expect(studioBackend()?.ownBytes).toBe(held);
    expect(after).not.toEqual(before);
    const expected = await captured(session, images);
    expect(after.length).toBe(expected.length);
    after.forEach((vector, i) =>
      expect(distance(vector, expected[i] as number[]), names[i]).toBeLessThan(1e-5),
    );
    await expect(session.embed(images, 2, size, ['no.such'])).rejects.toThrow('no feature "no.such"');
    session.dispose();
    results.push(before, after);
  }
  expect(results.slice(0, 2)).toEqual(results.slice(2));
}, 120_000);
