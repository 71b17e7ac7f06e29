/**
 * @file For the benchmark only: takes the place of gpu/ops/differentiable.ts, leaving the gradients to TensorFlow.js's own tape.
 */
import type * as tf from '@tensorflow/tfjs-core';

const keepNothing = (): void => undefined;

/** Runs the forward function on the tape; the gradient functions are not used. */
export function differentiable<T extends tf.Tensor>(
  _inputs: unknown,
  forward: (save: (tensors: tf.Tensor[]) => void) => T,
): T {
  return forward(keepNothing);
}

export function differentiableWithAside(
  _inputs: unknown,
  forward: (save: (tensors: tf.Tensor[]) => void) => tf.Tensor[],
): tf.Tensor[] {
  return forward(keepNothing);
}
