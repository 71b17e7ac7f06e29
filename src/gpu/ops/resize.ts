/**
 * @file Bilinear resize, half-pixel centres (torch's interpolate, align_corners = false). Imports tfjs-core only.
 * The stock forward kernels are exact; their gradient ignores half-pixel centres on every backend (relative error up to 1.7),
 * so the gradient here is the transposed interpolation, two products with fixed matrices. On WebGPU our kernels do both.
 */
import * as tf from '@tensorflow/tfjs-core';
import { resizeForward, resizeGradient } from '../kernels/resize';
import { kernelsOn } from '../launch';
import { differentiable } from './differentiable';
import { product } from './matmul';

/** Interpolation weights, row-major [outSize, inSize]: out = M in. Computed in double precision. */
export function bilinearMatrix(outSize: number, inSize: number): Float32Array {
  const m = new Float32Array(outSize * inSize);
  const scale = inSize / outSize;
  for (let i = 0; i < outSize; i++) {
    const at = Math.max(0, (i + 0.5) * scale - 0.5);
    const low = Math.min(Math.floor(at), inSize - 1);
    const high = Math.min(low + 1, inSize - 1);
    const t = at - low;
    m[i * inSize + low] = (m[i * inSize + low] as number) + 1 - t;
    m[i * inSize + high] = (m[i * inSize + high] as number) + t;
  }
  return m;
}

/** Adjoint along the first axis: M^T dy with dy [out, ...]. */
function adjointFirstAxis(dy: tf.Tensor4D, inSize: number): tf.Tensor4D {
  const [outSize, ...rest] = dy.shape;
  const m = tf.tensor2d(bilinearMatrix(outSize, inSize), [outSize, inSize]);
  const flat = tf.reshape(dy, [outSize, -1]) as tf.Tensor2D;
  return tf.reshape(product(m, flat, true, false), [inSize, ...rest]) as tf.Tensor4D;
}

/**
 * Resizes images to any size.
 * @param x [b, h, w, c]
 * @returns [b, height, width, c]
 */
export function resizeBilinear(x: tf.Tensor4D, height: number, width: number): tf.Tensor4D {
  const [, h, w] = x.shape;
  if (h === height && w === width) return x;
  if (kernelsOn()) {
    const { shape } = x;
    return differentiable(
      { x },
      () => resizeForward(x, height, width),
      (dy) => ({ x: () => resizeGradient(dy, shape) }),
    );
  }
  return differentiable(
    { x },
    () => tf.image.resizeBilinear(x, [height, width], false, true),
    (dy) => ({
      x: () => {
        const rowsFirst = tf.transpose(dy, [1, 0, 2, 3]); // [height, b, width, c]
        const shorter = adjointFirstAxis(rowsFirst, h); // [h, b, width, c]
        const columnsFirst = tf.transpose(shorter, [2, 0, 1, 3]); // [width, h, b, c]
        return tf.transpose(adjointFirstAxis(columnsFirst, w), [2, 1, 0, 3]); // [b, h, w, c]
      },
    }),
  );
}
