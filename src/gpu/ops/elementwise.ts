/**
 * @file Element-wise operations that keep little for their gradient. Imports tfjs-core only.
 * The stock gradients of add, mul and relu keep full inputs alive only to read their shapes or signs.
 */
import * as tf from '@tensorflow/tfjs-core';
import { activate, activateGradient, broadcastOf, combine, type Activation } from '../kernels/elementwise';
import { middleSums } from '../kernels/columnSums';
import { kernelsOn } from '../launch';
import { differentiable } from './differentiable';

const SQRT_HALF = Math.SQRT1_2;
const INV_SQRT_TWO_PI = 1 / Math.sqrt(2 * Math.PI);

/** One dispatch each way; keeps x for GELU, the output for the others. */
function activation<T extends tf.Tensor>(name: Activation, x: T): T {
  return differentiable(
    { x },
    (save) => {
      const y = activate(name, x) as T;
      save([name === 'gelu' ? x : y]);
      return y;
    },
    (dy, [kept]) => ({ x: () => activateGradient(name, dy, kept as tf.Tensor) }),
  );
}

/**
 * a + b, where b has a's shape (residual connections) or broadcasts to it (biases, positions); keeps nothing.
 * @throws Error when b does not broadcast to a's shape.
 */
export function add<T extends tf.Tensor>(a: T, b: tf.Tensor): T {
  tf.util.assertShapesMatch(a.shape, tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape), 'add: ');
  const along = broadcastOf(a.shape, b.shape);
  const shape = b.shape;
  const kernels = kernelsOn() && along !== null;
  return differentiable(
    { a, b },
    () => (kernels ? combine('add', a, b, along) : tf.add(a, b)) as T,
    (dy) => ({
      a: () => tf.clone(dy),
      b: () => (along?.repeated === 1 ? tf.reshape(dy, shape) : summed(dy, shape)),
    }),
  );
}

/** dy summed over the axes along which a tensor of `shape` was repeated. */
function summed(dy: tf.Tensor, shape: number[]): tf.Tensor {
  const along = broadcastOf(dy.shape, shape);
  if (kernelsOn() && along !== null) {
    return tf.reshape(middleSums(dy, along.outer, along.repeated, along.inner), shape);
  }
  const axes = tf.backend_util.getReductionAxes(shape, dy.shape);
  return tf.reshape(tf.sum(dy, axes), shape);
}

/** x * mask with a constant mask that broadcasts to x's shape (dropout, drop path); keeps the mask alone. */
export function scaleBy<T extends tf.Tensor>(x: T, mask: tf.Tensor): T {
  const along = broadcastOf(x.shape, mask.shape);
  const times = (a: tf.Tensor, b: tf.Tensor): tf.Tensor =>
    kernelsOn() && along !== null ? combine('multiply', a, b, along) : tf.mul(a, b);
  return differentiable(
    { x },
    (save) => {
      save([mask]);
      return times(x, mask) as T;
    },
    (dy, [mask0]) => ({ x: () => times(dy, mask0 as tf.Tensor) }),
  );
}

/** max(x, 0); keeps the output, which the next layer keeps anyway. */
export function relu<T extends tf.Tensor>(x: T): T {
  if (kernelsOn()) return activation('relu', x);
  return differentiable(
    { x },
    (save) => {
      const y = tf.relu(x);
      save([y]);
      return y;
    },
    (dy, [y]) => ({ x: () => tf.mul(dy, tf.step(y as tf.Tensor)) }),
  );
}

/** The standard normal distribution function of x. */
function normalCdf(x: tf.Tensor): tf.Tensor {
  return tf.add(tf.mul(tf.erf(tf.mul(x, SQRT_HALF)), 0.5), 0.5);
}

/** Exact GELU, x Phi(x), as torch's default; keeps x. tfjs's erf is good to about 1.5e-7. */
export function gelu<T extends tf.Tensor>(x: T): T {
  if (kernelsOn()) return activation('gelu', x);
  return differentiable(
    { x },
    (save) => {
      save([x]);
      return tf.mul(x, normalCdf(x)) as T;
    },
    (dy, saved) => ({
      x: () => {
        const x0 = saved[0] as tf.Tensor;
        const density = tf.mul(tf.exp(tf.mul(tf.square(x0), -0.5)), INV_SQRT_TWO_PI);
        return tf.mul(dy, tf.add(normalCdf(x0), tf.mul(x0, density)));
      },
    }),
  );
}
