/**
 * @file A frozen linear layer with low-rank adapters on some of its output channels. Imports tfjs-core only.
 */
import * as tf from '@tensorflow/tfjs-core';
import { joinAdapters, MAX_ADAPTERS, partAdapters, type AdapterPlace } from '../kernels/lora';
import { matmul } from '../kernels/matmul';
import { kernelsOn } from '../launch';
import { differentiable, together } from './differentiable';
import { add } from './elementwise';
import { asRows, linear } from './matmul';

export interface Adapter {
  /** (rank, in), LoRA's A. */
  readonly a: tf.Tensor2D;
  /** (rows, rank), LoRA's B, scaled already. */
  readonly b: tf.Tensor2D;
  /** First of the `rows` output channels that it adds to. */
  readonly firstRow: number;
}

/**
 * y = x W^T + bias, plus x A^T B^T on each adapter's channels. W and bias are frozen: they get no gradient.
 * @param x [..., in]
 * @param w (out, in)
 * @param bias (out) or null.
 * @param adapters at most three, on different channels.
 * @returns [..., out]
 */
export function loraLinear(
  x: tf.Tensor,
  w: tf.Tensor2D,
  bias: tf.Tensor1D | null,
  adapters: readonly Adapter[],
): tf.Tensor {
  const places = adapters.map(({ a, b, firstRow }) => ({ firstRow, rows: b.shape[0], rank: a.shape[0] }));
  const [out] = w.shape;
  for (const { firstRow, rows } of places) {
    if (firstRow < 0 || firstRow + rows > out) {
      throw new Error(`loraLinear: channels ${firstRow} to ${firstRow + rows} of ${out}`);
    }
  }
  if (adapters.length === 0) return linear(x, w, bias);
  if (kernelsOn() && adapters.length <= MAX_ADAPTERS) return fused(x, w, bias, adapters, places);
  let y = linear(x, w, bias);
  for (const { a, b, firstRow } of adapters) {
    const low = linear(linear(x, a, null), b, null);
    const before: [number, number] = [firstRow, out - firstRow - b.shape[0]];
    const rows = tf.pad(asRows(low), [[0, 0], before]);
    y = add(y, tf.reshape(rows, y.shape));
  }
  return y;
}

function fused(
  x: tf.Tensor,
  w: tf.Tensor2D,
  bias: tf.Tensor1D | null,
  adapters: readonly Adapter[],
  places: readonly AdapterPlace[],
): tf.Tensor {
  const [out, inner] = w.shape;
  const shape = [...x.shape.slice(0, -1), out];
  const n = adapters.length;
  const inputs: Record<string, tf.Tensor> = { x };
  adapters.forEach(({ a, b }, i) => {
    inputs[`a${i}`] = a;
    inputs[`b${i}`] = b;
  });
  return differentiable(
    inputs,
    (save) => {
      const joint = joinAdapters(
        adapters.map(({ a }) => a),
        adapters.map(({ b }) => b),
        places,
        inner,
        out,
      );
      const weights = matmul(joint.b, joint.a, { residual: w }).y; // W + B A
      save([x, weights, joint.a, joint.b]);
      return tf.reshape(matmul(asRows(x), weights, { transposeB: true, bias }).y, shape);
    },
    (dy, [x0, weights, a, b]) => {
      const [rows, g] = [asRows(x0 as tf.Tensor), asRows(dy)];
      const parts = together(() => {
        const t = matmul(rows, a as tf.Tensor, { transposeB: true }).y; // [rows, R]
        const dt = matmul(g, b as tf.Tensor).y; // [rows, R]
        const db = matmul(g, t, { transposeA: true }).y; // [out, R]
        const da = matmul(dt, rows, { transposeA: true }).y; // [R, in]
        const gradients = partAdapters(da, db, places, inner, out);
        tf.dispose([t, dt, db, da]);
        return gradients;
      });
      const own = adapters.flatMap((_, i) => [
        [`a${i}`, () => parts(i)] as const,
        [`b${i}`, () => parts(n + i)] as const,
      ]);
      return {
        x: () => tf.reshape(matmul(g, weights as tf.Tensor).y, (x0 as tf.Tensor).shape),
        ...Object.fromEntries(own),
      };
    },
  );
}
