/**
 * @file Matrix products with the right gradient on every backend. Imports tfjs-core only.
 *
 * WASM: XNNPACK serves only a plain product of two matrices (35 GFLOP/s on one core of the development machine); a transposed
 * operand or a batch falls to a naive loop at 2 GFLOP/s. So operands are transposed first, and batches are left to callers.
 * WebGPU: the kernel takes transposed operands itself. Broadcast batches have a wrong-shape gradient in tfjs 4.22 and are
 * refused here.
 */
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from './differentiable';

/** True where a transposed operand is cheaper as an explicit transpose. */
export function transposesFirst(): boolean {
  return tf.getBackend() !== 'webgpu';
}

/** Swaps the last two axes of a matrix or a batch of matrices. */
export function transposeLast<T extends tf.Tensor>(x: T): T {
  return (x.rank === 2 ? tf.transpose(x, [1, 0]) : tf.transpose(x, [0, 2, 1])) as T;
}

/**
 * op(a) op(b) outside the tape: for use inside forward and gradient functions only.
 * Both of rank 2, or both of rank 3 with the same batch size.
 */
export function product<T extends tf.Tensor>(a: T, b: T, transposeA = false, transposeB = false): T {
  if (!transposesFirst()) return tf.matMul(a, b, transposeA, transposeB) as T;
  return tf.matMul(transposeA ? transposeLast(a) : a, transposeB ? transposeLast(b) : b) as T;
}

/**
 * Column sums of a matrix: [rows, columns] -> [columns].
 * WASM adds each column in one float32 chain; where the number of rows allows, 256 shorter chains keep the error down.
 */
export function columnSums(x: tf.Tensor2D): tf.Tensor1D {
  if (tf.getBackend() !== 'wasm') return tf.sum(x, 0);
  const [rows, columns] = x.shape;
  let chains = 1;
  while (chains < 256 && rows % (chains * 2) === 0) chains *= 2;
  if (chains === 1) return tf.sum(x, 0);
  const partial = tf.sum(tf.reshape(x, [rows / chains, chains * columns]), 0);
  return tf.sum(tf.reshape(partial, [chains, columns]), 0);
}

/**
 * op(a) op(b), differentiable. Both matrices, or both batches of matrices [batch, rows, columns] of one batch size.
 * @throws Error on any other shapes.
 */
export function matMul<T extends tf.Tensor2D | tf.Tensor3D>(
  a: T,
  b: T,
  transposeA = false,
  transposeB = false,
): T {
  if (a.rank !== b.rank || (a.rank === 3 && a.shape[0] !== b.shape[0])) {
    throw new Error(`matMul: shapes [${a.shape}] and [${b.shape}]: ranks and batch sizes must be equal`);
  }
  return differentiable(
    { a, b },
    (save) => {
      save([a, b]);
      return product(a, b, transposeA, transposeB);
    },
    (dy, saved) => {
      const [a0, b0] = saved as readonly [T, T];
      return {
        a: () => (transposeA ? product(b0, dy, transposeB, true) : product(dy, b0, false, !transposeB)),
        b: () => (transposeB ? product(dy, a0, true, transposeA) : product(a0, dy, !transposeA, false)),
      };
    },
  );
}

/** Flattens all axes but the last: [..., c] -> [rows, c]. */
export function asRows(x: tf.Tensor): tf.Tensor2D {
  return tf.reshape(x, [-1, x.shape[x.rank - 1] as number]);
}

/** x W^T + b outside the tape: x [rows, in], w (out, in), b (out). */
export function affine(x: tf.Tensor2D, w: tf.Tensor2D, b: tf.Tensor1D | null): tf.Tensor2D {
  const first = transposesFirst();
  const weight = first ? transposeLast(w) : w;
  if (b === null) return tf.matMul(x, weight, false, !first);
  return tf.fused.matMul({ a: x, b: weight, transposeB: !first, bias: b }) as tf.Tensor2D;
}

function linearGradients(dy: tf.Tensor, saved: readonly tf.Tensor[]) {
  const [x0, w0] = saved as readonly [tf.Tensor, tf.Tensor2D];
  return {
    x: () => tf.reshape(product(asRows(dy), w0), x0.shape),
    w: () => product(asRows(dy), asRows(x0), true, false),
    b: () => columnSums(asRows(dy)),
  };
}

/**
 * torch's Linear: y = x W^T + b over the last axis.
 * @param x [..., in]
 * @param w (out, in), as in the checkpoint.
 * @param b (out) or null.
 * @returns [..., out]
 */
export function linear(x: tf.Tensor, w: tf.Tensor2D, b: tf.Tensor1D | null): tf.Tensor {
  const shape = [...x.shape.slice(0, -1), w.shape[0]];
  const forward = (): tf.Tensor => tf.reshape(affine(asRows(x), w, b), shape);
  const run = (save: (t: tf.Tensor[]) => void): tf.Tensor => {
    save([x, w]);
    return forward();
  };
  const inputs: Record<string, tf.Tensor> = b === null ? { x, w } : { x, w, b };
  return differentiable(inputs, run, linearGradients);
}
