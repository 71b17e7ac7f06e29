/**
 * @file Softmax over the last axis. Imports tfjs-core only.
 * tfjs 4.22's WebGPU kernel corrupts the last row above 65,535 rows; there the plain composition takes over.
 */
import * as tf from '@tensorflow/tfjs-core';
import { softmaxForward, softmaxInputGradient } from '../kernels/softmax';
import { kernelsOn } from '../launch';
import { differentiable } from './differentiable';

const WEBGPU_MAX_ROWS = 65535;

/** Softmax over the last axis outside the tape. */
export function softmaxValues<T extends tf.Tensor>(x: T): T {
  if (kernelsOn()) return softmaxForward(x) as T;
  const rows = x.size / (x.shape[x.rank - 1] as number);
  if (tf.getBackend() !== 'webgpu' || rows <= WEBGPU_MAX_ROWS) return tf.softmax(x);
  const e = tf.exp(tf.sub(x, tf.max(x, -1, true)));
  return tf.div(e, tf.sum(e, -1, true));
}

/** Gradient of softmax's input from its output y and the output's gradient. */
export function softmaxGradient<T extends tf.Tensor>(dy: T, y: T): T {
  if (kernelsOn()) return softmaxInputGradient(dy, y) as T;
  const weighted = tf.mul(dy, y);
  return tf.sub(weighted, tf.mul(y, tf.sum(weighted, -1, true))) as T;
}

/** Softmax over the last axis, differentiable; keeps its output. */
export function softmax<T extends tf.Tensor>(x: T): T {
  return differentiable(
    { x },
    (save) => {
      const y = softmaxValues(x);
      save([y]);
      return y;
    },
    (dy, [y]) => ({ x: () => softmaxGradient(dy, y as T) }),
  );
}
