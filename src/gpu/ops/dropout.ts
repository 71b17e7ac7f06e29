/**
 * @file Dropout and drop path whose random mask is drawn on the device from a key, so that a recorded step may be replayed with
 * another key. Needs our kernels (`kernelsOn`); elsewhere nn/layers.ts multiplies by a mask of the host. Imports tfjs-core only.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { maskedByKey } from '../kernels/dropout';
import { broadcastOf } from '../kernels/elementwise';
import { differentiable } from './differentiable';

/**
 * x * mask, the mask being `dropoutMask(size of maskShape, keep, parts)` of nn/masks.ts for key[0] = hashKey('dropout', ...parts) | 0.
 * Keeps the key alone: the gradient draws the mask again.
 * @param key [1] int32, on the device.
 * @param keep probability of staying, in (0, 1].
 * @param maskShape x's shape with 1 along the axes that share a value; those axes stand in one run.
 * @throws Error when the mask does not broadcast so.
 */
export function dropoutWithKey<T extends tf.Tensor>(
  x: T,
  key: tf.Tensor1D,
  keep: number,
  maskShape: readonly number[],
): T {
  const along = broadcastOf(x.shape, maskShape);
  if (along === null) throw new Error(`dropout: a mask of shape [${maskShape}] for [${x.shape}]`);
  return differentiable(
    { x },
    (save) => {
      save([key]);
      return maskedByKey(x, key, keep, along) as T;
    },
    (dy, [key0]) => ({ x: () => maskedByKey(dy, key0 as tf.Tensor, keep, along) }),
  );
}
