/**
 * @file For tests only: the operations with their naive twins and shapes, and the comparison.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { Random } from '../../lib/random';
import { attention } from './attention';
import { conv2d, depthwiseConv2d } from './conv';
import { convTranspose2x2 } from './convTranspose';
import { add, gelu, relu, scaleBy } from './elementwise';
import { LINEAR_CASES } from './linearCases';
import { columnSums, linear, matMul } from './matmul';
import * as naive from './naive';
import type { Nd } from './naive';
import { batchNormEval, batchNormTrain, layerNorm } from './normalize';
import { resizeBilinear } from './resize';
import { softmax } from './softmax';
import { useBackend, type TestBackend } from './testSupport';

export interface OperationCase {
  readonly name: string;
  readonly shapes: readonly (readonly number[])[];
  readonly ours: (...x: tf.Tensor[]) => tf.Tensor;
  readonly twin: (...x: Nd[]) => Nd;
}

type T1 = tf.Tensor1D;
type T2 = tf.Tensor2D;
type T3 = tf.Tensor3D;
type T4 = tf.Tensor4D;

const convCase = (
  shape: readonly number[],
  out: number,
  k: number,
  stride: number,
  padding: number,
): OperationCase => ({
  name: `conv2d [${shape}] -> ${out}, k ${k} s ${stride} p ${padding}`,
  shapes: [shape, [out, shape[3] as number, k, k], [out]],
  ours: (x, w, b) => conv2d(x as T4, w as T4, b as T1, { stride, padding }),
  twin: (x, w, b) => naive.conv2d(x as Nd, w as Nd, b as Nd, stride, padding),
});

const matMulCase = (b: number, m: number, k: number, n: number, ta: boolean, tb: boolean): OperationCase => ({
  name: `matMul ${b} x [${m}, ${k}] [${k}, ${n}]${ta ? ' a^T' : ''}${tb ? ' b^T' : ''}`,
  shapes: [ta ? [b, k, m] : [b, m, k], tb ? [b, n, k] : [b, k, n]],
  ours: (x, y) => matMul(x as T3, y as T3, ta, tb),
  twin: (x, y) => naive.matMul(x as Nd, y as Nd, ta, tb),
});

const attentionCase = (b: number, n: number, m: number, c: number, heads: number): OperationCase => ({
  name: `attention [${b}, ${n}, ${c}] over ${m}, ${heads} heads`,
  shapes: [[b, n, c], [b, m, c], [b, m, c]], // prettier-ignore
  ours: (q, k, v) => attention(q as T3, k as T3, v as T3, heads),
  twin: (q, k, v) => naive.attention(q as Nd, k as Nd, v as Nd, heads),
});

const resizeCase = (shape: readonly number[], height: number, width: number): OperationCase => ({
  name: `resizeBilinear [${shape}] -> ${height} x ${width}`,
  shapes: [shape],
  ours: (x) => resizeBilinear(x as T4, height, width),
  twin: (x) => naive.resize(x as Nd, height, width),
});

const rowCase = (
  name: string,
  rows: number,
  n: number,
  ours: OperationCase['ours'],
  twin: OperationCase['twin'],
  vectors = 0,
): OperationCase => ({
  name: `${name} [${rows}, ${n}]`,
  shapes: [[rows, n], ...Array.from({ length: vectors }, () => [n])],
  ours,
  twin,
});

const transposedCase = (shape: readonly number[], out: number): OperationCase => ({
  name: `convTranspose2x2 [${shape}] -> ${out}`,
  shapes: [shape, [shape[3] as number, out, 2, 2], [out]],
  ours: (x, w, b) => convTranspose2x2(x as T4, w as T4, b as T1),
  twin: naive.convTranspose as OperationCase['twin'],
});

const MASK = [0, 2, 0.5];
const EPS = 1e-5;
const layer: OperationCase['ours'] = (x, w, b) => layerNorm(x as tf.Tensor, w as T1, b as T1, EPS);
const layerTwin: OperationCase['twin'] = (x, w, b) => naive.layerNorm(x as Nd, w as Nd, b as Nd, EPS);
const batch: OperationCase['ours'] = (x, w, b) => batchNormTrain(x as tf.Tensor, w as T1, b as T1, EPS).y;
const batchTwin: OperationCase['twin'] = (x, w, b) => naive.batchNorm(x as Nd, w as Nd, b as Nd, EPS);

const CASES: readonly OperationCase[] = [
  matMulCase(1, 5, 7, 3, false, false),
  matMulCase(3, 5, 2, 1, true, false),
  matMulCase(2, 1, 9, 6, false, true),
  matMulCase(2, 4, 3, 5, true, true),
  ...[[5, 7, 3], [1, 1, 1], [9, 4, 8]].map(([rows, inputs, out]) => ({ // prettier-ignore
    name: `linear [${rows}, ${inputs}] -> ${out}`,
    shapes: [[rows, inputs], [out, inputs], [out]] as number[][], // prettier-ignore
    ours: (x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) => linear(x, w as T2, b as T1),
    twin: naive.linear,
  }) as OperationCase), // prettier-ignore
  ...LINEAR_CASES,
  rowCase('columnSums', 24, 5, (x) => tf.mul(x as tf.Tensor, columnSums(x as T2)), columnTwin),
  rowCase('gelu', 3, 7, (x) => gelu(x as tf.Tensor), (x) => naive.gelu(x as Nd)), // prettier-ignore
  rowCase('relu', 3, 5, (x) => relu(x as tf.Tensor), (x) => naive.map(x as Nd, (v) => Math.max(0, v))), // prettier-ignore
  rowCase('softmax', 5, 7, (x) => softmax(x as tf.Tensor), (x) => naive.softmax(x as Nd)), // prettier-ignore
  rowCase('softmax', 3, 1, (x) => softmax(x as tf.Tensor), (x) => naive.softmax(x as Nd)), // prettier-ignore
  rowCase('layerNorm', 5, 7, layer, layerTwin, 2),
  rowCase('layerNorm', 1, 3, layer, layerTwin, 2),
  rowCase('batchNormTrain', 9, 5, batch, batchTwin, 2),
  rowCase('batchNormTrain', 16, 1, batch, batchTwin, 2),
  {
    name: 'batchNormEval [4, 3]',
    shapes: [[4, 3], [3], [3]],
    ours: (x, w, b) => batchNormEval(x as tf.Tensor, w as T1, b as T1, tf.tensor1d([1, 2, -1]), tf.tensor1d([1, 4, 0.25]), 0), // prettier-ignore
    twin: (x, w, b) => evalTwin(x as Nd, w as Nd, b as Nd),
  },
  {
    name: 'add, scaleBy, one input twice',
    shapes: [[3, 2]],
    ours: (x) => add(scaleBy(x as T2, tf.tensor2d(MASK, [3, 1])), x as T2),
    twin: (x) => ({ shape: [3, 2], data: (x as Nd).data.map((v, i) => v * ((MASK[i >> 1] as number) + 1)) }),
  },
  convCase([2, 5, 7, 3], 4, 1, 1, 0),
  convCase([1, 5, 4, 3], 2, 3, 1, 1),
  convCase([2, 3, 1, 2], 3, 3, 1, 1),
  convCase([1, 7, 6, 2], 3, 3, 2, 1),
  convCase([1, 9, 11, 3], 2, 7, 4, 3),
  convCase([1, 8, 12, 2], 3, 4, 4, 0),
  convCase([2, 7, 9, 1], 5, 2, 2, 0),
  convCase([1, 6, 6, 2], 2, 2, 3, 0),
  ...[[2, 5, 7, 3], [1, 1, 4, 5]].map((shape): OperationCase => ({ // prettier-ignore
    name: `depthwiseConv2d [${shape}]`,
    shapes: [shape, [shape[3] as number, 1, 3, 3], [shape[3] as number]],
    ours: (x, w, b) => depthwiseConv2d(x as T4, w as T4, b as T1),
    twin: (x, w, b) => naive.conv2d(x as Nd, w as Nd, b as Nd, 1, 1, true),
  })), // prettier-ignore
  transposedCase([2, 3, 5, 4], 8),
  transposedCase([1, 1, 1, 3], 1),
  transposedCase([1, 5, 1, 2], 5),
  transposedCase([2, 1, 7, 1], 4),
  resizeCase([2, 3, 5, 2], 12, 10),
  resizeCase([1, 6, 4, 3], 3, 2),
  resizeCase([1, 7, 5, 1], 4, 9),
  resizeCase([1, 1, 1, 2], 3, 4),
  attentionCase(2, 5, 5, 6, 3),
  attentionCase(1, 7, 3, 5, 1),
  attentionCase(2, 1, 4, 4, 2),
];

function columnTwin(x?: Nd): Nd {
  const { shape, data } = x as Nd;
  const n = shape[1] as number;
  const sums = new Float64Array(n);
  data.forEach((v, i) => (sums[i % n] = (sums[i % n] as number) + v));
  return { shape, data: data.map((v, i) => v * (sums[i % n] as number)) };
}

const channel = (a: ArrayLike<number>, i: number): number => a[i % 3] as number;

function evalTwin(x: Nd, w: Nd, b: Nd): Nd {
  const [mean, deviation] = [[1, 2, -1], [1, 2, 0.5]] as const; // prettier-ignore
  const data = x.data.map(
    (v, i) => ((v - channel(mean, i)) / channel(deviation, i)) * channel(w.data, i) + channel(b.data, i),
  );
  return { shape: x.shape, data };
}

/** Values that float32 holds exactly, so that both sides start from the same numbers. */
function randomNd(shape: readonly number[], random: Random): Nd {
  return {
    shape,
    data: Float64Array.from({ length: naive.size(shape) }, () => Math.fround(random.normal())),
  };
}

function relativeError(ours: ArrayLike<number>, expected: Float64Array): number {
  expect(ours.length).toBe(expected.length);
  let [worst, scale] = [0, 0];
  expected.forEach((e, i) => {
    worst = Math.max(worst, Math.abs((ours[i] as number) - e));
    scale = Math.max(scale, Math.abs(e));
  });
  return worst / Math.max(scale, 1e-3);
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((s, v, i) => s + v * (b[i] as number), 0);

/** d (cotangent . twin) / d inputs[which] by central differences in float64. */
function numericGradient(
  c: OperationCase,
  inputs: Nd[],
  which: number,
  cotangent: Float64Array,
): Float64Array {
  const h = 1e-5;
  const x = inputs[which] as Nd;
  return Float64Array.from(x.data, (value, i) => {
    const side = (delta: number): number => {
      const moved = x.data.slice();
      moved[i] = value + delta;
      return dot(c.twin(...inputs.map((n, j) => (j === which ? { ...x, data: moved } : n))).data, cotangent);
    };
    return (side(h) - side(-h)) / (2 * h);
  });
}

async function checkCase(c: OperationCase): Promise<void> {
  const random = new Random('operation', c.name);
  const inputs = c.shapes.map((shape) => randomNd(shape, random));
  const before = tf.memory().numTensors;
  const xs = inputs.map((x) => tf.tensor(Float32Array.from(x.data), [...x.shape]));
  const y = tf.tidy(() => c.ours(...xs));
  const expected = c.twin(...inputs);
  expect(y.shape).toEqual(expected.shape);
  expect(relativeError(await y.data(), expected.data)).toBeLessThan(3e-6);

  if (c.name.startsWith('columnSums')) return; // a helper outside the tape
  const cotangent = randomNd(expected.shape, random);
  const seed = tf.tensor(Float32Array.from(cotangent.data), [...expected.shape]);
  const grads = tf.grads((...t: tf.Tensor[]) => c.ours(...t))(xs, seed);
  const again = tf.grads((...t: tf.Tensor[]) => c.ours(...t))(xs, seed);
  for (const [i, g] of grads.entries()) {
    const values = await g.data();
    const numeric = numericGradient(c, inputs, i, cotangent.data);
    expect(relativeError(values, numeric), `gradient of input ${i}`).toBeLessThan(2e-5);
    expect(await (again[i] as tf.Tensor).data(), 'the same bits twice').toEqual(values);
  }
  tf.dispose([...xs, y, seed, ...grads, ...again]);
  expect(tf.memory().numTensors, 'tensors left behind').toBe(before);
}

/** Registers one test per operation and shape. */
export function checkOperations(backend: TestBackend): void {
  beforeAll(() => useBackend(backend));
  it.each(CASES.map((c) => [c.name, c] as const))('%s', (_, c) => checkCase(c));
}
