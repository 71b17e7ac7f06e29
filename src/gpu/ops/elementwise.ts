/**
 * @file Element-wise operations that keep little for their gradient. Imports tfjs-core only.
 * The stock gradients of add, mul and relu keep full inputs alive only to read their shapes or signs.
 */
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from './differentiable';

const SQRT_HALF = Math.SQRT1_2;
const INV_SQRT_TWO_PI = 1 / Math.sqrt(2 * Math.PI);

/** a + b for equal shapes (residual connections); keeps nothing. */
export function add<T extends tf.Tensor>(a: T, b: T): T {
  tf.util.assertShapesMatch(a.shape, b.shape, 'add: ');
  return differentiable(
    { a, b },
    () => tf.add(a, b) as T,
    (dy) => ({ a: () => tf.clone(dy), b: () => tf.clone(dy) }),
  );
}

/** x * mask with a constant mask that broadcasts to x's shape (dropout, drop path); keeps the mask alone. */
export function scaleBy<T extends tf.Tensor>(x: T, mask: tf.Tensor): T {
  return differentiable(
    { x },
    (save) => {
      save([mask]);
      return tf.mul(x, mask) as T;
    },
    (dy, [mask0]) => ({ x: () => tf.mul(dy, mask0 as tf.Tensor) }),
  );
}

/** max(x, 0); keeps the output, which the next layer keeps anyway. */
export function relu<T extends tf.Tensor>(x: T): T {
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
