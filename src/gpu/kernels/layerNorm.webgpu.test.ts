/** @file LayerNorm's kernels, both variants, against float64. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { setKernels } from '../launch';
import { layerNorm } from '../ops/normalize';
import { useBackend } from '../ops/testSupport';
import { layerNormForward, layerNormInputGradient, layerNormParameterGradients } from './layerNorm';
import type { RowVariant } from './rows';
import { distance, gradients, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

const EPS = 1e-6;

interface Case {
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly b: Float32Array;
  readonly dy: Float32Array;
  readonly rows: number;
  readonly c: number;
}

const made = (rows: number, c: number, shift = 0): Case => ({
  x: normals(rows * c, 'x', 1, shift),
  w: normals(c, 'w', 0.5, 1),
  b: normals(c, 'b'),
  dy: normals(rows * c, 'dy'),
  rows,
  c,
});

/** From the definition, in float64. */
function exact({ x, w, b, dy, rows, c }: Case) {
  const [y, dx] = [new Float64Array(rows * c), new Float64Array(rows * c)];
  const [dw, db, n] = [new Float64Array(c), new Float64Array(c), new Float64Array(c)];
  for (let row = 0; row < rows; row++) {
    const at = (a: Float32Array, j: number): number => a[row * c + j] as number;
    let [mean, variance, g1, gn] = [0, 0, 0, 0];
    for (let j = 0; j < c; j++) mean += at(x, j) / c;
    for (let j = 0; j < c; j++) variance += (at(x, j) - mean) ** 2 / c;
    const r = 1 / Math.sqrt(variance + EPS);
    for (let j = 0; j < c; j++) {
      const nj = (n[j] = (at(x, j) - mean) * r);
      y[row * c + j] = nj * (w[j] as number) + (b[j] as number);
      dw[j] = (dw[j] as number) + at(dy, j) * nj;
      db[j] = (db[j] as number) + at(dy, j);
      g1 += (at(dy, j) * (w[j] as number)) / c;
      gn += (at(dy, j) * (w[j] as number) * nj) / c;
    }
    for (let j = 0; j < c; j++) {
      dx[row * c + j] = r * (at(dy, j) * (w[j] as number) - g1 - (n[j] as number) * gn);
    }
  }
  return { y, dx, dw, db };
}

async function run(c: Case, variant: RowVariant): Promise<Float32Array[]> {
  const [x, dy] = [c.x, c.dy].map((a) => tf.tensor2d(a, [c.rows, c.c])) as [tf.Tensor, tf.Tensor];
  const [w, b] = [tf.tensor1d(c.w), tf.tensor1d(c.b)];
  const values = await twice(() => {
    const { y, mean, rstd } = layerNormForward(x, w, b, EPS, variant);
    const kept = { x, mean, rstd, weight: w };
    return [y, layerNormInputGradient(dy, kept, variant), ...layerNormParameterGradients(dy, kept)];
  });
  tf.dispose([x, dy, w, b]);
  return values;
}

const SHAPES = [[1, 1], [1, 7], [3, 2], [5, 16], [70, 30], [9, 197], [33, 192], [66_001, 4], [131_075, 3], [17, 768], [3, 1280], [2, 2049]] as const; // prettier-ignore

describe.each(['rows', 'tree'] as const)('variant %s', (variant) => {
  it.each(SHAPES)('[%i, %i] and its gradients', async (rows, c) => {
    const input = made(rows, c);
    const [y, dx, dw, db] = (await run(input, variant)) as [Float32Array, Float32Array, Float32Array, Float32Array]; // prettier-ignore
    const right = exact(input);
    expect(distance(y, right.y)).toBeLessThan(2e-6);
    // Two values close together make r large: its relative error is that of their difference.
    expect(distance(dx, right.dx)).toBeLessThan(c < 5 && c > 1 ? 2e-4 : 4e-6);
    expect(distance(dw, right.dw)).toBeLessThan(4e-6);
    expect(distance(db, right.db)).toBeLessThan(4e-6);
  });

  it('keeps the digits of rows with a mean of a thousand deviations', async () => {
    const input = made(40, 192, 1000);
    const [y] = await run(input, variant);
    // Float32 has 6e-5 between neighbours at 1000: the mean cannot be known better. One pass (E x^2 - mean^2) would be off by 6e-2.
    expect(distance(y as Float32Array, exact(input).y)).toBeLessThan(1e-4);
  });
});

it('over the channels of images, as SAM has it (LayerNorm2d, eps 1e-6): kernels and twin', async () => {
  const shapes = [[2, 3, 5, 7], [1, 1, 4, 12], [1, 260, 257, 1], [1, 2, 1, 256]] as const; // prettier-ignore
  for (const [b, h, w, c] of shapes) {
    const input = made(b * h * w, c);
    const [x, dy] = [input.x, input.dy].map((a) => tf.tensor4d(a, [b, h, w, c])) as [tf.Tensor, tf.Tensor];
    const [weight, bias] = [tf.tensor1d(input.w), tf.tensor1d(input.b)];
    const f = (...t: tf.Tensor[]): tf.Tensor =>
      layerNorm(t[0] as tf.Tensor, t[1] as tf.Tensor1D, t[2] as tf.Tensor1D, EPS);
    const right = exact(input);
    // The twin on other backends: ops/ops.test.ts; here once, its kernels compile slowly.
    for (const on of c === 7 ? [true, false] : [true]) {
      setKernels(on);
      const [y] = await twice(() => [f(x, weight, bias)]);
      const [dx, dw, db] = await gradients(f, [x, weight, bias], dy);
      setKernels(true);
      for (const [name, got] of Object.entries({ y, dx, dw, db })) {
        expect(distance(got as Float32Array, right[name as 'y']), `${name}, ${c} channels`).toBeLessThan(
          5e-6,
        );
      }
    }
    tf.dispose([x, dy, weight, bias]);
  }
});

it('runs on the tape, gradients of frozen weights left out', async () => {
  const input = made(13, 24);
  const x = tf.tensor3d(input.x, [1, 13, 24]);
  const dy = tf.tensor3d(input.dy, [1, 13, 24]);
  const [w, b] = [tf.tensor1d(input.w), tf.tensor1d(input.b)];
  const right = exact(input);
  const norm = (...t: tf.Tensor[]): tf.Tensor =>
    layerNorm(t[0] as tf.Tensor, (t[1] ?? w) as tf.Tensor1D, (t[2] ?? b) as tf.Tensor1D, EPS);
  const all = await gradients(norm, [x, w, b], dy);
  for (const [k, name] of (['dx', 'dw', 'db'] as const).entries()) {
    expect(distance(all[k] as Float32Array, right[name]), name).toBeLessThan(4e-6);
  }
  const weightOnly = await gradients((t) => norm(x, t as tf.Tensor), [w], dy);
  expect(distance(weightOnly[0] as Float32Array, right.dw)).toBeLessThan(4e-6);
  const biasOnly = await gradients((t) => norm(x, w, t as tf.Tensor), [b], dy);
  expect(distance(biasOnly[0] as Float32Array, right.db)).toBeLessThan(4e-6);
  tf.dispose([x, dy, w, b]);
});
