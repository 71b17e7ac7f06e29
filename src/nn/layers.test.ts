/**
 * @file Random masks and the layers that use them; BatchNorm's running statistics.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../gpu/ops/testSupport';
import {
  batchNormLayer,
  convTranspose2x2Layer,
  dropout,
  dropout2d,
  dropPath,
  type LayerContext,
} from './layers';
import { dropoutMask } from './masks';

beforeAll(() => useBackend('wasm'));

const context = (
  training: boolean,
  step = 0,
  tensors: Record<string, tf.Tensor> = {},
  updates = new Map<string, tf.Tensor>(),
): LayerContext => ({
  training,
  seed: 1,
  step,
  param: (name) => tensors[name] as tf.Tensor,
  updateBuffer: (name, value) => void updates.set(name, value),
});

describe('dropoutMask', () => {
  it('keeps the asked share, scaled to keep the mean', () => {
    const mask = dropoutMask(200_001, 0.9, [1, 2, 'layer']);
    const kept = mask.filter((v) => v !== 0);
    expect(kept.length / mask.length).toBeCloseTo(0.9, 2);
    expect(new Set(kept)).toEqual(new Set([Math.fround(1 / 0.9)]));
    const halves = [mask.subarray(0, 100_000), mask.subarray(100_000)];
    for (const half of halves) expect(half.filter((v) => v !== 0).length / half.length).toBeCloseTo(0.9, 2);
  });

  it('is a function of its key alone, and neighbours are independent', () => {
    expect(dropoutMask(64, 0.5, [1, 2, 'a'])).toEqual(dropoutMask(64, 0.5, [1, 2, 'a']));
    const [a, b] = [dropoutMask(50_000, 0.5, [1, 2, 'a']), dropoutMask(50_000, 0.5, [1, 3, 'a'])];
    const agree = a.filter((v, i) => v === b[i]).length / a.length;
    expect(agree).toBeCloseTo(0.5, 1);
    const repeats = a.filter((v, i) => v === a[i + 1]).length / a.length;
    expect(repeats).toBeCloseTo(0.5, 1);
  });
});

const values = async (t: tf.Tensor): Promise<Float32Array> => (await t.data()) as Float32Array;

describe('dropout layers', () => {
  it('drop values, channels or samples; nothing in evaluation', async () => {
    const x = tf.ones([3, 4, 5, 6]) as tf.Tensor4D;
    const single = await values(dropout(context(true), 'd', x, 0.5));
    expect(new Set(single)).toEqual(new Set([0, 2]));

    const channels = await values(dropout2d(context(true), 'd', x, 0.5));
    const of = (b: number, pixel: number, c: number): number => channels[(b * 20 + pixel) * 6 + c] as number;
    for (let b = 0; b < 3; b++) {
      for (let c = 0; c < 6; c++) for (let p = 1; p < 20; p++) expect(of(b, p, c)).toBe(of(b, 0, c));
    }
    expect(new Set(channels)).toEqual(new Set([0, 2]));

    const many = tf.ones([64, 3]);
    const paths = await values(dropPath(context(true), 'p', many, 0.25));
    for (let b = 0; b < 64; b++) expect(paths[3 * b + 2]).toBe(paths[3 * b]);
    expect(new Set(paths)).toEqual(new Set([0, Math.fround(1 / 0.75)]));

    expect(dropout(context(false), 'd', x, 0.5)).toBe(x);
    expect(await values(dropout(context(true, 1), 'd', x, 0.5))).not.toEqual(single);
  });
});

it('BatchNorm: running statistics as torch updates them (momentum 0.1, unbiased variance)', async () => {
  const x = tf.tensor2d([1, 2, 3, 6], [4, 1]);
  const updates = new Map<string, tf.Tensor>();
  const tensors = {
    'bn.weight': tf.tensor1d([2]),
    'bn.bias': tf.tensor1d([1]),
    'bn.running_mean': tf.tensor1d([10]),
    'bn.running_var': tf.tensor1d([4]),
  };
  const y = await batchNormLayer(context(true, 0, tensors, updates), 'bn', x).data();
  // mean 3, biased variance 3.5, unbiased 14 / 3
  expect(y[0]).toBeCloseTo((-2 / Math.sqrt(3.5 + 1e-5)) * 2 + 1, 5);
  expect((await updates.get('bn.running_mean')?.data())?.[0]).toBeCloseTo(9.3, 5);
  expect((await updates.get('bn.running_var')?.data())?.[0]).toBeCloseTo(3.6 + 0.1 * (14 / 3), 5);
  const fixed = await batchNormLayer(context(false, 0, tensors), 'bn', x).data();
  expect(fixed[0]).toBeCloseTo(((1 - 10) / Math.sqrt(4 + 1e-5)) * 2 + 1, 5);
});

it('ConvTranspose2d of kernel 2 and stride 2: each pixel becomes a block', async () => {
  const tensors = {
    'up.weight': tf.tensor4d([1, 2, 3, 4, 10, 20, 30, 40], [2, 1, 2, 2]),
    'up.bias': tf.tensor1d([0.5]),
  };
  const x = tf.tensor4d([1, 0, 0, 1], [1, 1, 2, 2]);
  const y = convTranspose2x2Layer(context(false, 0, tensors), 'up', x);
  expect(y.shape).toEqual([1, 2, 4, 1]);
  expect([...(await y.data())]).toEqual([1.5, 2.5, 10.5, 20.5, 3.5, 4.5, 30.5, 40.5]);
});
