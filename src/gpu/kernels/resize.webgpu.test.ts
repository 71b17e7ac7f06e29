/** @file Bilinear resize and its gradient against float64 where the kernels change gear; finite differences: ops/operationCases.ts. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { resizeBilinear } from '../ops/resize';
import { useBackend } from '../ops/testSupport';
import { distance, gradients, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

/** Of an output position: two neighbours and the weight of the second (torch, align_corners = false). */
function source(i: number, from: number, to: number): readonly [number, number, number] {
  const at = Math.max(0, ((i + 0.5) * from) / to - 0.5);
  const low = Math.floor(at);
  return [low, Math.min(low + 1, from - 1), at - low];
}

function exact(
  x: Float32Array,
  dy: Float32Array,
  [b, h, w, c]: readonly [number, number, number, number],
  height: number,
  width: number,
) {
  const [y, dx] = [new Float64Array(dy.length), new Float64Array(x.length)];
  for (let image = 0; image < b; image++)
    for (let oy = 0; oy < height; oy++)
      for (let ox = 0; ox < width; ox++) {
        const [y0, y1, ty] = source(oy, h, height);
        const [x0, x1, tx] = source(ox, w, width);
        for (const [sy, wy] of [
          [y0, 1 - ty],
          [y1, ty],
        ] as const)
          // prettier-ignore
          for (const [sx, wx] of [[x0, 1 - tx], [x1, tx]] as const) // prettier-ignore
            for (let e = 0; e < c; e++) {
              const at = ((image * height + oy) * width + ox) * c + e;
              const from = ((image * h + sy) * w + sx) * c + e;
              y[at] = (y[at] as number) + wy * wx * (x[from] as number);
              dx[from] = (dx[from] as number) + wy * wx * (dy[at] as number);
            }
      }
  return { y, dx };
}

it.each([
  [[1, 9, 7, 37], 18, 14, 'more channels than one invocation takes, one at a time'],
  [[2, 5, 3, 36], 3, 7, 'the same in fours, smaller and larger'],
  [[1, 1, 9, 3], 1, 31, 'one row'],
  [[1, 11, 1, 4], 4, 1, 'one column'],
  [[1, 16, 16, 1], 1, 1, 'to one pixel'],
  [[1, 130, 129, 1], 260, 259, 'more than 65,535 pixels'],
  [[1, 259, 260, 2], 130, 65, 'from as many'],
] as const)('[%s] -> %i x %i: %s', async (shape, height, width, _why) => {
  const [b, h, w, c] = shape;
  const [xs, dys] = [normals(b * h * w * c, 'x'), normals(b * height * width * c, 'dy')];
  const [x, dy] = [tf.tensor4d(xs, [...shape]), tf.tensor4d(dys, [b, height, width, c])];
  const f = (t: tf.Tensor): tf.Tensor => resizeBilinear(t as tf.Tensor4D, height, width);
  const [y] = await twice(() => [f(x)]);
  const [dx] = await gradients(f as (...t: tf.Tensor[]) => tf.Tensor, [x], dy);
  const wanted = exact(xs, dys, shape, height, width);
  // Sources are found in float32: positions near 260 are known to 1.5e-5.
  expect(distance(y as Float32Array, wanted.y)).toBeLessThan(2e-5);
  expect(distance(dx as Float32Array, wanted.dx)).toBeLessThan(2e-5);
  tf.dispose([x, dy]);
});
