/**
 * @file Matrix products against float64, both kernels, every transpose, shapes that break naive kernels.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../../lib/random';
import { halfArithmetic } from '../launch';
import { useBackend } from '../ops/testSupport';
import { linearGradients, matmul, packHalf, type MatmulOptions } from './matmul';

beforeAll(() => useBackend('webgpu'));

const values = (key: string, size: number): Float32Array => {
  const random = new Random(key, size);
  return Float32Array.from({ length: size }, () => random.uniform(-1, 1));
};

/** op(a) op(b) in float64 for one matrix each. */
function product(
  a: Float32Array,
  b: Float32Array,
  m: number,
  n: number,
  k: number,
  tA: boolean,
  tB: boolean,
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let l = 0; l < k; l++) {
      const x = a[tA ? l * m + i : i * k + l] as number;
      for (let j = 0; j < n; j++)
        c[i * n + j] = (c[i * n + j] as number) + x * (b[tB ? j * k + l : l * n + j] as number);
    }
  }
  return c;
}

/** Largest difference relative to what float32 sums of k products in [-1, 1] may differ by. */
function error(actual: Float32Array, wanted: Float64Array, k: number): number {
  let worst = 0;
  expect(actual.length).toBe(wanted.length);
  wanted.forEach((w, i) => {
    const difference = Math.abs((actual[i] as number) - w);
    worst = Number.isFinite(difference) ? Math.max(worst, difference) : Number.POSITIVE_INFINITY;
  });
  return worst / (Math.sqrt(k) * 1e-6 + 1e-6);
}

async function read(t: tf.Tensor): Promise<Float32Array> {
  const data = (await t.data()) as Float32Array;
  return data.slice();
}

const SHAPES = [
  [1, 1, 1], [1, 8, 3], [5, 1, 2001], [7, 9, 11], [8, 8, 8], [33, 20, 12], [64, 68, 32], [65, 66, 67], [12, 4, 2048], [100, 96, 20],
] as const; // prettier-ignore

const KERNELS = ['register', 'tiled'] as const;

describe.each(KERNELS)('%s kernel', (kernel) => {
  for (const tA of [false, true]) {
    for (const tB of [false, true]) {
      it(`${tA ? 'A^T' : 'A'} ${tB ? 'B^T' : 'B'}`, async () => {
        for (const [m, n, k] of SHAPES) {
          const [av, bv] = [values('a', m * k), values('b', k * n)];
          const a = tf.tensor(av, tA ? [k, m] : [m, k]);
          const b = tf.tensor(bv, tB ? [n, k] : [k, n]);
          const wanted = product(av, bv, m, n, k, tA, tB);
          for (const splits of [1, 3]) {
            const { y } = matmul(a, b, { transposeA: tA, transposeB: tB, kernel, splits });
            expect(y.shape).toEqual([m, n]);
            expect(error(await read(y), wanted, k), `${m} x ${n} x ${k}, ${splits} splits`).toBeLessThan(4);
            y.dispose();
          }
          tf.dispose([a, b]);
        }
      });
    }
  }

  it('bias, activation, residual and the kept input, split and not', async () => {
    for (const [m, n, k] of [
      [9, 12, 70],
      [6, 7, 5],
    ] as const) {
      const [av, bv, biasV, resV] = [
        values('a', m * k),
        values('b', k * n),
        values('bias', n),
        values('r', m * n),
      ];
      const [a, b] = [tf.tensor(av, [m, k]), tf.tensor(bv, [k, n])];
      const [bias, residual] = [tf.tensor1d(biasV), tf.tensor(resV, [m, n])];
      const plain = product(av, bv, m, n, k, false, false).map((v, i) => v + (biasV[i % n] as number));
      for (const splits of [1, 2]) {
        const options: MatmulOptions = {
          bias,
          residual,
          activation: 'relu',
          keepInput: true,
          kernel,
          splits,
        };
        const { y, input } = matmul(a, b, options);
        expect(
          error(
            await read(y),
            plain.map((v, i) => Math.max(v, 0) + (resV[i] as number)),
            k,
          ),
        ).toBeLessThan(4);
        expect(error(await read(input as tf.Tensor), plain, k)).toBeLessThan(4);
        tf.dispose([y, input as tf.Tensor]);
      }
      tf.dispose([a, b, bias, residual]);
    }
  });

  it('GELU is the exact one', async () => {
    const xs = Float32Array.from({ length: 64 }, (_, i) => (i - 32) / 6);
    const [a, one] = [tf.tensor(xs, [64, 1]), tf.tensor([1], [1, 1])];
    const { y } = matmul(a, one, { activation: 'gelu', kernel });
    const got = await read(y);
    // 0.5 x (1 + erf(x / sqrt 2)), erf by its series in float64.
    const erf = (x: number): number => {
      let [term, sum] = [x, x];
      for (let i = 1; i < 120; i++) {
        term *= (-x * x) / i;
        sum += term / (2 * i + 1);
      }
      return (2 / Math.sqrt(Math.PI)) * sum;
    };
    xs.forEach((x, i) =>
      expect(Math.abs((got[i] as number) - 0.5 * x * (1 + erf(x / Math.SQRT2)))).toBeLessThan(1e-6),
    );
    tf.dispose([a, one, y]);
  });

  it('batches, and one matrix for a whole batch on either side', async () => {
    const [batch, m, n, k] = [3, 6, 10, 12];
    for (const [ba, bb] of [
      [batch, batch],
      [1, batch],
      [batch, 1],
    ] as const) {
      const [av, bv] = [values('a', ba * m * k), values('b', bb * k * n)];
      const [a, b] = [tf.tensor(av, [ba, m, k]), tf.tensor(bv, [bb, n, k])];
      const { y } = matmul(a, b, { transposeB: true, kernel, splits: 2 });
      expect(y.shape).toEqual([batch, m, n]);
      const wanted = new Float64Array(batch * m * n);
      for (let i = 0; i < batch; i++) {
        const [one, two] = [
          av.subarray((i % ba) * m * k, ((i % ba) + 1) * m * k),
          bv.subarray((i % bb) * k * n, ((i % bb) + 1) * k * n),
        ];
        wanted.set(product(one, two, m, n, k, false, true), i * m * n);
      }
      expect(error(await read(y), wanted, k)).toBeLessThan(4);
      tf.dispose([a, b, y]);
    }
  });

  it('weights and bias gradients from one product; twice the same bits', async () => {
    for (const [rows, out, inner] of [
      [50, 9, 6],
      [197, 16, 12],
    ] as const) {
      const [dyV, xV] = [values('dy', rows * out), values('x', rows * inner)];
      const [dy, x] = [tf.tensor(dyV, [rows, out]), tf.tensor(xV, [rows, inner])];
      const { y, sums } = matmul(dy, x, { transposeA: true, sums: true, kernel, splits: 3 });
      const again = matmul(dy, x, { transposeA: true, sums: true, kernel, splits: 3 });
      expect(error(await read(y), product(dyV, xV, out, inner, rows, true, false), rows)).toBeLessThan(4);
      const wanted = new Float64Array(out);
      dyV.forEach((v, i) => (wanted[i % out] = (wanted[i % out] as number) + v));
      expect(error(await read(sums as tf.Tensor), wanted, rows)).toBeLessThan(4);
      expect(await read(again.y)).toEqual(await read(y));
      expect(await read(again.sums as tf.Tensor)).toEqual(await read(sums as tf.Tensor));
      tf.dispose([dy, x, y, sums as tf.Tensor, again.y, again.sums as tf.Tensor]);
    }
  });

  it('weights stored as halves', async () => {
    for (const transposeB of [false, true]) {
      for (const [n, k] of [
        [12, 8],
        [7, 10],
        [5, 9],
      ] as const) {
        const m = 6;
        const av = values('a', m * k);
        const bv = values('b', n * k).map((v) => Math.round(v * 1024) / 1024); // exact in half precision
        const [a, b] = [tf.tensor(av, [m, k]), tf.tensor(bv, [n * k])];
        const packed = packHalf(b);
        const { y } = matmul(a, packed, { transposeB, halfB: transposeB ? [n, k] : [k, n], kernel });
        expect(error(await read(y), product(av, bv, m, n, k, false, transposeB), k)).toBeLessThan(4);
        tf.dispose([a, b, packed, y]);
      }
    }
  });
});

// lavapipe compiles a shader with halves for ten seconds: few of them, with time to spare.
describe('f16 arithmetic', { timeout: 180_000 }, () => {
  it('sums are float32', async ({ skip }) => {
    skip(!halfArithmetic(), 'the adapter has no shader-f16');
    const k = 2049; // no half: a sum of halves would stay at 2,048
    const [a, b] = [tf.ones([1, k]), tf.ones([k, 1])];
    const { y } = matmul(a, b, { arithmetic: 'f16', kernel: 'tiled', splits: 1 });
    expect([...(await read(y))]).toEqual([k]);
    tf.dispose([a, b, y]);
  });

  it('rounds the factors and each product to a half, no more', async ({ skip }) => {
    skip(!halfArithmetic(), 'the adapter has no shader-f16');
    const [m, n, k] = [37, 20, 300];
    const [av, bv, biasV] = [values('a', m * k), values('b', k * n), values('bias', n)];
    const [a, b, bias] = [tf.tensor(av, [m, k]), tf.tensor(bv, [n * k]), tf.tensor1d(biasV)];
    const packed = packHalf(b);
    const run = (): tf.Tensor =>
      matmul(a, packed, { transposeB: true, halfB: [n, k], bias, arithmetic: 'f16', kernel: 'tiled' }).y;
    const [y, again] = [run(), run()];
    const wanted = product(av, bv, m, n, k, false, true).map((v, i) => v + (biasV[i % n] as number));
    // Three roundings of 2^-11 per product of at most 1, and their random signs: 2^-10 sqrt(k) is generous.
    const got = await read(y);
    wanted.forEach((w, i) => expect(Math.abs((got[i] as number) - w)).toBeLessThan(2 ** -10 * Math.sqrt(k)));
    expect(await read(again)).toEqual(got);
    tf.dispose([a, b, bias, packed, y, again]);
  });

  it('is float32 where it is not to be had', async () => {
    const [a, b] = [tf.tensor([1 + 2 ** -20], [1, 1]), tf.tensor([1], [1, 1])];
    const { y } = matmul(a, b, { arithmetic: 'f16', kernel: 'register' });
    expect([...(await read(y))]).toEqual([1 + 2 ** -20]);
    tf.dispose([a, b, y]);
  });
});

describe('more than 65,535', () => {
  const long = 66_003;
  // The tiled kernel splits K by itself; its many tiles are slow on a software adapter, so rows and columns are few there.
  it.each([
    ['register', long, 1, 3, true, true],
    ['register', 1, long, 2, false, false],
    ['register', 2, 1, long, false, true],
    ['tiled', long, 1, 3, false, false],
    ['tiled', 2, 1, long, true, false],
  ] as const)('%s: %i x %i, K %i', async (kernel, m, n, k, transposeA, transposeB) => {
    const [av, bv] = [values('a', m * k), values('b', k * n)];
    const a = tf.tensor(av, transposeA ? [k, m] : [m, k]);
    const b = tf.tensor(bv, transposeB ? [n, k] : [k, n]);
    const { y } = matmul(a, b, { transposeA, transposeB, kernel });
    const got = await read(y);
    expect(error(got, product(av, bv, m, n, k, transposeA, transposeB), k)).toBeLessThan(4);
    if (k === long) {
      const { y: again } = matmul(a, b, { transposeA, transposeB, kernel });
      expect(await read(again)).toEqual(got);
      again.dispose();
    }
    tf.dispose([a, b, y]);
  });
});

it('more than 65,535 rows', async () => {
  const m = 66_001;
  const a = tf.ones([m, 2]);
  const b = tf.tensor([1, 2, 3, 4], [2, 2]);
  const { y } = matmul(a, b);
  const got = await read(y);
  expect([...got.slice(-2)]).toEqual([4, 6]);
  expect(got.every((v, i) => v === (i % 2 === 0 ? 4 : 6))).toBe(true);
  const { dw, db } = linearGradients(y, a, { bias: true });
  expect([...(await read(dw))]).toEqual([4 * m, 4 * m, 6 * m, 6 * m]);
  expect([...(await read(db as tf.Tensor))]).toEqual([4 * m, 6 * m]);
  tf.dispose([a, b, y, dw, db as tf.Tensor]);
});
