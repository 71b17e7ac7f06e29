/** @file For the benchmark only: takes the place of gpu/ops/conv.ts with TensorFlow.js's own convolutions. */
import * as tf from '@tensorflow/tfjs-core';

export interface ConvOptions {
  readonly stride: number;
  readonly padding: number;
}

export function conv2d(
  x: tf.Tensor4D,
  w: tf.Tensor4D,
  b: tf.Tensor1D | null,
  { stride, padding }: ConvOptions,
): tf.Tensor4D {
  const filter = tf.transpose(w, [2, 3, 1, 0]) as tf.Tensor4D; // (kh, kw, in, out)
  const y = tf.conv2d(x, filter, stride, padding);
  return b === null ? y : tf.add(y, b);
}

export function depthwiseConv2d(x: tf.Tensor4D, w: tf.Tensor4D, b: tf.Tensor1D): tf.Tensor4D {
  const filter = tf.transpose(w, [2, 3, 0, 1]) as tf.Tensor4D; // (kh, kw, c, 1)
  return tf.add(tf.depthwiseConv2d(x, filter, 1, 'same'), b);
}
