/** @file GroupNorm's kernels and their twin of plain operations against float64. */
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setKernels } from '../launch';
import { groupNorm } from '../ops/normalize';
import { useBackend } from '../ops/testSupport';
import { distance, gradients, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));
afterEach(() => {
  setKernels(true);
});

const EPS = 1e-5;

interface Case {
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly b: Float32Array;
  readonly dy: Float32Array;
}

/** From the definition. */
function exact({ x, w, b, dy }: Case, images: number, positions: number, c: number, groups: number) {
  const per = c / groups;
  const [y, dx] = [new Float64Array(x.length), new Float64Array(x.length)];
  const [dw, db] = [new Float64Array(c), new Float64Array(c)];
  for (let set = 0; set < images * groups; set++) {
    const members: { i: number; j: number }[] = [];
    for (let p = 0; p < positions; p++) {
      for (let k = 0; k < per; k++) {
        const j = (set % groups) * per + k;
        members.push({ i: (Math.floor(set / groups) * positions + p) * c + j, j });
      }
    }
    const average = (f: (i: number, j: number) => number): number =>
      members.reduce((s, { i, j }) => s + f(i, j), 0) / members.length;
    const mean = average((i) => x[i] as number);
    const r = 1 / Math.sqrt(average((i) => ((x[i] as number) - mean) ** 2) + EPS);
    const n = (i: number): number => ((x[i] as number) - mean) * r;
    const g = (i: number, j: number): number => (dy[i] as number) * (w[j] as number);
    const [level, along] = [average(g), average((i, j) => g(i, j) * n(i))];
    for (const { i, j } of members) {
      y[i] = n(i) * (w[j] as number) + (b[j] as number);
      dx[i] = r * (g(i, j) - level - n(i) * along);
      dw[j] = (dw[j] as number) + (dy[i] as number) * n(i);
      db[j] = (db[j] as number) + (dy[i] as number);
    }
  }
  return { y, dx, dw, db };
}

const SHAPES = [[1, 1, 1, 2, 1], [2, 3, 5, 8, 2], [2, 3, 5, 6, 3], [1, 7, 9, 5, 5], [3, 4, 4, 12, 1], [1, 9, 7, 256, 32], [1, 260, 260, 4, 2]] as const; // prettier-ignore

describe.each([true, false])('kernels %s', (on) => {
  it.each(SHAPES)('[%i, %i, %i, %i], %i groups', async (images, h, width, c, groups) => {
    setKernels(on);
    const size = images * h * width * c;
    const input = { x: normals(size, 'x', 2, 3), w: normals(c, 'w', 0.5, 1), b: normals(c, 'b'), dy: normals(size, 'dy') }; // prettier-ignore
    const [x, dy] = [input.x, input.dy].map((a) => tf.tensor4d(a, [images, h, width, c])) as [tf.Tensor, tf.Tensor]; // prettier-ignore
    const [w, b] = [tf.tensor1d(input.w), tf.tensor1d(input.b)];
    const f = (...t: tf.Tensor[]): tf.Tensor =>
      groupNorm(t[0] as tf.Tensor, t[1] as tf.Tensor1D, t[2] as tf.Tensor1D, groups, EPS);
    const right = exact(input, images, h * width, c, groups);
    const [y] = await twice(() => [f(x, w, b)]);
    const [dx, dw, db] = await gradients(f, [x, w, b], dy);
    // The twin sums one chain per channel, which loses digits over 67,600 positions.
    const bound = on ? 5e-6 : 5e-4;
    expect(distance(y as Float32Array, right.y)).toBeLessThan(bound);
    expect(distance(dx as Float32Array, right.dx, 0.1)).toBeLessThan(2 * bound);
    expect(distance(dw as Float32Array, right.dw)).toBeLessThan(2 * bound);
    expect(distance(db as Float32Array, right.db)).toBeLessThan(2 * bound);
    tf.dispose([x, dy, w, b]);
  });
});

it('names groups that do not fit', () => {
  const [x, w] = [tf.zeros([1, 2, 2, 6]), tf.ones([6]) as tf.Tensor1D];
  expect(() => groupNorm(x, w, w, 4, EPS)).toThrow('4 groups do not divide 6 channels');
  tf.dispose([x, w]);
});
