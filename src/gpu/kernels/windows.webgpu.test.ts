/** @file Window partition and its inverse: kernels and twins against plain loops, gradients, sides that do not divide. */
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setKernels } from '../launch';
import { useBackend } from '../ops/testSupport';
import { windowPartition, windowUnpartition } from '../ops/windows';
import { gradients, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));
afterEach(() => void setKernels(true));

/** For each element of the windows the index of its source, -1 in the padding. */
function sources([b, h, w, c]: readonly [number, number, number, number], window: number): number[] {
  const list: number[] = [];
  for (let image = 0; image < b; image++)
    for (let top = 0; top < h; top += window)
      for (let left = 0; left < w; left += window)
        for (let y = top; y < top + window; y++)
          for (let x = left; x < left + window; x++)
            for (let e = 0; e < c; e++) list.push(y < h && x < w ? ((image * h + y) * w + x) * c + e : -1);
  return list;
}

const SHAPES = [[[2, 7, 5, 4], 3], [[1, 1, 1, 1], 4], [[3, 6, 4, 3], 2], [[1, 64, 64, 8], 14], [[2, 5, 9, 5], 1], [[1, 260, 257, 1], 5]] as const; // prettier-ignore

describe.each([true, false])('kernels %s', (on) => {
  it.each(SHAPES)('[%j], windows of %i', async (shape, window) => {
    setKernels(on);
    const [b, h, w, c] = shape;
    const list = sources(shape, window);
    const [xs, dys] = [normals(b * h * w * c, 'x'), normals(list.length, 'dy')];
    const parts = [list.length / (window * window * c), window * window, c] as [number, number, number];
    const [x, dy] = [tf.tensor4d(xs, [...shape]), tf.tensor3d(dys, parts)];
    const cut = Float32Array.from(list, (at) => (at < 0 ? 0 : (xs[at] as number)));
    const joined = new Float32Array(xs.length);
    list.forEach((at, i) => at >= 0 && (joined[at] = dys[i] as number));
    const [y, back] = await twice(() => [
      windowPartition(x, window),
      windowUnpartition(dy, [b, h, w], window),
    ]);
    expect(y).toEqual(cut);
    expect(back).toEqual(joined);
    const [dx] = await gradients((t) => windowPartition(t as tf.Tensor4D, window), [x], dy);
    expect(dx).toEqual(joined);
    const [dparts] = await gradients((t) => windowUnpartition(t as tf.Tensor3D, [b, h, w], window), [dy], x);
    expect(dparts).toEqual(cut);
    tf.dispose([x, dy]);
  });
});

it('names windows that do not fit the image', () => {
  const x = tf.zeros([3, 4, 2]) as tf.Tensor3D;
  expect(() => windowUnpartition(x, [1, 3, 3], 2)).toThrow('not the windows of side 2 of 1 images of 3 x 3');
  x.dispose();
});
