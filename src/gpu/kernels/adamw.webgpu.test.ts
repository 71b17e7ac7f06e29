/** @file Optimiser kernels against float64 loops of torch's formulas; norm, accumulation and copies. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { studioBackend } from '../launch';
import { useBackend } from '../ops/testSupport';
import type { StudioBackend } from '../studioBackend';
import { accumulate, adamwStep, copyInto, gradientNorm, sgdStep, stepScalars } from './adamw';

beforeAll(() => useBackend('webgpu'));

const BETAS = [0.9, 0.999] as const;
const EPS = 1e-8;
const MOMENTUM = 0.9;
/** (lrScale, weightDecay) */
const GROUPS = [[1, 0.05], [0.1, 0], [2, 0.3]] as const; // prettier-ignore

/** Deterministic values in (-1, 1), zero in the last 5 elements of each block (the gaps). */
const values = (n: number, seed: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) =>
    i % 64 >= 59 ? 0 : Math.fround(Math.sin(i * 12.9898 + seed * 78.233)),
  );
const gradientOf = (n: number, step: number): Float32Array =>
  values(n, step + 10).map((x, i) => x * (i % 3 === 0 ? 3 : 0.01));

type Kind = 'adamw' | 'adam' | 'sgd';

interface State {
  readonly p: Float64Array;
  readonly m: Float64Array;
  readonly v: Float64Array;
}

/** One step in float64. */
function referenceStep(kind: Kind, s: State, grad: Float32Array, lr0: number, t: number, max: number | null) {
  let sum = 0;
  for (const x of grad) sum += x * x;
  const norm = Math.sqrt(sum);
  const clip = max === null ? 1 : Math.min(1, max / (norm + 1e-6));
  for (let i = 0; i < grad.length; i++) {
    const [scale, wd] = GROUPS[Math.floor(i / 64) % 3] as readonly [number, number];
    const lr = lr0 * scale;
    let [p, m, v] = [s.p[i] as number, s.m[i] as number, s.v[i] as number];
    let g = (grad[i] as number) * clip;
    if (kind !== 'adamw') g += wd * p;
    if (kind === 'sgd') {
      m = t === 1 ? g : MOMENTUM * m + g;
      p -= lr * m;
    } else {
      if (kind === 'adamw') p *= 1 - lr * wd;
      m = BETAS[0] * m + (1 - BETAS[0]) * g;
      v = BETAS[1] * v + (1 - BETAS[1]) * g * g;
      p -= ((lr / (1 - BETAS[0] ** t)) * m) / (Math.sqrt(v) / Math.sqrt(1 - BETAS[1] ** t) + EPS);
    }
    s.p[i] = p;
    s.m[i] = m;
    s.v[i] = v;
  }
  return norm;
}

/** The same on the device, over `steps` steps. */
async function device(
  kind: Kind,
  start: Float32Array,
  gradients: readonly Float32Array[],
  max: number | null,
) {
  const total = start.length;
  const blocks = Int32Array.from({ length: total / 64 }, (_, i) => i % 3);
  const p = tf.tensor1d(start.slice());
  const [m, v, clip] = [tf.zeros([total]), tf.zeros([total]), tf.zeros([2])];
  const blockGroup = tf.tensor1d(blocks, 'int32');
  const groups = tf.tensor1d(GROUPS.flat());
  gradients.forEach((gradient, done) => {
    const g = tf.tensor1d(gradient);
    const scalars = tf.tensor1d(stepScalars(0.01 * (done + 1), done, BETAS));
    gradientNorm({ g, total, maxNorm: max, clip });
    const step = { p, g, blockGroup, groups, scalars, clip, total };
    if (kind === 'sgd') sgdStep({ ...step, momentumBuffer: m, momentum: MOMENTUM });
    else adamwStep({ ...step, m, v, variant: kind, betas: BETAS, eps: EPS });
    tf.dispose([g, scalars]);
  });
  const all = [p, m, v, clip];
  const data = (await Promise.all(all.map((t) => t.data()))) as Float32Array[];
  tf.dispose([...all, blockGroup, groups]);
  const [dp, dm, dv, dc] = data as [Float32Array, Float32Array, Float32Array, Float32Array];
  return { p: dp, m: dm, v: dv, clip: dc };
}

/** Relative, absolute below 0.05 (a parameter that ends near zero keeps the roundings of its larger past). */
function largestError(got: Float32Array, expected: Float64Array): number {
  let worst = 0;
  got.forEach((x, i) => {
    const e = expected[i] as number;
    worst = Math.max(worst, Math.abs(x - e) / (Math.abs(e) + 0.05));
    if (Number.isNaN(x)) worst = Infinity;
  });
  return worst;
}

describe.each(['adamw', 'adam', 'sgd'] as const)('%s', (kind) => {
  it.each([null, 1] as const)('five steps with groups, maximal norm %s', async (max) => {
    const n = 64 * 37;
    const gradients = [0, 1, 2, 3, 4].map((step) => gradientOf(n, step));
    const got = await device(kind, values(n, 1), gradients, max);
    const s = { p: Float64Array.from(values(n, 1)), m: new Float64Array(n), v: new Float64Array(n) };
    let norm = 0;
    gradients.forEach((g, i) => {
      norm = referenceStep(kind, s, g, 0.01 * (i + 1), i + 1, max);
    });
    expect(largestError(got.p, s.p)).toBeLessThan(6e-6);
    expect(largestError(got.m, s.m)).toBeLessThan(6e-6);
    expect(largestError(got.v, s.v)).toBeLessThan(6e-6);
    expect(Math.abs((got.clip[0] as number) / norm - 1)).toBeLessThan(1e-6);
    expect(got.clip[1]).toBeCloseTo(max === null ? 1 : max / norm, 6);
  });

  it.each([NaN, Infinity, -Infinity])('a gradient with %s changes nothing', async (bad) => {
    const g = gradientOf(640, 0);
    g[333] = bad;
    const got = await device(kind, values(640, 1), [g], 1);
    expect(Number.isFinite(got.clip[0])).toBe(false);
    expect([...got.p]).toEqual([...values(640, 1)]);
    expect(got.m.every((x) => x === 0) && got.v.every((x) => x === 0)).toBe(true);
  });
});

it('more than 4 M elements: right to the last block, and the same bits again', async () => {
  const n = 64 * 66_001; // more than 65,535 workgroups of 64 vec4 would fit in x
  const start = values(n, 1);
  const g = gradientOf(n, 2);
  const a = await device('adamw', start, [g], 1);
  const b = await device('adamw', start, [g], 1);
  const s = { p: Float64Array.from(start), m: new Float64Array(n), v: new Float64Array(n) };
  const norm = referenceStep('adamw', s, g, 0.01, 1, 1);
  expect(largestError(a.p, s.p)).toBeLessThan(6e-6);
  expect(largestError(a.v, s.v)).toBeLessThan(6e-6);
  expect(Math.abs((a.clip[0] as number) / norm - 1)).toBeLessThan(1e-6);
  for (const key of ['p', 'm', 'v', 'clip'] as const) {
    expect(Buffer.from(a[key].buffer).equals(Buffer.from(b[key].buffer)), key).toBe(true);
  }
});

it.each([64, 128, 64 * 300, 64 * 4097])('norm of %i equal values', async (n) => {
  const [g, clip] = [tf.fill([n], 0.1), tf.zeros([2])];
  gradientNorm({ g, total: n, maxNorm: 100, clip });
  const [norm, coefficient] = (await clip.data()) as Float32Array;
  const exact = Math.fround(0.1) * Math.sqrt(n);
  expect(Math.abs((norm as number) / exact - 1)).toBeLessThan(3e-7);
  expect(coefficient).toBeCloseTo(Math.min(1, 100 / exact), 6);
  tf.dispose([g, clip]);
});

it('accumulates shares; the first one overwrites whatever is there', async () => {
  const n = 192;
  const [a, b] = [tf.tensor1d(values(n, 1)), tf.tensor1d(values(n, 2))];
  const sum = tf.fill([n], NaN);
  const [first, later] = [tf.tensor1d([0.25, 1]), tf.tensor1d([0.75, 0])];
  accumulate({ sum, g: a, share: first, total: n });
  accumulate({ sum, g: b, share: later, total: n });
  const got = await sum.data();
  const [va, vb] = [values(n, 1), values(n, 2)];
  got.forEach((x, i) => expect(x).toBeCloseTo(0.25 * (va[i] as number) + 0.75 * (vb[i] as number), 6));
  tf.dispose([a, b, sum, first, later]);
});

it.each([[[1]], [[3]], [[5, 4]], [[7, 31, 3]], [[70_000, 65]]])('copies %j in place', async (shape) => {
  const n = shape.reduce((x, y) => x * y, 1);
  const x = tf.tensor(Float32Array.from({ length: n }, (_, i) => i), shape); // prettier-ignore
  const y = tf.zeros([n]);
  copyInto(y, x);
  const got = await y.data();
  expect(got.every((v, i) => v === i)).toBe(true);
  tf.dispose([x, y]);
});

it('copies whole numbers, and refuses another size', async () => {
  const [x, y] = [tf.tensor1d([1, -2, 3], 'int32'), tf.zeros([3], 'int32')];
  copyInto(y, x);
  expect([...(await y.data())]).toEqual([1, -2, 3]);
  expect(() => copyInto(y, tf.zeros([4], 'int32'))).toThrow('does not fit');
  tf.dispose([x, y]);
});

it('buffers larger than one binding are taken in pieces', async () => {
  const n = 64 * 37;
  const gradients = [gradientOf(n, 0), gradientOf(n, 1)];
  const whole = await device('adamw', values(n, 1), gradients, null);
  const { device: gpu } = studioBackend() as StudioBackend;
  Object.defineProperty(gpu, 'limits', { value: { maxStorageBufferBindingSize: 256 * 10 }, configurable: true }); // prettier-ignore
  try {
    const pieces = await device('adamw', values(n, 1), gradients, null);
    for (const key of ['p', 'm', 'v'] as const) expect([...pieces[key]]).toEqual([...whole[key]]);
    expect(Math.abs((pieces.clip[0] as number) / (whole.clip[0] as number) - 1)).toBeLessThan(3e-7);
  } finally {
    delete (gpu as { limits?: unknown }).limits;
  }
});
