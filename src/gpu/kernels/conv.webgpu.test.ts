/**
 * @file Convolutions against float64 loops: values, input, weight and bias gradients; both kernels; strides, paddings, odd channels.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { deviceHealth } from '../health';
import { useBackend } from '../ops/testSupport';
import { convForward, convInputGradient, convWeightGradients, type ConvSizes } from './conv';
import { depthwiseForward, depthwiseInputGradient, depthwiseWeightGradients } from './depthwise';
import { distance, normals } from './testValues';

beforeAll(() => useBackend('webgpu'));

interface Exact {
  readonly y: Float64Array;
  readonly dx: Float64Array;
  readonly dw: Float64Array;
  readonly db: Float64Array;
}

/** Convolution and its gradients in float64; depthwise where `groups` = channels. Channels last, weights (out, in / groups, k, k). */
function exact(
  x: Float32Array,
  w: Float32Array,
  b: Float32Array,
  dy: Float32Array,
  z: ConvSizes,
  depthwise = false,
): Exact {
  const { batch, height, width, inChannels, outHeight, outWidth, outChannels, k, s, p } = z;
  const out = {
    y: new Float64Array(dy.length),
    dx: new Float64Array(x.length),
    dw: new Float64Array(w.length),
    db: new Float64Array(outChannels),
  };
  const add = (array: Float64Array, i: number, value: number): void => {
    array[i] = (array[i] as number) + value;
  };
  const perGroup = depthwise ? 1 : inChannels;
  for (let n = 0; n < batch; n++)
    for (let oy = 0; oy < outHeight; oy++)
      for (let ox = 0; ox < outWidth; ox++)
        for (let o = 0; o < outChannels; o++) {
          const at = ((n * outHeight + oy) * outWidth + ox) * outChannels + o;
          const g = dy[at] as number;
          add(out.y, at, b[o] as number);
          add(out.db, o, g);
          for (let ky = 0; ky < k; ky++)
            for (let kx = 0; kx < k; kx++) {
              const [sy, sx] = [oy * s - p + ky, ox * s - p + kx];
              if (sy < 0 || sx < 0 || sy >= height || sx >= width) continue;
              for (let c = 0; c < perGroup; c++) {
                const from = ((n * height + sy) * width + sx) * inChannels + (depthwise ? o : c);
                const weight = ((o * perGroup + c) * k + ky) * k + kx;
                add(out.y, at, (x[from] as number) * (w[weight] as number));
                add(out.dx, from, g * (w[weight] as number));
                add(out.dw, weight, g * (x[from] as number));
              }
            }
        }
  return out;
}

const read = async (t: tf.Tensor): Promise<Float32Array> => ((await t.data()) as Float32Array).slice();

function sizesOf(
  shape: readonly [number, number, number, number],
  outChannels: number,
  k: number,
  s: number,
  p: number,
): ConvSizes {
  const [batch, height, width, inChannels] = shape;
  const [outHeight, outWidth] = [height, width].map((n) => Math.floor((n + 2 * p - k) / s) + 1) as [
    number,
    number,
  ];
  return { batch, height, width, inChannels, outHeight, outWidth, outChannels, k, s, p };
}

describe.each(['register', 'tiled'] as const)('%s kernel', (kernel) => {
  it.each([
    [[1, 5, 4, 3], 2, 3, 1, 1],
    [[2, 7, 9, 4], 8, 3, 1, 1],
    [[1, 9, 11, 8], 12, 3, 2, 1],
    [[1, 17, 13, 3], 5, 7, 4, 3],
    [[2, 8, 12, 5], 4, 4, 4, 0],
    [[1, 6, 6, 4], 7, 2, 3, 0],
    [[1, 1, 1, 7], 9, 3, 1, 1],
    [[1, 3, 20, 68], 72, 3, 1, 1],
    [[3, 6, 2, 4], 1, 1, 2, 0],
  ] as const)('[%s] -> %d, k %d s %d p %d', async (shape, outChannels, k, s, p) => {
    const z = sizesOf(shape, outChannels, k, s, p);
    const outShape = [z.batch, z.outHeight, z.outWidth, outChannels] as const;
    const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
    const wShape = [outChannels, z.inChannels, k, k] as const;
    const [xv, wv, bv, dyv] = [
      normals(size(shape), 'x'),
      normals(size(wShape), 'w'),
      normals(outChannels, 'b'),
      normals(size(outShape), 'dy'),
    ];
    const [x, w, b, dy] = [
      tf.tensor4d(xv, [...shape]),
      tf.tensor4d(wv, [...wShape]),
      tf.tensor1d(bv),
      tf.tensor4d(dyv, [...outShape]),
    ];
    const wanted = exact(xv, wv, bv, dyv, z);
    const y = convForward(x, w, b, z, kernel);
    const dx = convInputGradient(dy, w, z, kernel);
    const { dw, db } = convWeightGradients(dy, x, z, kernel);
    const again = convWeightGradients(dy, x, z, kernel);
    expect(distance(await read(y), wanted.y), 'y').toBeLessThan(5e-6);
    expect(distance(await read(dx), wanted.dx), 'dx').toBeLessThan(5e-6);
    expect(distance(await read(dw), wanted.dw), 'dw').toBeLessThan(5e-6);
    expect(distance(await read(db), wanted.db), 'db').toBeLessThan(5e-6);
    expect(await read(again.dw)).toEqual(await read(dw));
    expect(deviceHealth().error).toBeNull();
    tf.dispose([x, w, b, dy, y, dx, dw, db, again.dw, again.db]);
  });
});

it.each([
  [[1, 5, 4, 3], 3],
  [[2, 9, 17, 8], 3],
  [[1, 1, 1, 5], 3],
  [[1, 12, 3, 4], 5],
  [[2, 4, 9, 6], 1],
] as const)('depthwise [%s], k %d', async (shape, k) => {
  const c = shape[3];
  const z = sizesOf(shape, c, k, 1, (k - 1) / 2);
  const size = shape.reduce<number>((a, b) => a * b, 1);
  const [xv, wv, bv, dyv] = [
    normals(size, 'x'),
    normals(c * k * k, 'w'),
    normals(c, 'b'),
    normals(size, 'dy'),
  ];
  const [x, w, b, dy] = [
    tf.tensor4d(xv, [...shape]),
    tf.tensor4d(wv, [c, 1, k, k]),
    tf.tensor1d(bv),
    tf.tensor4d(dyv, [...shape]),
  ];
  const wanted = exact(xv, wv, bv, dyv, z, true);
  const y = depthwiseForward(x, w, b);
  const dx = depthwiseInputGradient(dy, w);
  const { dw, db } = depthwiseWeightGradients(dy, x, k);
  const again = depthwiseWeightGradients(dy, x, k);
  expect(distance(await read(y), wanted.y), 'y').toBeLessThan(5e-6);
  expect(distance(await read(dx), wanted.dx), 'dx').toBeLessThan(5e-6);
  expect(distance(await read(dw), wanted.dw), 'dw').toBeLessThan(5e-6);
  expect(distance(await read(db), wanted.db), 'db').toBeLessThan(5e-6);
  expect(await read(again.dw)).toEqual(await read(dw));
  expect(deviceHealth().error).toBeNull();
  tf.dispose([x, w, b, dy, y, dx, dw, db, again.dw, again.db]);
});
