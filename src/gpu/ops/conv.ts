/**
 * @file Convolution with torch's weights and padding, NHWC images. Imports tfjs-core only.
 *
 * WebGPU: our kernels (kernels/conv.ts); 1x1 convolutions are linear layers over the pixels. What follows is for the other backends.
 * Forward: the stock kernel, or one matrix product where patches do not overlap (kernel = stride: 1x1 convolutions, patch
 * embeddings, SegFormer's sequence reduction). Gradients never use the stock backward kernels (missing on WASM, untiled on
 * WebGPU). A convolution of kernel k and stride s is seen as one of kernel A = ceil(k / s) and stride 1 on space-to-depth
 * blocks of s x s pixels: its input gradient is a plain convolution with the flipped kernel, its weight gradient a matrix
 * product with shifted slices.
 */
import * as tf from '@tensorflow/tfjs-core';
import { convForward, convInputGradient, convWeightGradients } from '../kernels/conv';
import { depthwiseForward, depthwiseInputGradient, depthwiseWeightGradients } from '../kernels/depthwise';
import { kernelsOn } from '../launch';
import { differentiable, together } from './differentiable';
import { affine, asRows, columnSums, linear, product } from './matmul';

export interface ConvOptions {
  readonly stride: number;
  readonly padding: number; // zeros on every side
}

/** Sizes of one convolution; blocks are s x s pixels. */
interface Geometry {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly k: number;
  readonly s: number;
  readonly p: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly taps: number; // A: kernel side in blocks
  readonly rows: number; // blocks the kernel reaches, vertically
  readonly columns: number;
}

/** Largest shifted-slices matrix built at once, bytes: below WebGPU's smallest binding limit (128 MiB). */
const MAX_PATCH_BYTES = 96 * 2 ** 20;

function geometry(x: tf.Tensor4D, w: tf.Tensor4D, { stride: s, padding: p }: ConvOptions): Geometry {
  const [batch, height, width, inChannels] = x.shape;
  const [outChannels, wIn, k, kw] = w.shape;
  if (wIn !== inChannels || k !== kw) {
    throw new Error(`conv2d: weight [${w.shape}] does not fit an input of ${inChannels} channels`);
  }
  const outHeight = Math.floor((height + 2 * p - k) / s) + 1;
  const outWidth = Math.floor((width + 2 * p - k) / s) + 1;
  if (outHeight < 1 || outWidth < 1) {
    throw new Error(`conv2d: an input of ${height} x ${width} is smaller than the kernel ${k} x ${k}`);
  }
  const taps = Math.ceil(k / s);
  const rows = outHeight + taps - 1;
  const columns = outWidth + taps - 1;
  return {
    batch, height, width, inChannels, outChannels, k, s, p, outHeight, outWidth, taps, rows, columns,
  }; // prettier-ignore
}

/** Shifts an image by (top, left) into a frame of the given size: zeros where it does not reach, cropped where it sticks out. */
function place(x: tf.Tensor4D, top: number, left: number, height: number, width: number): tf.Tensor4D {
  const [b, h, w, c] = x.shape;
  const y0 = Math.max(0, -top);
  const x0 = Math.max(0, -left);
  const y1 = Math.min(h, height - top);
  const x1 = Math.min(w, width - left);
  const whole = y0 === 0 && x0 === 0 && y1 === h && x1 === w;
  const part = whole ? x : tf.slice(x, [0, y0, x0, 0], [b, y1 - y0, x1 - x0, c]);
  const t = Math.max(0, top);
  const l = Math.max(0, left);
  const bottom = height - t - (y1 - y0);
  const right = width - l - (x1 - x0);
  if (t === 0 && l === 0 && bottom === 0 && right === 0) return part;
  return tf.pad(part, [
    [0, 0],
    [t, bottom],
    [l, right],
    [0, 0],
  ]);
}

/** [b, rows s, columns s, c] -> [b, rows, columns, s s c], block pixels in reading order. */
function toBlocks(x: tf.Tensor4D, s: number): tf.Tensor4D {
  if (s === 1) return x;
  const [b, h, w, c] = x.shape;
  const split = tf.reshape(x, [b, h / s, s, w / s, s, c]);
  return tf.reshape(tf.transpose(split, [0, 1, 3, 2, 4, 5]), [b, h / s, w / s, s * s * c]);
}

/** The inverse of `toBlocks`. */
function fromBlocks(x: tf.Tensor4D, s: number, c: number): tf.Tensor4D {
  if (s === 1) return x;
  const [b, h, w] = x.shape;
  const split = tf.reshape(x, [b, h, w, s, s, c]);
  return tf.reshape(tf.transpose(split, [0, 1, 3, 2, 4, 5]), [b, h * s, w * s, c]);
}

/** The input in blocks, with its zero frame: [b, rows, columns, s s c]. */
function inputBlocks(x: tf.Tensor4D, g: Geometry): tf.Tensor4D {
  return toBlocks(place(x, g.p, g.p, g.rows * g.s, g.columns * g.s), g.s);
}

/** (out, in, k, k) -> (out, k k in): rows in the order of a block's pixels. For kernel = stride. */
function blockWeight(w: tf.Tensor4D): tf.Tensor2D {
  return tf.reshape(tf.transpose(w, [0, 2, 3, 1]), [w.shape[0], -1]);
}

function forward(x: tf.Tensor4D, w: tf.Tensor4D, b: tf.Tensor1D | null, g: Geometry): tf.Tensor4D {
  if (g.k === g.s && g.p === 0) {
    const y = affine(asRows(inputBlocks(x, g)), blockWeight(w), b);
    return tf.reshape(y, [g.batch, g.outHeight, g.outWidth, g.outChannels]);
  }
  const filter = tf.transpose(w, [2, 3, 1, 0]); // (kh, kw, in, out)
  const y = tf.conv2d(x, filter, g.s, g.p, 'NHWC', 1, 'floor');
  return b === null ? y : tf.add(y, b);
}

/** dx by a stride-1 convolution of dy with the flipped kernel, in blocks. */
function inputGradient(dy: tf.Tensor4D, w: tf.Tensor4D, g: Geometry): tf.Tensor4D {
  const { s, k, p, taps: a, inChannels: c, outChannels: o } = g;
  let blocks: tf.Tensor4D;
  if (a === 1 && k === s) {
    blocks = tf.reshape(product(asRows(dy), blockWeight(w)), [g.batch, g.rows, g.columns, s * s * c]);
  } else if (s === 1) {
    const filter = tf.reverse(tf.transpose(w, [2, 3, 0, 1]), [0, 1]); // (kh, kw, out, in), flipped
    return tf.conv2d(dy, filter, 1, k - 1 - p);
  } else {
    const grow = a * s - k;
    const even = tf.pad(w, [
      [0, 0],
      [0, 0],
      [0, grow],
      [0, grow],
    ]);
    const split = tf.reshape(even, [o, c, a, s, a, s]);
    const filter: tf.Tensor4D = tf.reshape(tf.transpose(split, [2, 4, 0, 3, 5, 1]), [a, a, o, s * s * c]);
    blocks = tf.conv2d(dy, tf.reverse(filter, [0, 1]), 1, a - 1);
  }
  return place(fromBlocks(blocks, s, c), -p, -p, g.height, g.width);
}

/** Row-major list of the a x a shifted views of the blocks, each [b oh ow, s s c]. */
function shiftedRows(blocks: tf.Tensor4D, g: Geometry): tf.Tensor2D[] {
  const channels = blocks.shape[3];
  const views: tf.Tensor2D[] = [];
  for (let i = 0; i < g.taps; i++) {
    for (let j = 0; j < g.taps; j++) {
      const view = tf.slice(blocks, [0, i, j, 0], [g.batch, g.outHeight, g.outWidth, channels]);
      views.push(tf.reshape(view, [-1, channels]));
    }
  }
  return views;
}

/** dw = dy^T patches, patches being shifted slices of the blocks; on WebGPU joined to few wide products, for parallelism. */
function weightGradient(dy: tf.Tensor4D, x: tf.Tensor4D, g: Geometry): tf.Tensor4D {
  const { s, k, taps: a, inChannels: c, outChannels: o } = g;
  const blocks = inputBlocks(x, g);
  const views = a === 1 ? [asRows(blocks)] : shiftedRows(blocks, g);
  const bytes = (views[0] as tf.Tensor2D).size * 4;
  const together = tf.getBackend() === 'webgpu' ? Math.max(1, Math.floor(MAX_PATCH_BYTES / bytes)) : 1;
  const dyT = tf.transpose(asRows(dy)); // (out, rows)
  const parts: tf.Tensor2D[] = [];
  for (let i = 0; i < views.length; i += together) {
    const group = views.slice(i, i + together);
    parts.push(product(dyT, group.length === 1 ? (group[0] as tf.Tensor2D) : tf.concat(group, 1)));
  }
  const wide = parts.length === 1 ? (parts[0] as tf.Tensor2D) : tf.concat(parts, 1); // (out, a a s s in)
  const split = tf.transpose(tf.reshape(wide, [o, a, a, s, s, c]), [0, 5, 1, 3, 2, 4]);
  const even = tf.reshape(split, [o, c, a * s, a * s]) as tf.Tensor4D;
  return a * s === k ? even : tf.slice(even, [0, 0, 0, 0], [o, c, k, k]);
}

/** One node on our kernels; a 1x1 convolution is a linear layer over the pixels. */
function fusedConv(x: tf.Tensor4D, w: tf.Tensor4D, b: tf.Tensor1D | null, g: Geometry): tf.Tensor4D {
  if (g.k === 1 && g.s === 1) {
    return linear(x, tf.reshape(w, [g.outChannels, g.inChannels]), b) as tf.Tensor4D;
  }
  const inputs: Record<string, tf.Tensor> = b === null ? { x, w } : { x, w, b };
  return differentiable(
    inputs,
    (save) => {
      save([x, w]);
      return convForward(x, w, b, g);
    },
    (dy, [x0, w0]) => {
      const both = together(() => {
        const { dw, db } = convWeightGradients(dy as tf.Tensor4D, x0 as tf.Tensor4D, g);
        return [dw, db];
      });
      return {
        x: () => convInputGradient(dy as tf.Tensor4D, w0 as tf.Tensor4D, g),
        w: () => both(0),
        b: () => both(1),
      };
    },
  ) as tf.Tensor4D;
}

/**
 * torch's Conv2d (groups 1, dilation 1).
 * @param x [b, h, w, in]
 * @param w (out, in, k, k), as in the checkpoint.
 * @param b (out) or null.
 * @returns [b, floor((h + 2 p - k) / s) + 1, ..., out]
 */
export function conv2d(
  x: tf.Tensor4D,
  w: tf.Tensor4D,
  b: tf.Tensor1D | null,
  options: ConvOptions,
): tf.Tensor4D {
  const g = geometry(x, w, options);
  if (kernelsOn() && g.k > 2 * g.p) return fusedConv(x, w, b, g);
  const run = (save: (t: tf.Tensor[]) => void): tf.Tensor4D => {
    save([x, w]);
    return forward(x, w, b, g);
  };
  const backward = (dy: tf.Tensor4D, saved: readonly tf.Tensor[]) => {
    const [x0, w0] = saved as readonly [tf.Tensor4D, tf.Tensor4D];
    return {
      x: () => inputGradient(dy, w0, g),
      w: () => weightGradient(dy, x0, g),
      b: () => columnSums(asRows(dy)),
    };
  };
  const inputs: Record<string, tf.Tensor> = b === null ? { x, w } : { x, w, b };
  return differentiable(inputs, run, backward);
}

/** The k x k shifted products of an image with dy, summed over pixels: the depthwise weight gradient, (c, 1, k, k). */
function depthwiseWeightGradient(dy: tf.Tensor4D, x: tf.Tensor4D, k: number): tf.Tensor4D {
  const [b, h, w, c] = x.shape;
  const p = (k - 1) / 2;
  const framed = place(x, p, p, h + 2 * p, w + 2 * p);
  const sums: tf.Tensor1D[] = [];
  for (let i = 0; i < k; i++) {
    for (let j = 0; j < k; j++) {
      const view = tf.slice(framed, [0, i, j, 0], [b, h, w, c]);
      sums.push(columnSums(asRows(tf.mul(view, dy))));
    }
  }
  return tf.reshape(tf.stack(sums, 1), [c, 1, k, k]);
}

/**
 * torch's depthwise Conv2d (groups = channels), odd kernel, stride 1, padding (k - 1) / 2.
 * @param x [b, h, w, c]
 * @param w (c, 1, k, k)
 * @param b (c)
 */
export function depthwiseConv2d(x: tf.Tensor4D, w: tf.Tensor4D, b: tf.Tensor1D): tf.Tensor4D {
  const k = w.shape[2];
  if (kernelsOn()) {
    return differentiable(
      { x, w, b },
      (save) => {
        save([x, w]);
        return depthwiseForward(x, w, b);
      },
      (dy, [x0, w0]) => {
        const both = together(() => {
          const { dw, db } = depthwiseWeightGradients(dy, x0 as tf.Tensor4D, k);
          return [dw, db];
        });
        return { x: () => depthwiseInputGradient(dy, w0 as tf.Tensor4D), w: () => both(0), b: () => both(1) };
      },
    );
  }
  return differentiable(
    { x, w, b },
    (save) => {
      save([x, w]);
      const filter = tf.transpose(w, [2, 3, 0, 1]) as tf.Tensor4D; // (kh, kw, c, 1)
      return tf.add(tf.depthwiseConv2d(x, filter, 1, 'same'), b);
    },
    (dy, saved) => {
      const [x0, w0] = saved as readonly [tf.Tensor4D, tf.Tensor4D];
      return {
        x: () => {
          const flipped = tf.reverse(tf.transpose(w0, [2, 3, 0, 1]), [0, 1]) as tf.Tensor4D;
          return tf.depthwiseConv2d(dy, flipped, 1, 'same');
        },
        w: () => depthwiseWeightGradient(dy, x0, k),
        b: () => columnSums(asRows(dy)),
      };
    },
  );
}
