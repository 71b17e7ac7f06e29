/** @file BatchNorm's kernels, with and without ReLU, in training and evaluation, against float64. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { batchNormEval, batchNormTrain, blendRunningStatistics } from '../ops/normalize';
import { useBackend } from '../ops/testSupport';
import { batchStatistics, updateRunningStatistics } from './batchNorm';
import { distance, gradients, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

const EPS = 1e-5;

interface Case {
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly b: Float32Array;
  readonly dy: Float32Array;
  readonly rows: number;
  readonly c: number;
}

const made = (rows: number, c: number, shift = 0, scale = 1): Case => ({
  x: normals(rows * c, 'x', scale, shift),
  w: normals(c, 'w', 0.5, 1),
  b: normals(c, 'b'),
  dy: normals(rows * c, 'dy'),
  rows,
  c,
});

const columns = (
  a: Float32Array,
  c: number,
  f: (v: number, i: number, j: number) => number,
): Float64Array => {
  const sums = new Float64Array(c);
  a.forEach((v, i) => (sums[i % c] = (sums[i % c] as number) + f(v, i, i % c)));
  return sums;
};

function statistics({ x, rows, c }: Case) {
  const mean = columns(x, c, (v) => v / rows);
  const variance = columns(x, c, (v, _, j) => (v - (mean[j] as number)) ** 2 / rows);
  return { mean, variance };
}

/** From the definition; with fixed statistics where given, where the ReLU's gate is that of the float64 output. */
function exact(input: Case, relu: boolean, fixed?: { mean: ArrayLike<number>; variance: ArrayLike<number> }) {
  const { x, w, b, dy, rows, c } = input;
  const { mean, variance } = fixed ?? statistics(input);
  const of = (a: ArrayLike<number>, j: number): number => a[j] as number;
  const r = Float64Array.from(variance, (v) => 1 / Math.sqrt(v + EPS));
  const n = Float64Array.from(x, (v, i) => (v - of(mean, i % c)) * of(r, i % c));
  const raw = n.map((v, i) => v * of(w, i % c) + of(b, i % c));
  const y = relu ? raw.map((v) => Math.max(v, 0)) : raw;
  const g = Float64Array.from(dy, (v, i) => (relu && of(raw, i) <= 0 ? 0 : v));
  const [dw, db] = [columns(dy, c, (_, i) => of(g, i) * of(n, i)), columns(dy, c, (_, i) => of(g, i))];
  const share = fixed === undefined ? 1 / rows : 0;
  const dx = g.map((v, i) => {
    const j = i % c;
    return of(r, j) * of(w, j) * (v - (of(db, j) + of(n, i) * of(dw, j)) * share);
  });
  // an output whose sign rounding decides has no gradient to compare
  const unsure = relu && raw.some((v) => Math.abs(v) < 1e-5);
  return { y, dx, dw, db, unsure };
}

const tensors = (c: Case): [tf.Tensor, tf.Tensor1D, tf.Tensor1D, tf.Tensor] => [
  tf.tensor2d(c.x, [c.rows, c.c]),
  tf.tensor1d(c.w),
  tf.tensor1d(c.b),
  tf.tensor2d(c.dy, [c.rows, c.c]),
];

const SHAPES = [[1, 1], [2, 1], [9, 5], [1, 8], [64, 32], [3136, 32], [1001, 7], [70_003, 3], [66_000, 1], [5, 2048], [120, 513]] as const; // prettier-ignore

describe.each([false, true])('relu %s', (relu) => {
  it.each(SHAPES)('training [%i, %i] and its gradients', async (rows, c) => {
    const input = made(rows, c);
    const [x, w, b, dy] = tensors(input);
    const [y] = await twice(() => [batchNormTrain(x, w, b, EPS, { relu }).y]);
    const right = exact(input, relu);
    expect(distance(y as Float32Array, right.y)).toBeLessThan(3e-6);
    const f = (...t: tf.Tensor[]): tf.Tensor =>
      batchNormTrain(t[0] as tf.Tensor, t[1] as tf.Tensor1D, t[2] as tf.Tensor1D, EPS, { relu }).y;
    const all = await gradients(f, [x, w, b], dy);
    if (!right.unsure) {
      for (const [k, name] of (['dx', 'dw', 'db'] as const).entries()) {
        expect(distance(all[k] as Float32Array, right[name], 0.1), name).toBeLessThan(2e-5);
      }
    }
    tf.dispose([x, w, b, dy]);
  });

  it.each([
    [7, 5],
    [130, 8],
    [66_000, 4],
  ])('evaluation [%i, %i] and its gradients', async (rows, c) => {
    // prettier-ignore
    const input = made(rows, c);
    const fixed = { mean: normals(c, 'mean'), variance: normals(c, 'variance').map((v) => v * v + 0.1) };
    const [x, w, b, dy] = tensors(input);
    const [mean, variance] = [tf.tensor1d(fixed.mean), tf.tensor1d(fixed.variance)];
    const f = (...t: tf.Tensor[]): tf.Tensor =>
      batchNormEval(t[0] as tf.Tensor, t[1] as tf.Tensor1D, t[2] as tf.Tensor1D, mean, variance, EPS, {
        relu,
      });
    const right = exact(input, relu, fixed);
    const [y] = await twice(() => [f(x, w, b)]);
    expect(distance(y as Float32Array, right.y)).toBeLessThan(2e-6);
    const all = await gradients(f, [x, w, b], dy);
    if (!right.unsure) {
      for (const [k, name] of (['dx', 'dw', 'db'] as const).entries()) {
        expect(distance(all[k] as Float32Array, right[name]), name).toBeLessThan(5e-6);
      }
    }
    tf.dispose([x, w, b, dy, mean, variance]);
  });
});

describe('statistics', () => {
  it.each([
    [200_000, 4, 1000, 1],
    [50_001, 3, -30_000, 1],
    [2_000_000, 1, 5, 0.01],
  ])(
    // prettier-ignore
    '[%i, %i], mean %d, deviation %d',
    async (rows, c, shift, scale) => {
      const input = made(rows, c, shift, scale);
      const x = tf.tensor2d(input.x, [rows, c]);
      const [mean, variance] = await twice(() => {
        const made = batchStatistics(x, EPS);
        return [made.mean, made.variance];
      });
      const right = statistics(input);
      expect(distance(mean as Float32Array, right.mean)).toBeLessThan(1.2e-7);
      expect(distance(variance as Float32Array, right.variance, 0)).toBeLessThan(2e-5);
      x.dispose();
    },
  );

  it('of one outlier in the first row', async () => {
    const x = normals(4000, 'x');
    x[0] = 1e4;
    const t = tf.tensor2d(x, [4000, 1]);
    const [, variance] = await twice(() => {
      const made = batchStatistics(t, EPS);
      return [made.mean, made.variance];
    });
    const right = statistics({ ...made(1, 1), x, rows: 4000, c: 1 });
    expect(distance(variance as Float32Array, right.variance, 0)).toBeLessThan(1e-5);
    t.dispose();
  });

  it('are blended as torch blends them, and as the plain operations do', async () => {
    const c = 37;
    const [oldMean, oldVar, mean, variance] = ['a', 'b', 'c', 'd'].map((key) => normals(c, key));
    const all = [oldMean, oldVar, mean, variance].map((v) => tf.tensor1d(v as Float32Array));
    const [m, v] = all.slice(0, 2) as [tf.Tensor1D, tf.Tensor1D];
    const [nm, nv] = all.slice(2) as [tf.Tensor1D, tf.Tensor1D];
    const [a, b] = await twice(() => updateRunningStatistics(m, v, nm, nv, 0.1, 64 / 63));
    const stock = await twice(() => [
      tf.add(tf.mul(m, 0.9), tf.mul(nm, 0.1)),
      tf.add(tf.mul(v, 0.9), tf.mul(nv, (0.1 * 64) / 63)),
    ]);
    expect(distance(a as Float32Array, stock[0] as Float32Array)).toBeLessThan(1.2e-7);
    expect(distance(b as Float32Array, stock[1] as Float32Array)).toBeLessThan(1.2e-7);
    const blended = tf.tidy(() => {
      const { mean: x, variance: y } = blendRunningStatistics({ mean: m, variance: v }, { mean: nm, variance: nv }, 0.1, 64 / 63); // prettier-ignore
      return [x, y];
    });
    expect(await (blended[1] as tf.Tensor).data()).toEqual(b);
    tf.dispose([...all, ...blended]);
  });
});
