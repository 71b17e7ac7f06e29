/**
 * @file For tests only: linear layers with all that surrounds them (activation, residual, frozen halves, low-rank adapters) and their naive
 * twins. Part of operationCases.ts.
 */
import * as tf from '@tensorflow/tfjs-core';
import { add } from './elementwise';
import { disposeHalf, frozenLinear, halfWeight } from './frozen';
import { loraLinear } from './lora';
import { linear } from './matmul';
import * as naive from './naive';
import type { Nd } from './naive';
import type { OperationCase } from './operationCases';

type T1 = tf.Tensor1D;
type T2 = tf.Tensor2D;

/** A linear layer with all that follows it. */
const fullLinearCase = (
  rows: number,
  inner: number,
  out: number,
  activation: 'gelu' | 'relu',
): OperationCase => ({
  name: `linear [${rows}, ${inner}] -> ${out}, ${activation}, residual`,
  shapes: [[rows, inner], [out, inner], [out], [rows, out]], // prettier-ignore
  ours: (x, w, b, residual) => linear(x as T2, w as T2, b as T1, { activation, residual: residual as T2 }),
  twin: (x, w, b, residual) => {
    const z = naive.linear(x as Nd, w as Nd, b as Nd);
    const act = activation === 'gelu' ? naive.gelu(z) : naive.map(z, (v) => Math.max(0, v));
    return naive.plus(act, residual as Nd);
  },
});

/** Values that halves hold exactly: multiples of 1/64 up to 1. */
const halves = (rows: number, inner: number): Nd => ({
  shape: [rows, inner],
  data: Float64Array.from({ length: rows * inner }, (_, i) => (((i * 37) % 129) - 64) / 64),
});

const frozenCase = (rows: number, inner: number, out: number, gelu = false): OperationCase => {
  const w = halves(out, inner);
  const full = (x: Nd, b: Nd): Nd => (gelu ? naive.gelu(naive.linear(x, w, b)) : naive.linear(x, w, b));
  return {
    name: `frozenLinear [${rows}, ${inner}] -> ${out}${gelu ? ', gelu' : ''}, residual`,
    shapes: [[rows, inner], [out], [rows, out]], // prettier-ignore
    ours: (x, b, residual) => {
      const weight = halfWeight(Float32Array.from(w.data), [out, inner]);
      const options = { residual: residual as T2, ...(gelu ? { activation: 'gelu' as const } : {}) };
      const y = frozenLinear(x as T2, weight, b as T1, options);
      disposeHalf(weight);
      return y;
    },
    twin: (x, b, residual) => naive.plus(full(x as Nd, b as Nd), residual as Nd),
  };
};

/** Adapters of ranks 2 and 3 on the first three and the last two of seven channels; the weight is frozen. */
const loraCase = (rows: number, inner: number): OperationCase => ({
  name: `loraLinear [${rows}, ${inner}]`,
  shapes: [[rows, inner], [7], [2, inner], [3, 2], [3, inner], [2, 3]], // prettier-ignore
  ours: (x, bias, a0, b0, a1, b1) => {
    const w = tf.tensor2d(Float32Array.from(halves(7, inner).data), [7, inner]);
    const adapters = [
      { a: a0 as T2, b: b0 as T2, firstRow: 0 },
      { a: a1 as T2, b: b1 as T2, firstRow: 5 },
    ];
    // A frozen bias takes no gradient; added outside, it does.
    return add(loraLinear(x as T2, w, null, adapters), bias as T1);
  },
  twin: (...inputs) => {
    const [x, bias, a0, b0, a1, b1] = inputs as [Nd, Nd, Nd, Nd, Nd, Nd];
    const w = halves(7, inner).data.slice();
    for (const [a, b, first] of [
      [a0, b0, 0],
      [a1, b1, 5],
    ] as const) {
      // prettier-ignore
      const change = naive.matMul({ ...b, shape: [1, ...b.shape] }, { ...a, shape: [1, ...a.shape] }, false, false);
      change.data.forEach((v, i) => (w[first * inner + i] = (w[first * inner + i] as number) + v));
    }
    return naive.linear(x, { shape: [7, inner], data: w }, bias);
  },
});

export const LINEAR_CASES: readonly OperationCase[] = [
  fullLinearCase(5, 7, 3, 'gelu'),
  fullLinearCase(1, 8, 4, 'relu'),
  fullLinearCase(6, 1, 1, 'gelu'),
  frozenCase(5, 7, 3),
  frozenCase(1, 1, 1),
  frozenCase(4, 8, 6, true),
  frozenCase(3, 10, 5, true),
  loraCase(5, 6),
  loraCase(1, 3),
];
