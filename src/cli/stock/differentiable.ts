/**
 * @file For the benchmark only: takes the place of gpu/ops/differentiable.ts, leaving the gradients to TensorFlow.js's own tape.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { setKernels } from '../../gpu/launch';

setKernels(false); // what is left of our operations is composed of TensorFlow.js's

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

/** Only gradient functions of ours ask for it. */
export function together(): never {
  throw new Error('a gradient of ours was asked for in the stock bundle');
}
