/**
 * @file Linear layers whose weights are frozen and stored as halves: half the memory and half the reads; sums stay float32. Imports tfjs.
 *
 * WebGPU: the products read the halves themselves (kernels/matmul.ts, `halfB`), forward and for the input's gradient; there is no gradient
 * of the weight. Elsewhere, and with kernels off, the halves are turned to float32 first and the layer is the plain one. WASM and CPU, whose
 * tensors cannot be read without waiting, keep the halves in an array of the host.
 */
import * as tf from '@tensorflow/tfjs-core';
import { packHalves, unpackHalves } from '../halves';
import { unpackHalf } from '../kernels/halves';
import { matmul } from '../kernels/matmul';
import { kernelsOn, studioBackend } from '../launch';
import { differentiable } from './differentiable';
import { asRows, beforeActivation, columnSums, linear, type LinearOptions } from './matmul';

/** A frozen weight: two halves per int32 element in the order of `shape`, the first in the low half. */
export interface HalfWeight {
  /** [ceil(out in / 2)]: an int32 tensor on WebGPU, else the words themselves. */
  readonly stored: tf.Tensor | Int32Array;
  readonly shape: readonly [out: number, inner: number];
}

/** Rounds a weight from the host to halves (nearest, ties to even; beyond 65,504 infinite) and stores it; `disposeHalf` frees it. */
export function halfWeight(values: Float32Array, shape: readonly [number, number]): HalfWeight {
  if (values.length !== shape[0] * shape[1]) {
    throw new Error(`halfWeight: ${values.length} values for a weight [${shape.join()}]`);
  }
  const packed = packHalves(values);
  return { stored: studioBackend() === null ? packed : tf.keep(tf.tensor1d(packed, 'int32')), shape };
}

/** Frees what `halfWeight` made. */
export function disposeHalf({ stored }: HalfWeight): void {
  if (!(stored instanceof Int32Array)) stored.dispose();
}

/** The weight as float32 (out, in): exactly the halves' values. Takes no part in the tape. */
export function halfToFloat({ stored, shape }: HalfWeight): tf.Tensor2D {
  if (!(stored instanceof Int32Array)) return unpackHalf(stored, shape) as tf.Tensor2D;
  return tf.tensor2d(unpackHalves(stored, shape[0] * shape[1]), [...shape]);
}

/**
 * y = activation(x W^T + b) + residual over the last axis, W frozen and stored as halves. Gradients for x, b and the residual.
 * @param x [..., in]
 * @param w (out, in)
 * @param b (out) or null, float32.
 * @param options `arithmetic: 'f16'` concerns the forward product alone.
 * @returns [..., out], float32. @throws Error when the weight does not fit x.
 */
export function frozenLinear(
  x: tf.Tensor,
  w: HalfWeight,
  b: tf.Tensor1D | null,
  options: LinearOptions = {},
): tf.Tensor {
  const { stored, shape } = w;
  if (!kernelsOn() || stored instanceof Int32Array) return linear(x, halfToFloat(w), b, options);
  const { activation, residual, arithmetic } = options;
  const xShape = x.shape;
  const inputs: Record<string, tf.Tensor> = { x };
  if (b !== null) inputs['b'] = b;
  if (residual !== undefined) inputs['residual'] = residual;
  return differentiable(
    inputs,
    (save) => {
      const { y, input } = matmul(asRows(x), stored, {
        transposeB: true,
        halfB: shape,
        bias: b,
        activation: activation ?? 'none',
        residual: residual ?? null,
        keepInput: activation !== undefined,
        arithmetic: arithmetic ?? 'f32',
      });
      save(input === null ? [stored] : [stored, input]);
      return tf.reshape(y, [...xShape.slice(0, -1), shape[0]]);
    },
    (dy, [packed, input]) => {
      const dz = beforeActivation(asRows(dy), activation, input);
      return {
        x: () => tf.reshape(matmul(dz(), packed as tf.Tensor, { halfB: shape }).y, xShape),
        b: () => columnSums(dz()),
        residual: () => tf.clone(dy),
      };
    },
  );
}
