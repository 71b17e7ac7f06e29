/** @file Activations, broadcast sums and products and their gradients against float64. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { add, gelu, relu, scaleBy } from '../ops/elementwise';
import { useBackend } from '../ops/testSupport';
import { activate, activateGradient, broadcastOf, combine } from './elementwise';
import { distance, gradients, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

/** erf in float64: the Taylor series for small x, else the continued fraction of erfc (Abramowitz and Stegun 7.1.14). */
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x > 6) return 1;
  if (x > 3) {
    let fraction = x;
    for (let k = 60; k > 0; k--) fraction = x + k / 2 / fraction;
    return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
  }
  let [term, total] = [x, x];
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    total += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}
const cdf = (x: number): number => 0.5 * (1 + erf(x * Math.SQRT1_2));
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

const EXACT = {
  gelu: { y: (x: number) => x * cdf(x), slope: (x: number) => cdf(x) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI) },
  relu: { y: (x: number) => Math.max(x, 0), slope: (x: number) => (x > 0 ? 1 : 0) },
  sigmoid: { y: sigmoid, slope: (x: number) => sigmoid(x) * (1 - sigmoid(x)) },
} as const; // prettier-ignore

describe.each(['gelu', 'relu', 'sigmoid'] as const)('%s', (name) => {
  it.each([1, 3, 4, 255, 1024, 70_001, 1_200_000])('of %i values and its gradient', async (size) => {
    const xs = normals(size, 'x', 2);
    const dys = normals(size, 'dy');
    const [x, dy] = [tf.tensor1d(xs), tf.tensor1d(dys)];
    const [y, dx, ...other] = await twice(() =>
      ([4, 16] as const).flatMap((each) => {
        const value = activate(name, x, each);
        return [value, activateGradient(name, dy, name === 'gelu' ? x : value, each)];
      }),
    );
    expect(distance(other[0] as Float32Array, y as Float32Array), 'both ways of dealing').toBe(0);
    expect(distance(other[1] as Float32Array, dx as Float32Array), 'both ways of dealing').toBe(0);
    expect(distance(y as Float32Array, Float64Array.from(xs, EXACT[name].y))).toBeLessThan(2e-7);
    const slopes = Float64Array.from(xs, (v, i) => EXACT[name].slope(v) * (dys[i] as number));
    expect(distance(dx as Float32Array, slopes, 1)).toBeLessThan(3e-7);
    tf.dispose([x, dy]);
  });
});

it('gelu is good to 3e-7 of max(1, |x|) on a fine grid, and at the ends', async () => {
  const xs = Float32Array.from({ length: 20_001 }, (_, i) => (i - 10_000) / 1000);
  const x = tf.tensor1d(Float32Array.of(...xs, -100, 100, -3e4, 3e4, 0));
  const [y] = await twice(() => [activate('gelu', x)]);
  let worst = 0;
  xs.forEach((v, i) => {
    const error = Math.abs((y?.[i] as number) - v * cdf(v)) / Math.max(1, Math.abs(v));
    worst = Math.max(worst, error);
  });
  expect(worst).toBeLessThan(3e-7);
  for (const [k, v] of [-100, 100, -3e4, 3e4, 0].entries()) {
    expect(Math.abs((y?.[20_001 + k] as number) - Math.max(v, 0))).toBeLessThanOrEqual(Math.abs(v) * 1e-7);
  }
  x.dispose();
});

/** Broadcasts by tfjs' own rule on the CPU side: index of the small operand for each element. */
function indices(shape: readonly number[], small: readonly number[]): Int32Array {
  const padded = [...Array.from({ length: shape.length - small.length }, () => 1), ...small];
  const size = tf.util.sizeFromShape([...shape]);
  return Int32Array.from({ length: size }, (_, flat) => {
    let [rest, at, stride] = [flat, 0, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const [n, m] = [shape[axis] as number, padded[axis] as number];
      if (m !== 1) at += (rest % n) * stride;
      stride *= m;
      rest = Math.floor(rest / n);
    }
    return at;
  });
}

const SHAPES: readonly (readonly [shape: number[], small: number[]])[] = [
  [[5], [5]],
  [
    [2, 3, 8],
    [2, 3, 8],
  ],
  [[70_001, 3], [3]],
  [[40, 24], [24]],
  [
    [3, 5, 8],
    [1, 5, 8],
  ],
  [
    [3, 5, 7],
    [5, 7],
  ],
  [
    [2, 3, 5, 8],
    [2, 1, 1, 8],
  ],
  [
    [2, 3, 5, 7],
    [2, 1, 1, 7],
  ],
  [
    [4, 6, 10],
    [4, 1, 1],
  ],
  [
    [4, 3, 7],
    [4, 1, 1],
  ],
  [[4, 3, 8], []],
  [
    [66_000, 4],
    [1, 1],
  ],
  [
    [1, 6],
    [1, 1],
  ],
  [
    [2, 1, 4],
    [1, 1, 4],
  ],
  [
    [2, 3, 4],
    [1, 3, 1],
  ], // two runs: plain operations
];

describe.each(SHAPES)('[%j] with [%j]', (shape, small) => {
  const [as, bs] = [normals(tf.util.sizeFromShape(shape), 'a'), normals(tf.util.sizeFromShape(small), 'b')];
  const dys = normals(as.length, 'dy');
  const at = indices(shape, small);
  const make = (): [tf.Tensor, tf.Tensor, tf.Tensor] => [tf.tensor(as, shape), tf.tensor(bs, small), tf.tensor(dys, shape)]; // prettier-ignore

  it('add', async () => {
    const [a, b, dy] = make();
    const [y] = await twice(() => [add(a, b)]);
    expect(
      distance(
        y as Float32Array,
        as.map((v, i) => v + (bs[at[i] as number] as number)),
      ),
    ).toBe(0);
    const [da, db] = await gradients((...t) => add(t[0] as tf.Tensor, t[1] as tf.Tensor), [a, b], dy);
    expect(distance(da as Float32Array, dys)).toBe(0);
    const sums = new Float64Array(bs.length);
    dys.forEach((v, i) => (sums[at[i] as number] = (sums[at[i] as number] as number) + v));
    expect(distance(db as Float32Array, sums)).toBeLessThan(5e-6);
    tf.dispose([a, b, dy]);
  });

  it('dealt out for a GPU', async () => {
    const along = broadcastOf(shape, small);
    if (along === null) return;
    const [a, b, dy] = make();
    const [y, own] = await twice(() => ([4, 16] as const).map((each) => combine('add', a, b, along, each)));
    expect(distance(y as Float32Array, own as Float32Array)).toBe(0);
    tf.dispose([a, b, dy]);
  });

  it('scaleBy', async () => {
    const [a, b, dy] = make();
    const product = (x: Float32Array): Float32Array => x.map((v, i) => v * (bs[at[i] as number] as number)); // prettier-ignore
    const [y] = await twice(() => [scaleBy(a, b)]);
    expect(distance(y as Float32Array, product(as))).toBe(0);
    const [da] = await gradients((t) => scaleBy(t as tf.Tensor, b), [a], dy);
    expect(distance(da as Float32Array, product(dys))).toBe(0);
    tf.dispose([a, b, dy]);
  });
});

it('gelu and relu run on the tape', async () => {
  const [xs, dys] = [normals(42, 'x'), normals(42, 'dy')];
  const [x, dy] = [tf.tensor2d(xs, [6, 7]), tf.tensor2d(dys, [6, 7])];
  for (const [name, f] of [
    ['gelu', gelu],
    ['relu', relu],
  ] as const) {
    // prettier-ignore
    const [dx] = await gradients((t) => f(t as tf.Tensor), [x], dy);
    const slopes = Float64Array.from(xs, (v, i) => EXACT[name].slope(v) * (dys[i] as number));
    expect(distance(dx as Float32Array, slopes)).toBeLessThan(3e-7);
  }
  tf.dispose([x, dy]);
});

it('sees only broadcasts along one run of axes', () => {
  expect(broadcastOf([2, 3, 4], [1, 3, 1])).toBeNull();
  expect(broadcastOf([2, 3], [3, 3])).toBeNull();
  expect(broadcastOf([2, 3], [1, 2, 3])).toBeNull();
  expect(broadcastOf([2, 1, 4, 5], [1, 1, 1, 5])).toEqual({ outer: 1, repeated: 8, inner: 5 });
});

it('relu lets NaN through', async () => {
  const x = tf.tensor1d([NaN, -1, 2, NaN]);
  const [y] = await twice(() => [activate('relu', x)]);
  expect([...(y as Float32Array)]).toEqual([NaN, 0, 2, NaN]);
  x.dispose();
});
