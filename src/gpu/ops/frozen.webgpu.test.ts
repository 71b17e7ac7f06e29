/**
 * @file Frozen weights as halves: value and gradients against float64 with the rounded weights, by our kernels and by the twin.
 * Finite differences: linearCases.ts.
 */
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { packHalves, unpackHalves } from '../halves';
import { packHalf } from '../kernels/matmul';
import { distance, gradients, normals, twice } from '../kernels/testValues';
import { setKernels } from '../launch';
import { disposeHalf, frozenLinear, halfToFloat, halfWeight } from './frozen';
import { useBackend } from './testSupport';

beforeAll(() => useBackend('webgpu'));
afterEach(() => void setKernels(true));

/** sum over k of a[i, k] b[j, k] or, with `across`, of a[i, k] b[k, j]; float64. */
function product(
  a: Float32Array,
  b: Float32Array,
  m: number,
  n: number,
  k: number,
  across: boolean,
): Float64Array {
  return Float64Array.from({ length: m * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let l = 0; l < k; l++)
      sum += (a[i * k + l] as number) * (b[across ? l * n + j : j * k + l] as number);
    return sum;
  });
}

describe.each([true, false])('kernels %s', (on) => {
  it.each([
    [5, 7, 3],
    [1, 1, 1],
    [9, 8, 12],
    [3, 2050, 6],
    [70, 6, 5],
    [2, 5, 2049],
    [66_001, 2, 3],
  ])('x [%i, %i], %i outputs', async (rows, inner, out) => {
    if (!on && rows > 65_535) return; // the stock kernels take seconds for the same
    const [xs, ws] = [normals(rows * inner, 'x'), normals(out * inner, 'w', 0.5 / Math.sqrt(inner))];
    const [bs, dys] = [normals(out, 'b'), normals(rows * out, 'dy')];
    const [x, b, dy] = [tf.tensor2d(xs, [rows, inner]), tf.tensor1d(bs), tf.tensor2d(dys, [rows, out])];
    const weight = halfWeight(ws, [out, inner]);
    const rounded = unpackHalves(packHalves(ws), ws.length);
    expect((weight.stored as tf.Tensor).size).toBe(Math.ceil((out * inner) / 2));
    setKernels(on);
    const f = (...t: tf.Tensor[]): tf.Tensor => frozenLinear(t[0] as tf.Tensor, weight, t[1] as tf.Tensor1D);
    const [y] = await twice(() => [f(x, b)]);
    const [dx, db] = await gradients(f, [x, b], dy);
    const wanted = product(xs, rounded, rows, out, inner, false).map((v, i) => v + (bs[i % out] as number));
    expect(distance(y as Float32Array, wanted)).toBeLessThan(4e-6);
    expect(distance(dx as Float32Array, product(dys, rounded, rows, inner, out, true))).toBeLessThan(4e-6);
    const sums = new Float64Array(out);
    dys.forEach((v, i) => (sums[i % out] = (sums[i % out] as number) + v));
    expect(distance(db as Float32Array, sums)).toBeLessThan(on ? 1e-5 : 1e-4); // the twin adds one chain
    tf.dispose([x, b, dy]);
    disposeHalf(weight);
  });
});

it('the weight as float32 is exactly that of the halves, from host or device', async () => {
  const ws = normals(35, 'w');
  const wanted = unpackHalves(packHalves(ws), 35);
  const [w, weight] = [tf.tensor2d(ws, [5, 7]), halfWeight(ws, [5, 7])];
  const made = { stored: packHalf(w), shape: weight.shape };
  for (const each of [weight, made]) {
    const back = halfToFloat(each);
    expect(back.shape).toEqual([5, 7]);
    expect(await back.data()).toEqual(wanted);
    back.dispose();
    disposeHalf(each);
  }
  w.dispose();
});

it('names sizes that do not fit', () => {
  expect(() => halfWeight(new Float32Array(5), [2, 3])).toThrow('5 values for a weight [2,3]');
  const weight = halfWeight(new Float32Array(6), [2, 3]);
  const x = tf.zeros([4, 2]);
  expect(() => frozenLinear(x, weight, null)).toThrow('do not fit');
  x.dispose();
  disposeHalf(weight);
});
