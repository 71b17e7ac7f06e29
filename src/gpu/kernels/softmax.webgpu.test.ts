/** @file Softmax's kernels, both variants, against float64. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { softmax } from '../ops/softmax';
import { useBackend } from '../ops/testSupport';
import { softmaxForward, softmaxInputGradient } from './softmax';
import { distance, gradients, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

function exact(x: Float32Array, dy: Float32Array, rows: number, n: number) {
  const [y, dx] = [new Float64Array(rows * n), new Float64Array(rows * n)];
  for (let row = 0; row < rows; row++) {
    let [top, sum, along] = [-Infinity, 0, 0];
    for (let j = row * n; j < row * n + n; j++) top = Math.max(top, x[j] as number);
    for (let j = row * n; j < row * n + n; j++) sum += y[j] = Math.exp((x[j] as number) - top);
    for (let j = row * n; j < row * n + n; j++) {
      y[j] = (y[j] as number) / sum;
      along += (y[j] as number) * (dy[j] as number);
    }
    for (let j = row * n; j < row * n + n; j++) dx[j] = (y[j] as number) * ((dy[j] as number) - along);
  }
  return { y, dx };
}

const SHAPES = [[1, 1], [3, 1], [1, 4], [7, 5], [70, 49], [66_001, 4], [131_071, 3], [5, 10_000], [3, 2001], [21, 196]] as const; // prettier-ignore

describe.each(['rows', 'tree'] as const)('variant %s', (variant) => {
  it.each(SHAPES)('[%i, %i] and its gradient', async (rows, n) => {
    const [xs, dys] = [normals(rows * n, 'x', 3), normals(rows * n, 'dy')];
    const [x, dy] = [tf.tensor2d(xs, [rows, n]), tf.tensor2d(dys, [rows, n])];
    const values = await twice(() => {
      const y = softmaxForward(x, variant);
      return [y, softmaxInputGradient(dy, y, variant)];
    });
    const right = exact(xs, dys, rows, n);
    expect(distance(values[0] as Float32Array, right.y)).toBeLessThan(2e-6);
    expect(distance(values[1] as Float32Array, right.dx)).toBeLessThan(4e-6);
    tf.dispose([x, dy]);
  });

  it('does not overflow, nor lose rows far below zero', async () => {
    const x = tf.tensor2d([1e4, 1e4, -1e4, -1e4, -1e30, -1e30], [3, 2]);
    const [y] = await twice(() => [softmaxForward(x, variant)]);
    expect([...(y as Float32Array)]).toEqual([0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
    x.dispose();
  });
});

it('runs on the tape', async () => {
  const [xs, dys] = [normals(60, 'x'), normals(60, 'dy')];
  const [x, dy] = [tf.tensor3d(xs, [2, 5, 6]), tf.tensor3d(dys, [2, 5, 6])];
  const [dx] = await gradients((t) => softmax(t as tf.Tensor), [x], dy);
  expect(distance(dx as Float32Array, exact(xs, dys, 10, 6).dx)).toBeLessThan(4e-6);
  tf.dispose([x, dy]);
});
