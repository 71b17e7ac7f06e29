/** @file Sums and means against float64 loops, their gradients, and scalars gathered into one tensor. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { meanSquareLoss, mseLoss } from '../ops/losses';
import { useBackend } from '../ops/testSupport';
import { finishSums, meanSquare, mse, partialSums, stackScalars, sumAll } from './reduce';
import { twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

/** Values in 0.25 to 1.75: no cancellation, so that relative errors mean something. */
const values = (n: number, seed: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => 1 + 0.75 * Math.sin(i * 1.7 + seed));
const mean = (x: Float32Array, f: (v: number, i: number) => number): number => {
  let sum = 0;
  x.forEach((v, i) => (sum += f(v, i)));
  return sum / x.length;
};
const read = async (t: tf.Tensor): Promise<number> => {
  const value = (await t.data())[0] as number;
  t.dispose();
  return value;
};
const relative = (got: number, expected: number): number => Math.abs(got / expected - 1);

describe.each([1, 2, 3, 64, 1023, 1024, 4097, 1_000_001, 8_388_608])('%i elements', (n) => {
  it('sum, mean square, mean squared error', async () => {
    const [a, b] = [values(n, 1), values(n, 2)];
    const [x, t] = [tf.tensor1d(a), tf.tensor1d(b)];
    for (const tree of [true, false]) {
      expect(relative(await read(sumAll(x, tree)), n * mean(a, (v) => v))).toBeLessThan(5e-7);
    }
    expect(
      relative(
        await read(meanSquare(x)),
        mean(a, (v) => v * v),
      ),
    ).toBeLessThan(5e-7);
    const exact = mean(a, (v, i) => (v - (b[i] as number)) ** 2);
    expect(relative(await read(mse(x, t)), exact)).toBeLessThan(5e-7);
    tf.dispose([x, t]);
  });
});

it('equal values, whose roundings all point one way', async () => {
  const n = 8 * 1024 * 1024;
  const x = tf.fill([n], 0.1);
  for (const tree of [true, false]) {
    expect(relative(await read(sumAll(x, tree)), n * Math.fround(0.1))).toBeLessThan(1e-6);
  }
  x.dispose();
});

it('the same bits twice', async () => {
  const x = tf.tensor1d(values(300_001, 5));
  expect(await read(sumAll(x))).toBe(await read(sumAll(x)));
  x.dispose();
});

it.each([[[5]], [[3, 7, 4]], [[67, 1001]]])('gradients of the means, %j', async (shape) => {
  const n = shape.reduce((p, q) => p * q, 1);
  const [a, b] = [values(n, 3), values(n, 4)];
  const [x, t] = [tf.tensor(a, shape), tf.tensor(b, shape)];
  const g = tf.grad((v: tf.Tensor) => tf.mul(meanSquareLoss(v), 3))(x);
  const h = tf.grad((v: tf.Tensor) => tf.mul(mseLoss(v, t), 3))(x);
  expect(g.shape).toEqual(shape);
  (await g.data()).forEach((v, i) => expect(relative(v, (6 * (a[i] as number)) / n)).toBeLessThan(1e-6));
  const got = await h.data();
  a.forEach((v, i) => {
    const exact = (6 * (v - (b[i] as number))) / n;
    expect(Math.abs((got[i] as number) - exact) * n).toBeLessThan(1e-5);
  });
  tf.dispose([x, t, g, h]);
});

it.each([1, 7, 8, 14, 20])('%i scalars into one tensor', async (n) => {
  const scalars = Array.from({ length: n }, (_, i) => (i % 2 === 0 ? tf.scalar(i + 0.5) : tf.tensor1d([-i])));
  const y = stackScalars(scalars);
  expect(y.shape).toEqual([n]);
  expect([...(await y.data())]).toEqual(scalars.map((_, i) => (i % 2 === 0 ? i + 0.5 : -i)));
  tf.dispose([y, ...scalars]);
});

it.each([1, 63, 1000, 66_001])(
  'several sums in several blocks, with and without the tree, %i items',
  async (n) => {
    const a = values(n, 7);
    const x = tf.tensor1d(a);
    for (const tree of [true, false]) {
      const [y] = await twice(() => {
        const partials = partialSums({
          name: 'test-sums',
          inputs: { x: { tensor: x, type: 'f32' } },
          items: n,
          accumulators: 3,
          blocks: 2,
          tree,
          body: () => `let v = x[j] * f32(1u + block);
          part0 += vec4<f32>(v, 2.0 * v, 0.0, 1.0); part1.y += v * v; part2.z += f32(j % 2u);`,
        });
        return finishSums({
          name: 'test-sums-finish',
          partials,
          outputs: { y: { shape: [6], type: 'f32' } },
          body: () =>
            'for (var k = 0u; k < 6u; k++) { let s = total(k, lane); if (lane == 0u) { y[k] = select(select(s.z, s.y, k % 3u == 1u), s.x + s.w, k % 3u == 0u); } }',
        });
      });
      const [sum, squares, odd] = [n * mean(a, (v) => v), n * mean(a, (v) => v * v), Math.floor(n / 2)];
      const wanted = [sum + n, squares, odd, 2 * sum + n, 4 * squares, odd];
      wanted.forEach((w, k) =>
        expect(Math.abs((y?.[k] as number) - w), `sum ${k}`).toBeLessThanOrEqual(1e-6 * w),
      );
    }
    x.dispose();
  },
);
