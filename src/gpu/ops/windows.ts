/**
 * @file Window partition and its inverse on the tape (SAM's image encoder: window_partition, window_unpartition, zero padding at the right
 * and lower edge). Imports tfjs. WebGPU: one gather each (kernels/windows.ts); elsewhere pad or slice, reshape and a transpose of rank 4.
 */
import * as tf from '@tensorflow/tfjs-core';
import { cutWindows, joinWindows } from '../kernels/windows';
import { kernelsOn } from '../launch';
import { differentiable } from './differentiable';

function cut(x: tf.Tensor4D, window: number): tf.Tensor3D {
  if (kernelsOn()) return cutWindows(x, window);
  const [b, h, w, c] = x.shape;
  const [down, across] = [Math.ceil(h / window), Math.ceil(w / window)];
  return tf.tidy(() => {
    const padded = tf.pad(x, [[0, 0], [0, down * window - h], [0, across * window - w], [0, 0]]); // prettier-ignore
    const rows = tf.reshape(padded, [b * down, window, across, window * c]);
    return tf.reshape(tf.transpose(rows, [0, 2, 1, 3]), [b * down * across, window * window, c]);
  });
}

function join(x: tf.Tensor3D, image: readonly [number, number, number], window: number): tf.Tensor4D {
  if (kernelsOn()) return joinWindows(x, image, window);
  const [b, h, w] = image;
  const c = x.shape[2];
  const [down, across] = [Math.ceil(h / window), Math.ceil(w / window)];
  return tf.tidy(() => {
    const rows = tf.transpose(tf.reshape(x, [b * down, across, window, window * c]), [0, 2, 1, 3]);
    const padded = tf.reshape(rows, [b, down * window, across * window, c]) as tf.Tensor4D;
    return tf.slice(padded, [0, 0, 0, 0], [b, h, w, c]);
  });
}

function checkWindow(window: number): void {
  if (!Number.isInteger(window) || window < 1)
    throw new Error(`Windows of side ${window}; it must be 1 or more`);
}

/**
 * Cuts images into windows, zeros beyond the right and lower edge.
 * @param x [b, h, w, c]
 * @param window side in pixels.
 * @returns [b ceil(h / window) ceil(w / window), window window, c], windows of an image row by row.
 */
export function windowPartition(x: tf.Tensor4D, window: number): tf.Tensor3D {
  checkWindow(window);
  const [b, h, w] = x.shape;
  return differentiable(
    { x },
    () => cut(x, window),
    (dy) => ({ x: () => join(dy, [b, h, w], window) }),
  );
}

/**
 * Joins windows to images again and drops the padding.
 * @param x as `windowPartition` returns it.
 * @param image [b, h, w] of the images.
 * @returns [b, h, w, c]
 */
export function windowUnpartition(
  x: tf.Tensor3D,
  image: readonly [number, number, number],
  window: number,
): tf.Tensor4D {
  checkWindow(window);
  const [b, h, w] = image;
  const windows = b * Math.ceil(h / window) * Math.ceil(w / window);
  if (x.shape[0] !== windows || x.shape[1] !== window * window) {
    throw new Error(`[${x.shape}] are not the windows of side ${window} of ${b} images of ${h} x ${w}`);
  }
  return differentiable(
    { x },
    () => join(x, image, window),
    (dy) => ({ x: () => cut(dy, window) }),
  );
}
