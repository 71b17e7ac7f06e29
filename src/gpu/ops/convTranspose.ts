/**
 * @file Transposed convolution with kernel = stride = 2 (torch's ConvTranspose2d(in, out, 2, stride=2), as SAM's mask decoder upscales).
 * Imports tfjs-core only.
 *
 * Output pixels do not overlap, so it is one matrix product over the input pixels, [b h w, in] x [in, out 2 2] with torch's weights as they
 * lie, and a movement of its results: our kernel (kernels/quarters.ts) or a transpose of rank 5. The gradients are products with the
 * output's gradient moved back; the sums are those of the matrix product and of the columns, in a fixed order.
 */
import * as tf from '@tensorflow/tfjs-core';
import { collectQuarters, spreadQuarters } from '../kernels/quarters';
import { kernelsOn } from '../launch';
import { differentiable, together } from './differentiable';
import { asRows, columnSums, product } from './matmul';

type Image = readonly [b: number, h: number, w: number];

/** [b h w, out 2 2] -> [b, 2 h, 2 w, out], bias added. */
function spread(rows: tf.Tensor2D, image: Image, bias: tf.Tensor1D | null): tf.Tensor4D {
  if (kernelsOn()) return spreadQuarters(rows, image, bias);
  const [b, h, w] = image;
  const out = rows.shape[1] / 4;
  const blocks = tf.transpose(tf.reshape(rows, [b * h, w, out, 2, 2]), [0, 3, 1, 4, 2]);
  const y = tf.reshape(blocks, [b, 2 * h, 2 * w, out]) as tf.Tensor4D;
  return bias === null ? y : tf.add(y, bias);
}

/** [b, 2 h, 2 w, out] -> [b h w, out 2 2]. */
function collect(y: tf.Tensor4D): tf.Tensor2D {
  if (kernelsOn()) return collectQuarters(y);
  const [b, height, width, out] = y.shape;
  const [h, w] = [height / 2, width / 2];
  const pixels = tf.transpose(tf.reshape(y, [b * h, 2, w, 2, out]), [0, 2, 4, 1, 3]);
  return tf.reshape(pixels, [b * h * w, 4 * out]) as tf.Tensor2D;
}

/** The weights as a matrix (in, out 2 2): a view. */
const matrix = (w: tf.Tensor4D): tf.Tensor2D => tf.reshape(w, [w.shape[0], -1]);

/**
 * torch's ConvTranspose2d with kernel 2, stride 2, no padding: doubles an image's sides.
 * @param x [b, h, w, in]
 * @param w (in, out, 2, 2), as in the checkpoint.
 * @param b (out) or null.
 * @returns [b, 2 h, 2 w, out]
 * @throws Error when the weight does not fit.
 */
export function convTranspose2x2(x: tf.Tensor4D, w: tf.Tensor4D, b: tf.Tensor1D | null): tf.Tensor4D {
  const [batch, height, width, channels] = x.shape;
  if (w.shape[0] !== channels || w.shape[2] !== 2 || w.shape[3] !== 2) {
    throw new Error(`convTranspose2x2: weight [${w.shape}] does not fit an input of ${channels} channels`);
  }
  const inputs: Record<string, tf.Tensor> = b === null ? { x, w } : { x, w, b };
  return differentiable(
    inputs,
    (save) => {
      save([x, w]);
      const rows = product(asRows(x), matrix(w));
      const y = spread(rows, [batch, height, width], b);
      rows.dispose();
      return y;
    },
    (dy: tf.Tensor4D, saved) => {
      const [x0, w0] = saved as readonly [tf.Tensor4D, tf.Tensor4D];
      const moved = together(() => [collect(dy)]);
      const rows = (): tf.Tensor2D => moved.all()[0] as tf.Tensor2D;
      return {
        x: () => tf.reshape(product(rows(), matrix(w0), false, true), x0.shape),
        w: () => tf.reshape(product(asRows(x0), rows(), true), w0.shape),
        b: () => columnSums(asRows(dy)),
      };
    },
  ) as tf.Tensor4D;
}
