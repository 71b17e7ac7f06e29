/**
 * @file Matrix products with the right gradient on every backend. Imports tfjs-core only.
 *
 * WASM: XNNPACK serves only a plain product of two matrices (35 GFLOP/s on one core of the development machine); a transposed
 * operand or a batch falls to a naive loop at 2 GFLOP/s. So operands are transposed first, and batches are left to callers.
 * WebGPU: our kernels (kernels/matmul.ts) take transposed operands and broadcast batches themselves. With kernels off, broadcast batches
 * are refused: their gradient has the wrong shape in tfjs 4.22.
 */
import * as tf from '@tensorflow/tfjs-core';
import { middleSums } from '../kernels/columnSums';
import { activateGradient } from '../kernels/elementwise';
import { linearGradients as linearGradientKernel, matmul } from '../kernels/matmul';
import { kernelsOn } from '../launch';
import { differentiable, together } from './differentiable';
import { add, gelu, relu } from './elementwise';

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
  if (kernelsOn()) return matmul(a, b, { transposeA, transposeB }).y as T;
  if (!transposesFirst()) return tf.matMul(a, b, transposeA, transposeB) as T;
  return tf.matMul(transposeA ? transposeLast(a) : a, transposeB ? transposeLast(b) : b) as T;
}

/**
 * Column sums of a matrix: [rows, columns] -> [columns].
 * WASM adds each column in one float32 chain; where the number of rows allows, 256 shorter chains keep the error down.
 */
export function columnSums(x: tf.Tensor2D): tf.Tensor1D {
  const [rows, columns] = x.shape;
  if (kernelsOn()) return tf.reshape(middleSums(x, 1, rows, columns), [columns]);
  if (tf.getBackend() !== 'wasm') return tf.sum(x, 0);
  let chains = 1;
  while (chains < 256 && rows % (chains * 2) === 0) chains *= 2;
  if (chains === 1) return tf.sum(x, 0);
  const partial = tf.sum(tf.reshape(x, [rows / chains, chains * columns]), 0);
  return tf.sum(tf.reshape(partial, [chains, columns]), 0);
}

/** The gradient of a matrix that served a whole batch: [batch, rows, columns] -> `shape`. */
function overBatch(gradient: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const size = shape.reduce((x, y) => x * y, 1);
  if (gradient.size === size) return tf.reshape(gradient, [...shape]);
  return tf.reshape(middleSums(gradient, 1, gradient.size / size, size), [...shape]);
}

/**
 * op(a) op(b), differentiable. Matrices or batches of matrices [batch, rows, columns] of one batch size; with our kernels one side may
 * also be a single matrix, [rows, columns] or [1, rows, columns], for the whole batch.
 * @throws Error on any other shapes.
 */
export function matMul<T extends tf.Tensor2D | tf.Tensor3D>(
  a: T,
  b: tf.Tensor2D | tf.Tensor3D,
  transposeA = false,
  transposeB = false,
): T {
  if (!kernelsOn() && (a.rank !== b.rank || (a.rank === 3 && a.shape[0] !== b.shape[0]))) {
    throw new Error(`matMul: shapes [${a.shape}] and [${b.shape}]: ranks and batch sizes must be equal`);
  }
  return differentiable(
    { a, b },
    (save) => {
      save([a, b]);
      return product<tf.Tensor>(a, b, transposeA, transposeB) as T;
    },
    (dy: tf.Tensor, saved) => {
      const [a0, b0] = saved as readonly [tf.Tensor, tf.Tensor];
      return {
        a: () => {
          const g = transposeA ? product(b0, dy, transposeB, true) : product(dy, b0, false, !transposeB);
          return overBatch(g, a0.shape);
        },
        b: () => {
          const g = transposeB ? product(dy, a0, true, transposeA) : product(a0, dy, !transposeA, false);
          return overBatch(g, b0.shape);
        },
      };
    },
  ) as T;
}

/** Flattens all axes but the last: [..., c] -> [rows, c]. */
export function asRows(x: tf.Tensor): tf.Tensor2D {
  return tf.reshape(x, [-1, x.shape[x.rank - 1] as number]);
}

/** x W^T + b outside the tape: x [rows, in], w (out, in), b (out). */
export function affine(x: tf.Tensor2D, w: tf.Tensor2D, b: tf.Tensor1D | null): tf.Tensor2D {
  if (kernelsOn()) return matmul(x, w, { transposeB: true, bias: b }).y as tf.Tensor2D;
  const first = transposesFirst();
  const weight = first ? transposeLast(w) : w;
  if (b === null) return tf.matMul(x, weight, false, !first);
  return tf.fused.matMul({ a: x, b: weight, transposeB: !first, bias: b }) as tf.Tensor2D;
}

export interface LinearOptions {
  readonly activation?: 'gelu' | 'relu';
  /** Added last; of the output's shape. */
  readonly residual?: tf.Tensor;
  /** 'f16': the forward product is of halves where the adapter can (kernels/matmul.ts); gradients, which halves could lose, never. */
  readonly arithmetic?: 'f16';
}

/** Gradients where the gradient `dz` of x W^T + b is found when first needed. */
function linearGradients(dz: () => tf.Tensor2D, x: tf.Tensor, w: tf.Tensor2D, bias: boolean) {
  if (!kernelsOn()) {
    return {
      x: () => tf.reshape(product(dz(), w), x.shape),
      w: () => product(dz(), asRows(x), true, false),
      b: () => columnSums(dz()),
    };
  }
  const both = together(() => {
    const { dw, db } = linearGradientKernel(dz(), asRows(x), { bias });
    return db === null ? [dw] : [dw, db];
  });
  return {
    x: () => tf.reshape(product(dz(), w), x.shape),
    w: () => both(0),
    b: () => both(1),
  };
}

/** The gradient before the activation, computed when first asked for and shared. @param input of the activation, if there is one. */
export function beforeActivation(
  dy: tf.Tensor2D,
  activation: LinearOptions['activation'],
  input: tf.Tensor | undefined,
): () => tf.Tensor2D {
  if (activation === undefined || input === undefined) return () => dy;
  const before = together(() => [activateGradient(activation, dy, input)]);
  return () => before.all()[0] as tf.Tensor2D;
}

/** One node: bias, activation and residual in the product's own dispatch. */
function fusedLinear(x: tf.Tensor, w: tf.Tensor2D, b: tf.Tensor1D | null, options: LinearOptions): tf.Tensor {
  const { activation, residual, arithmetic } = options;
  const shape = [...x.shape.slice(0, -1), w.shape[0]];
  const inputs: Record<string, tf.Tensor> = { x, w };
  if (b !== null) inputs['b'] = b;
  if (residual !== undefined) inputs['residual'] = residual;
  return differentiable(
    inputs,
    (save) => {
      const { y, input } = matmul(asRows(x), w, {
        transposeB: true,
        bias: b,
        activation: activation ?? 'none',
        residual: residual ?? null,
        keepInput: activation !== undefined,
        arithmetic: arithmetic ?? 'f32',
      });
      save(input === null ? [x, w] : [x, w, input]);
      return tf.reshape(y, shape);
    },
    (dy, [x0, w0, input]) => {
      const dz = beforeActivation(asRows(dy), activation, input);
      return {
        ...linearGradients(dz, x0 as tf.Tensor, w0 as tf.Tensor2D, b !== null),
        residual: () => tf.clone(dy),
      };
    },
  );
}

/**
 * torch's Linear, with what often follows it: y = activation(x W^T + b) + residual over the last axis.
 * @param x [..., in]
 * @param w (out, in), as in the checkpoint.
 * @param b (out) or null.
 * @returns [..., out]
 */
export function linear(
  x: tf.Tensor,
  w: tf.Tensor2D,
  b: tf.Tensor1D | null,
  options: LinearOptions = {},
): tf.Tensor {
  if (kernelsOn()) return fusedLinear(x, w, b, options);
  const shape = [...x.shape.slice(0, -1), w.shape[0]];
  const inputs: Record<string, tf.Tensor> = b === null ? { x, w } : { x, w, b };
  const plain = differentiable(
    inputs,
    (save) => {
      save([x, w]);
      return tf.reshape(affine(asRows(x), w, b), shape);
    },
    (dy, [x0, w0]) => linearGradients(() => asRows(dy), x0 as tf.Tensor, w0 as tf.Tensor2D, b !== null),
  );
  const { activation, residual } = options;
  const activated = activation === undefined ? plain : activation === 'gelu' ? gelu(plain) : relu(plain);
  return residual === undefined ? activated : add(activated, residual);
}
