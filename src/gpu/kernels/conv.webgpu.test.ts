/**
 * @file Convolutions against float64 loops: values, input, weight and bias gradients; both kernels; strides, paddings, odd channels.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { deviceHealth } from '../health';
import { convTranspose2x2 } from '../ops/convTranspose';
import { useBackend } from '../ops/testSupport';
import { convForward, convInputGradient, convWeightGradients, type ConvSizes } from './conv';
import { depthwiseForward, depthwiseInputGradient, depthwiseWeightGradients } from './depthwise';
import { distance, gradients, normals, twice } from './testValues';

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
    [[1, 1, 9, 4], 4, 3, 1, 1],
    [[1, 9, 1, 5], 3, 3, 1, 1],
    [[1, 3, 2, 227], 6, 3, 1, 1],
    [[1, 1, 2, 2052], 4, 1, 1, 0],
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
    expect(await read(again.db)).toEqual(await read(db));
    const [y2, dx2] = [convForward(x, w, b, z, kernel), convInputGradient(dy, w, z, kernel)];
    expect(await read(y2)).toEqual(await read(y));
    expect(await read(dx2)).toEqual(await read(dx));
    expect(deviceHealth().error).toBeNull();
    tf.dispose([x, w, b, dy, y, dx, dw, db, again.dw, again.db, y2, dx2]);
  });
});

it('more than 65,535 pixels', async () => {
  const z = sizesOf([1, 257, 259, 1], 2, 3, 1, 1);
  const [xv, wv, bv, dyv] = [normals(257 * 259, 'x'), normals(18, 'w'), normals(2, 'b'), normals(257 * 259 * 2, 'dy')] as const; // prettier-ignore
  const [x, w, b] = [tf.tensor4d(xv, [1, 257, 259, 1]), tf.tensor4d(wv, [2, 1, 3, 3]), tf.tensor1d(bv)];
  const dy = tf.tensor4d(dyv, [1, 257, 259, 2]);
  const wanted = exact(xv, wv, bv, dyv, z);
  const y = convForward(x, w, b, z, 'register');
  const dx = convInputGradient(dy, w, z, 'register');
  const { dw, db } = convWeightGradients(dy, x, z, 'register');
  const tiles = convForward(x, w, b, z, 'tiled'); // its gradients take a software adapter too long
  for (const [name, t] of Object.entries({ y, dx, dw, db })) {
    expect(distance(await read(t), wanted[name as 'y']), name).toBeLessThan(5e-6);
  }
  expect(distance(await read(tiles), wanted.y), 'tiles').toBeLessThan(5e-6);
  tf.dispose([x, w, b, dy, y, dx, dw, db, tiles]);
});

it.each([
  [[1, 5, 4, 3], 3],
  [[2, 9, 17, 8], 3],
  [[1, 1, 1, 5], 3],
  [[1, 12, 3, 4], 5],
  [[2, 4, 9, 6], 1],
  [[1, 1, 9, 4], 3],
  [[2, 9, 1, 3], 3],
  [[1, 259, 257, 1], 3],
  [[1, 2, 3, 2052], 3],
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

it.each([
  [[1, 5, 3, 4], 8],
  [[2, 1, 7, 3], 5],
  [[1, 6, 1, 2052], 4],
  [[1, 130, 129, 2], 1],
  [[1, 257, 256, 1], 4],
] as const)('transposed 2 x 2 [%s] -> %d and its gradients', async (shape, out) => {
  const [b, h, w, c] = shape;
  const [xs, ws, bs] = [normals(b * h * w * c, 'x'), normals(c * out * 4, 'w'), normals(out, 'b')];
  const dys = normals(b * h * w * 4 * out, 'dy');
  const wanted = { y: new Float64Array(dys.length), dx: new Float64Array(xs.length), dw: new Float64Array(ws.length), db: new Float64Array(out) }; // prettier-ignore
  for (let at = 0; at < dys.length; at++) {
    const [o, ox, row] = [at % out, Math.floor(at / out) % (2 * w), Math.floor(at / (out * 2 * w))]; // rows of all images
    const from = ((row >> 1) * w + (ox >> 1)) * c;
    let sum = bs[o] as number;
    for (let q = 0; q < c; q++) {
      const k = ((q * out + o) * 2 + (row & 1)) * 2 + (ox & 1);
      sum += (xs[from + q] as number) * (ws[k] as number);
      wanted.dx[from + q] = (wanted.dx[from + q] as number) + (dys[at] as number) * (ws[k] as number);
      wanted.dw[k] = (wanted.dw[k] as number) + (dys[at] as number) * (xs[from + q] as number);
    }
    wanted.y[at] = sum;
    wanted.db[o] = (wanted.db[o] as number) + (dys[at] as number);
  }
  const inputs = [tf.tensor4d(xs, [...shape]), tf.tensor4d(ws, [c, out, 2, 2]), tf.tensor1d(bs)];
  const dy = tf.tensor4d(dys, [b, 2 * h, 2 * w, out]);
  const f = (...t: tf.Tensor[]): tf.Tensor => convTranspose2x2(t[0] as tf.Tensor4D, t[1] as tf.Tensor4D, t[2] as tf.Tensor1D); // prettier-ignore
  const [y] = await twice(() => [f(...inputs)]);
  const [dx, dw, db] = await gradients(f, inputs, dy);
  for (const [name, got] of Object.entries({ y, dx, dw, db })) {
    expect(distance(got as Float32Array, wanted[name as 'y']), name).toBeLessThan(1e-5);
  }
  expect(deviceHealth().error).toBeNull();
  tf.dispose([...inputs, dy]);
});

it('names a transposed weight that does not fit', () => {
  const [x, w] = [tf.zeros([1, 2, 2, 3]) as tf.Tensor4D, tf.zeros([4, 5, 2, 2]) as tf.Tensor4D];
  expect(() => convTranspose2x2(x, w, null)).toThrow('weight [4,5,2,2] does not fit an input of 3 channels');
  tf.dispose([x, w]);
});
