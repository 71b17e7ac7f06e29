/** @file For the benchmark only: takes the place of gpu/ops/attention.ts with TensorFlow.js's products and softmax. */
import * as tf from '@tensorflow/tfjs-core';

const split = (x: tf.Tensor3D, heads: number): tf.Tensor4D =>
  tf.transpose(tf.reshape(x, [x.shape[0], x.shape[1], heads, x.shape[2] / heads]), [0, 2, 1, 3]);

export function attention(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  heads: number,
  scale: number = 1 / Math.sqrt(q.shape[2] / heads),
): tf.Tensor3D {
  const scores = tf.mul(tf.matMul(split(q, heads), split(k, heads), false, true), scale);
  const y = tf.matMul(tf.softmax(scores), split(v, heads)); // [b, heads, n, c / heads]
  return tf.reshape(tf.transpose(y, [0, 2, 1, 3]), q.shape);
}
