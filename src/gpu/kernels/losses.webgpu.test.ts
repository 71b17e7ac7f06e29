/** @file Loss kernels against float64 loops, their gradients against finite differences of those. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { setKernels } from '../launch';
import { binaryLoss, classLoss, divergenceLoss } from '../ops/losses';
import { useBackend } from '../ops/testSupport';
import type { BinaryTerms, ClassTerms } from './losses';
import { twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

type Numbers = Float32Array | Float64Array | Int32Array;
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** In float64: total, bce, dice. */
function binaryReference(x: Numbers, y: Numbers, { bce, dice, posWeight, smooth }: BinaryTerms): number[] {
  let [loss, overlap, squares] = [0, 0, 0];
  x.forEach((a: number, i: number) => {
    const t = y[i] as number;
    const p = sigmoid(a);
    loss += posWeight * t * softplus(-a) + (1 - t) * softplus(a);
    overlap += p * t;
    squares += p * p + t * t;
  });
  const terms = [loss / x.length, 1 - (2 * overlap + smooth) / (squares + smooth)] as const;
  return [(bce ?? 0) * terms[0] + (dice ?? 0) * terms[1], ...terms];
}

/** In float64: total, ce, dice. */
function classReference(x: Numbers, y: Numbers, c: number, { ce, dice, classWeights, smooth }: ClassTerms) {
  const [overlap, squares] = [new Float64Array(c), new Float64Array(c)];
  let [loss, weight] = [0, 0];
  y.forEach((label: number, row: number) => {
    const z = x.subarray(row * c, row * c + c);
    let max = -Infinity;
    for (const v of z) max = Math.max(max, v);
    let sum = 0;
    for (const v of z) sum += Math.exp(v - max);
    // the largest apart, for log1p
    const lse = Math.log1p(sum - 1);
    const w = classWeights?.[label] ?? 1;
    loss += w * (lse - ((z[label] as number) - max));
    weight += w;
    for (let k = 0; k < c; k++) {
      const p = Math.exp((z[k] as number) - max) / sum;
      const t = k === label ? 1 : 0;
      overlap[k] = (overlap[k] as number) + p * t;
      squares[k] = (squares[k] as number) + p * p + t;
    }
  });
  let ratio = 0;
  overlap.forEach((o, k) => (ratio += (2 * o + smooth) / ((squares[k] as number) + smooth)));
  const terms = [loss / weight, 1 - ratio / c] as const;
  return [(ce ?? 0) * terms[0] + (dice ?? 0) * terms[1], ...terms] as number[];
}

/** Logits of a given size, deterministic; labels that agree with them most of the time. */
const logits = (n: number, scale: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => scale * Math.sin(i * 2.399 + Math.floor(i / 97)));

/** Compares the gradient with central differences of the float64 value at some elements. */
function checkSlope(got: Numbers, x: Float32Array, value: (x: Float64Array) => number): void {
  const wide = Float64Array.from(x);
  const step = Math.max(1, Math.floor(x.length / 23));
  const picked: [number, number][] = [];
  for (let i = 0; i < x.length; i += step) {
    const at = wide[i] as number;
    const h = 1e-4;
    wide[i] = at + h;
    const up = value(wide);
    wide[i] = at - h;
    const down = value(wide);
    wide[i] = at;
    picked.push([got[i] as number, (up - down) / (2 * h)]);
  }
  const scale = Math.max(...picked.map(([, e]) => Math.abs(e)));
  for (const [g, e] of picked) expect(Math.abs(g - e) / scale).toBeLessThan(5e-6);
}

const closeTo = (got: number, expected: number, tolerance = 2e-6): void =>
  expect(Math.abs(got - expected) / (Math.abs(expected) + 1e-6)).toBeLessThan(tolerance);
const first = async (t: tf.Tensor): Promise<number> => (await t.data())[0] as number;

async function run(x: tf.Tensor, loss: (x: tf.Tensor) => { total: tf.Scalar; terms: Readonly<Record<string, tf.Scalar>> }) {
  const kept: Record<string, tf.Tensor> = {};
  const { value, grad } = tf.valueAndGrad((v: tf.Tensor) => {
    const { total, terms } = loss(v);
    for (const [name, term] of Object.entries(terms)) kept[name] = tf.keep(tf.clone(term));
    return tf.mul(total, 2) as tf.Scalar; // an upstream gradient other than 1
  })(x);
  const terms: Record<string, number> = {};
  for (const [name, term] of Object.entries(kept)) terms[name] = await first(term);
  const result = { total: (await first(value)) / 2, terms, grad: Float32Array.from(await grad.data(), (g) => g / 2) };
  tf.dispose([value, grad, ...Object.values(kept)]);
  return result;
} // prettier-ignore

describe.each([
  [{ bce: 1, dice: null, posWeight: 1, smooth: 1 }],
  [{ bce: 0.4, dice: null, posWeight: 5, smooth: 1 }],
  [{ bce: null, dice: 1, posWeight: 1, smooth: 1e-5 }],
  [{ bce: 0.2, dice: 0.8, posWeight: 3, smooth: 1 }],
])('binary %j', (terms) => {
  it.each([[1, 2], [7, 2], [1024, 20], [5001, 4]])('%i pixels, logits up to %d', async (n, scale) => {
    const values = logits(n, scale);
    const labels = Int32Array.from(values, (v, i) => ((v > 0) !== (i % 9 === 0) ? 1 : 0));
    const [x, y] = [tf.tensor1d(values), tf.tensor1d(labels, 'int32')];
    const got = await run(x, (v) => binaryLoss(v, y, terms));
    const [total, bce, dice] = binaryReference(values, labels, terms) as [number, number, number];
    closeTo(got.total, total);
    expect(Object.keys(got.terms)).toEqual(['bce', 'dice'].filter((k) => terms[k as 'bce' | 'dice'] !== null));
    if (got.terms['bce'] !== undefined) closeTo(got.terms['bce'], bce);
    if (got.terms['dice'] !== undefined) closeTo(got.terms['dice'], dice);
    checkSlope(got.grad, values, (v) => binaryReference(v, labels, terms)[0] as number);
    tf.dispose([x, y]);
  }); // prettier-ignore
});

it('binary with soft float targets', async () => {
  const values = logits(333, 3);
  const soft = Float32Array.from(values, (v) => 0.5 + 0.4 * Math.sin(v * 5));
  const terms = { bce: 0.5, dice: 0.5, posWeight: 2, smooth: 1 };
  const [x, y] = [tf.tensor1d(values), tf.tensor1d(soft)];
  const got = await run(x, (v) => binaryLoss(v, y, terms));
  closeTo(got.total, binaryReference(values, soft, terms)[0] as number);
  checkSlope(got.grad, values, (v) => binaryReference(v, soft, terms)[0] as number);
  tf.dispose([x, y]);
});

const labelsOf = (rows: number, c: number): Int32Array =>
  Int32Array.from({ length: rows }, (_, i) => (i * 7 + Math.floor(i / 5)) % c);

describe.each([
  [{ ce: 1, dice: null, classWeights: null, smooth: 1 }],
  [{ ce: 1, dice: null, classWeights: 'given', smooth: 1 }],
  [{ ce: null, dice: 1, classWeights: null, smooth: 1e-5 }],
  [{ ce: 0.3, dice: 0.7, classWeights: 'given', smooth: 1 }],
])('classes %j', (settings) => {
  it.each([[1, 3, 2], [501, 2, 10], [1024, 4, 2], [77, 8, 3], [77, 9, 3], [40, 19, 4]])(
    '%i pixels, %i classes, logits up to %d',
    async (rows, c, scale) => {
      const values = logits(rows * c, scale);
      const labels = labelsOf(rows, c);
      const classWeights = settings.classWeights === null ? null : labelsOf(c, c).map((_, i) => 1 + 2 * i);
      const terms: ClassTerms = { ...settings, classWeights: classWeights && [...classWeights].map((w) => w / 4) };
      const [x, y] = [tf.tensor2d(values, [rows, c]), tf.tensor1d(labels, 'int32')];
      const got = await run(x, (v) => classLoss(v as tf.Tensor2D, y, terms));
      const [total, ce, dice] = classReference(values, labels, c, terms) as [number, number, number];
      closeTo(got.total, total);
      if (terms.ce !== null) closeTo(got.terms['ce'] as number, ce);
      if (terms.dice !== null) closeTo(got.terms['dice'] as number, dice);
      checkSlope(got.grad, values, (v) => classReference(v, labels, c, terms)[0] as number);
      tf.dispose([x, y]);
    },
  );
}); // prettier-ignore

/** In float64: T^2 mean KL(teacher || student). One channel: logits (0, x). */
function divergenceReference(student: Numbers, teacher: Numbers, c: number, temperature: number): number {
  const logs = (x: Numbers, row: number): number[] => {
    const z = c === 1 ? [0, x[row] as number] : Array.from(x.subarray(row * c, row * c + c));
    const scaled = z.map((v) => v / temperature);
    const max = Math.max(...scaled);
    const lse = max + Math.log(scaled.reduce((s, v) => s + Math.exp(v - max), 0));
    return scaled.map((v) => v - lse);
  };
  const rows = student.length / c;
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    const [q, p] = [logs(student, row), logs(teacher, row)];
    p.forEach((v, k) => (sum += Math.exp(v) * (v - (q[k] as number))));
  }
  return (sum * temperature ** 2) / rows;
}

describe.each(['kernels', 'plain operations'])('divergence by %s', (path) => {
  it.each([[1, 3, 1], [100, 1, 2], [333, 2, 1], [500, 4, 3], [9, 37, 4]])(
    '%i rows, %i classes, temperature %d',
    async (rows, c, temperature) => {
      const before = setKernels(path === 'kernels');
      const values = logits(rows * c, 4);
      const other = values.map((v, i) => v * 0.6 + Math.cos(i));
      const [x, t] = [tf.tensor2d(values, [rows, c]), tf.tensor2d(other, [rows, c])];
      const got = await run(x, (v) => ({ total: divergenceLoss(v, t, temperature), terms: {} }));
      closeTo(got.total, divergenceReference(values, other, c, temperature), 5e-6);
      checkSlope(got.grad, values, (v) => divergenceReference(v, other, c, temperature));
      tf.dispose([x, t]);
      setKernels(before);
    },
  );
}); // prettier-ignore

it('logits of +-100 and more stay finite and exact', async () => {
  const values = Float32Array.of(100, -100, 100, -100, 1e4, -1e4, 0, 30);
  const labels = Int32Array.of(1, 0, 0, 1, 1, 0, 1, 1);
  const terms = { bce: 0.5, dice: 0.5, posWeight: 1, smooth: 1 };
  const [x, y] = [tf.tensor1d(values), tf.tensor1d(labels, 'int32')];
  const binary = await run(x, (v) => binaryLoss(v, y, terms));
  closeTo(binary.total, binaryReference(values, labels, terms)[0] as number);
  expect(binary.grad.every(Number.isFinite)).toBe(true);
  const x2 = tf.reshape(x, [4, 2]) as tf.Tensor2D;
  const y2 = tf.tensor1d([0, 1, 0, 0], 'int32');
  const many = { ce: 0.5, dice: 0.5, classWeights: null, smooth: 1 };
  const classes = await run(x2, (v) => classLoss(v as tf.Tensor2D, y2, many));
  closeTo(classes.total, classReference(values, Int32Array.of(0, 1, 0, 0), 2, many)[0] as number);
  expect(classes.grad.every(Number.isFinite)).toBe(true);
  const kl = await run(x2, (v) => ({ total: divergenceLoss(v, tf.neg(v), 1), terms: {} }));
  expect(Number.isFinite(kl.total) && kl.grad.every(Number.isFinite)).toBe(true);
  tf.dispose([x, y, x2, y2]);
});

it('8 x 1024 x 1024 pixels: sums to 1e-6, also where the network is sure and right', async () => {
  const n = 8 * 1024 * 1024;
  const values = Float32Array.from({ length: n }, (_, i) => ((i * 2_654_435_761) % 4096) / 256 - 8);
  const labels = Int32Array.from(values, (v) => (v > -1 ? 1 : 0));
  const terms = { bce: 1, dice: 1, posWeight: 1, smooth: 1 };
  const [x, y] = [tf.tensor1d(values), tf.tensor1d(labels, 'int32')];
  const loss = binaryLoss(x, y, terms);
  const [, bce, dice] = binaryReference(values, labels, terms) as [number, number, number];
  closeTo(await first(loss.terms['bce'] as tf.Tensor), bce, 1e-6);
  closeTo(1 - (await first(loss.terms['dice'] as tf.Tensor)), 1 - dice, 1e-6);
  tf.dispose([x, y, loss.total, ...Object.values(loss.terms)]);
});

it('2 M pixels of 3 classes: sums to 1e-6, and the same bits twice', async () => {
  const [rows, c] = [2_000_003, 3];
  const values = logits(rows * c, 6);
  const labels = labelsOf(rows, c);
  const terms = { ce: 1, dice: 1, classWeights: [0.5, 1, 2], smooth: 1 };
  const [x, y] = [tf.tensor2d(values, [rows, c]), tf.tensor1d(labels, 'int32')];
  const [a, b] = [classLoss(x, y, terms), classLoss(x, y, terms)];
  const [, ce, dice] = classReference(values, labels, c, terms) as [number, number, number];
  closeTo(await first(a.terms['ce'] as tf.Tensor), ce, 1e-6);
  closeTo(1 - (await first(a.terms['dice'] as tf.Tensor)), 1 - dice, 1e-6);
  expect(await first(a.total)).toBe(await first(b.total));
  tf.dispose([x, y, a.total, b.total, ...Object.values(a.terms), ...Object.values(b.terms)]);
});

it('values and gradients have the same bits twice', async () => {
  const [rows, c] = [7001, 3];
  const [values, labels] = [logits(rows * c, 5), labelsOf(rows, c)];
  const [x, y] = [tf.tensor2d(values, [rows, c]), tf.tensor1d(labels, 'int32')];
  const flat = tf.tensor1d(labelsOf(rows * c, 2), 'int32');
  const teacher = tf.tensor2d(values.map((v) => v * 0.5), [rows, c]); // prettier-ignore
  const losses: readonly ((v: tf.Tensor) => tf.Scalar)[] = [
    (v) => binaryLoss(tf.reshape(v, [-1]), flat, { bce: 0.5, dice: 0.5, posWeight: 2, smooth: 1 }).total,
    (v) => classLoss(v as tf.Tensor2D, y, { ce: 0.5, dice: 0.5, classWeights: [1, 2, 3], smooth: 1 }).total,
    (v) => divergenceLoss(v, teacher, 2),
  ];
  for (const loss of losses) {
    const [value, grad] = await twice(() => {
      const both = tf.valueAndGrad(loss)(x);
      return [both.value, both.grad];
    });
    expect(Number.isFinite(value?.[0]) && (grad as Float32Array).some((v) => v !== 0)).toBe(true);
  }
  tf.dispose([x, y, flat, teacher]);
});
