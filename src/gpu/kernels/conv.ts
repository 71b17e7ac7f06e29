/**
 * @file Convolution k x k of channels-last images with torch's weights: forward, input gradient, weight and bias gradient. Outside the
 * tape. May import gpu/launch, tfjs.
 *
 * All three are implicit matrix products: convRegister.ts on software adapters, convTiled.ts on GPUs. Weights are first laid out as
 * [tap][in][out] (one small dispatch), so that neighbours read neighbours. The weight gradient is split over image rows into partial
 * sums, added in a fixed order by a dispatch that also writes torch's layout.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, isSoftwareAdapter, launch, type Launch } from '../launch';
import { CONV_TILE, convWeightWgsl, convWgsl } from './convRegister';
import { convTiledWgsl, convWeightTiledWgsl, TILE } from './convTiled';

/** Sizes of a convolution; square kernels. */
export interface ConvSizes {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly inChannels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly outChannels: number;
  readonly k: number;
  readonly s: number; // stride
  readonly p: number; // zeros on every side; k > 2 p - s + 1 so that every output meets the image
}

export type ConvKernel = 'register' | 'tiled';

const chosen = (): ConvKernel => (isSoftwareAdapter() ? 'register' : 'tiled');
const vec = (on: boolean): string => (on ? 'vec4<f32>' : 'f32');

/** Weights (out, in, k, k) as [tap][in][out], or [tap][out][in] for the input gradient. */
function layWeights(w: tf.Tensor, { inChannels, outChannels, k }: ConvSizes, exchanged: boolean): tf.Tensor {
  const [rows, columns] = exchanged ? [outChannels, inChannels] : [inChannels, outChannels];
  const [laid] = launch({
    name: 'conv-weights',
    variant: exchanged ? 'out-in' : 'in-out',
    inputs: { w: { tensor: w, type: 'f32' } },
    outputs: { y: { shape: [k * k, rows, columns], type: 'f32' } },
    uniforms: { size: ['u32', w.size], taps: ['u32', k * k], rows: ['u32', rows], columns: ['u32', columns] },
    groups: flatGroups(Math.ceil(w.size / 64)),
    wgsl: () => `${FLAT_GROUP}
@compute @workgroup_size(64) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = flatGroup(group, groups) * 64u + lane;
  if (i >= u.size) { return; }
  let column = i % u.columns; let row = (i / u.columns) % u.rows; let tap = i / (u.columns * u.rows);
  y[i] = w[(${exchanged ? 'row * u.columns + column' : 'column * u.rows + row'}) * u.taps + tap];
}`,
  });
  return laid as tf.Tensor;
}

/** Sizes as the kernels take them, for reading an image of height x width and writing one of outHeight x outWidth. */
function uniforms(z: ConvSizes, gradient: boolean): NonNullable<Launch['uniforms']> {
  const grid = gradient ? [Math.ceil(z.height / z.s), Math.ceil(z.width / z.s)] : [z.outHeight, z.outWidth];
  const [gridY, gridX] = grid as [number, number];
  return {
    batch: ['u32', z.batch],
    height: ['u32', gradient ? z.outHeight : z.height],
    width: ['u32', gradient ? z.outWidth : z.width],
    outHeight: ['u32', gradient ? z.height : z.outHeight],
    outWidth: ['u32', gradient ? z.width : z.outWidth],
    inChannels: ['u32', gradient ? z.outChannels : z.inChannels],
    outChannels: ['u32', gradient ? z.inChannels : z.outChannels],
    k: ['u32', z.k],
    s: ['u32', z.s],
    p: ['u32', z.p],
    gridY: ['u32', gridY],
    gridX: ['u32', gridX],
    count: ['u32', z.batch * gridY * gridX * (gradient ? z.s * z.s : 1)],
  };
}

function product(
  x: tf.Tensor,
  w: tf.Tensor,
  bias: tf.Tensor | null,
  z: ConvSizes,
  gradient: boolean,
  kernel: ConvKernel,
): tf.Tensor4D {
  const laid = layWeights(w, z, gradient);
  const values = uniforms(z, gradient);
  const [count, inChannels, outChannels] = [values['count'], values['inChannels'], values['outChannels']].map(
    (u) => u?.[1],
  ) as [number, number, number];
  const form = {
    vectorIn: inChannels % 4 === 0,
    vectorOut: outChannels % 4 === 0,
    bias: bias !== null,
    gradient,
  };
  const tile =
    kernel === 'register' ? { x: 8 * CONV_TILE.channels, y: 8 * CONV_TILE.pixels } : { x: TILE, y: TILE };
  const scalar = kernel === 'tiled';
  const out = scalar ? 'f32' : vec(form.vectorOut);
  const [y] = launch({
    name: gradient ? 'conv-dx' : 'conv',
    variant: `${kernel} ${scalar ? '' : `${form.vectorIn} ${form.vectorOut} `}${form.bias}`,
    inputs: {
      x: { tensor: x, type: scalar ? 'f32' : vec(form.vectorIn) },
      w: { tensor: laid, type: out },
      ...(bias === null ? {} : { bias: { tensor: bias, type: out } }),
    },
    outputs: {
      y: {
        shape: gradient
          ? [z.batch, z.height, z.width, z.inChannels]
          : [z.batch, z.outHeight, z.outWidth, z.outChannels],
        type: out,
      },
    },
    uniforms: values,
    groups: [Math.ceil(outChannels / tile.x), Math.ceil(count / tile.y), 1],
    wgsl: () => (kernel === 'register' ? convWgsl(form) : convTiledWgsl(form)),
  });
  laid.dispose();
  return y as tf.Tensor4D;
}

/** x [b, h, w, in], weights (out, in, k, k), bias (out) or null -> [b, oh, ow, out]. */
export function convForward(
  x: tf.Tensor4D,
  w: tf.Tensor4D,
  bias: tf.Tensor | null,
  sizes: ConvSizes,
  kernel: ConvKernel = chosen(),
): tf.Tensor4D {
  return product(x, w, bias, sizes, false, kernel);
}

/** dy [b, oh, ow, out] -> dx [b, h, w, in]. */
export function convInputGradient(
  dy: tf.Tensor4D,
  w: tf.Tensor4D,
  sizes: ConvSizes,
  kernel: ConvKernel = chosen(),
): tf.Tensor4D {
  return product(dy, w, null, sizes, true, kernel);
}

/** Invocations that keep a machine busy; each part of the split costs one more copy of the weights. */
const ENOUGH = { register: 512, tiled: 16_384 };
const MAX_PARTS = 64;

/**
 * Weight (out, in, k, k) and bias (out) gradients. Needs k > 2 p.
 * @param dy [b, oh, ow, out] @param x [b, h, w, in]
 */
export function convWeightGradients(
  dy: tf.Tensor4D,
  x: tf.Tensor4D,
  z: ConvSizes,
  kernel: ConvKernel = chosen(),
): { dw: tf.Tensor4D; db: tf.Tensor1D } {
  const { k, inChannels, outChannels, batch, outHeight } = z;
  if (k <= 2 * z.p) throw new Error(`conv2d: padding ${z.p} is too large for a kernel of ${k}`);
  const taps = k * k;
  const rowsOfImages = batch * outHeight;
  const register = kernel === 'register';
  const perPart = register
    ? Math.ceil(inChannels / 8) * Math.ceil(outChannels / 8) * taps
    : Math.ceil((taps * inChannels) / TILE) * Math.ceil(outChannels / TILE) * 256;
  const wanted = Math.min(MAX_PARTS, Math.max(1, Math.ceil(ENOUGH[kernel] / perPart)), rowsOfImages);
  const rows = Math.ceil(rowsOfImages / wanted);
  const parts = Math.ceil(rowsOfImages / rows);
  const form = { vectorIn: inChannels % 4 === 0, vectorOut: outChannels % 4 === 0 };
  const [typeIn, typeOut] = register ? [vec(form.vectorIn), vec(form.vectorOut)] : ['f32', 'f32'];
  const [dw, db] = launch({
    name: 'conv-dw',
    variant: `${kernel} ${register ? `${form.vectorIn} ${form.vectorOut}` : ''}`,
    inputs: { x: { tensor: x, type: typeIn as string }, dy: { tensor: dy, type: typeOut as string } },
    outputs: {
      dw: { shape: [parts, taps, inChannels, outChannels], type: typeOut as string },
      db: { shape: [parts, outChannels], type: typeOut as string },
    },
    uniforms: { ...uniforms(z, false), rows: ['u32', rows] },
    groups: register
      ? [Math.ceil(outChannels / 64), Math.ceil(inChannels / 64), taps * parts]
      : [Math.ceil(outChannels / TILE), Math.ceil((taps * inChannels) / TILE), parts],
    wgsl: () => (register ? convWeightWgsl(form) : convWeightTiledWgsl()),
  }) as [tf.Tensor, tf.Tensor];
  const result = addParts(dw, db, z, parts);
  dw.dispose();
  db.dispose();
  return result;
}

/** Sums the parts in order; weights from [tap][in][out] to (out, in, k, k). */
function addParts(
  dw: tf.Tensor,
  db: tf.Tensor,
  { inChannels, outChannels, k }: ConvSizes,
  parts: number,
): { dw: tf.Tensor4D; db: tf.Tensor1D } {
  const size = outChannels * inChannels * k * k;
  const [weights, bias] = launch({
    name: 'conv-dw-parts',
    inputs: { dw: { tensor: dw, type: 'f32' }, db: { tensor: db, type: 'f32' } },
    outputs: {
      weights: { shape: [outChannels, inChannels, k, k], type: 'f32' },
      bias: { shape: [outChannels], type: 'f32' },
    },
    uniforms: {
      size: ['u32', size],
      parts: ['u32', parts],
      taps: ['u32', k * k],
      inChannels: ['u32', inChannels],
      outChannels: ['u32', outChannels],
    },
    groups: flatGroups(Math.ceil(size / 64)),
    wgsl: () => `${FLAT_GROUP}
@compute @workgroup_size(64) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = flatGroup(group, groups) * 64u + lane;
  if (i >= u.size) { return; }
  let o = i % u.outChannels; let c = (i / u.outChannels) % u.inChannels; let tap = i / (u.outChannels * u.inChannels);
  var sum = dw[i];
  for (var part = 1u; part < u.parts; part++) { sum += dw[part * u.size + i]; }
  weights[(o * u.inChannels + c) * u.taps + tap] = sum;
  if (i < u.outChannels) {
    var total = db[i];
    for (var part = 1u; part < u.parts; part++) { total += db[part * u.outChannels + i]; }
    bias[i] = total;
  }
}`,
  });
  return { dw: weights as tf.Tensor4D, db: bias as tf.Tensor1D };
}
