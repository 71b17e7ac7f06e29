/**
 * @file LayerNorm over the last axis: forward, gradient of the input, gradients of weight and bias. May import gpu/launch, tfjs.
 * Outside the tape; the operation is in ops/normalize.ts. Definition: torch.nn.functional.layer_norm (biased variance).
 *
 * Statistics take two passes over the row (mean, then squared deviations), so a large mean costs no digits; the gradient reads x again
 * instead of a stored normalised copy: n = (x - mean) r, dx = r (g - mean(g) - n mean(g n)) with g = dy * weight.
 *
 * Tiles: see rows.ts.
 * Weight and bias: sums over blocks of rows (one invocation per block and column), then over the blocks, both in a fixed order.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { launch } from '../launch';
import { columnBlocks, sumBlocks } from './columnSums';
import { rowFrame, rowGroups, rowLayout, rowVariant, type RowVariant } from './rows';

const FORWARD = `
  var s = T(0.0);
  for (var j = start; j < u.n; j += step) { s += x[base + j]; }
  let m = total(vec2<f32>(within(s), 0.0)).x * u.share;
  var q = T(0.0);
  for (var j = start; j < u.n; j += step) { let d = x[base + j] - m; q += d * d; }
  let r = 1.0 / sqrt(total(vec2<f32>(within(q), 0.0)).x * u.share + u.eps);
  if (inside) {
    if (leader) { mean[row] = m; rstd[row] = r; }
    for (var j = start; j < u.n; j += step) { y[base + j] = (x[base + j] - m) * r * weight[j] + bias[j]; }
  }`;

const INPUT_GRADIENT = `
  let m = mean[row];
  let r = rstd[row];
  var s = T(0.0);
  var q = T(0.0);
  for (var j = start; j < u.n; j += step) {
    let g = dy[base + j] * weight[j];
    s += g;
    q += g * ((x[base + j] - m) * r);
  }
  let means = total(vec2<f32>(within(s), within(q))) * u.share;
  if (inside) {
    for (var j = start; j < u.n; j += step) {
      let g = dy[base + j] * weight[j];
      dx[base + j] = (g - means.x - (x[base + j] - m) * r * means.y) * r;
    }
  }`;

export interface LayerNormResult {
  readonly y: tf.Tensor;
  /** [rows] mean and 1 / sqrt(variance + eps) of each row, for the gradient. */
  readonly mean: tf.Tensor;
  readonly rstd: tf.Tensor;
}

/** x [..., c], weight and bias (c). One dispatch. */
export function layerNormForward(
  x: tf.Tensor,
  weight: tf.Tensor,
  bias: tf.Tensor,
  eps: number,
  variant: RowVariant = rowVariant(),
): LayerNormResult {
  const c = weight.size;
  const rows = x.size / c;
  const { T, n, lanes } = rowLayout(c, variant);
  const [y, mean, rstd] = launch({
    name: 'layer-norm',
    variant: `lanes${lanes}`,
    inputs: {
      x: { tensor: x, type: T },
      weight: { tensor: weight, type: T },
      bias: { tensor: bias, type: T },
    },
    outputs: {
      y: { shape: x.shape, type: T },
      mean: { shape: [rows], type: 'f32' },
      rstd: { shape: [rows], type: 'f32' },
    },
    uniforms: { rows: ['u32', rows], n: ['u32', n], share: ['f32', 1 / c], eps: ['f32', eps] },
    groups: rowGroups(rows, lanes),
    wgsl: () => rowFrame(T, lanes, FORWARD),
  }) as [tf.Tensor, tf.Tensor, tf.Tensor];
  return { y, mean, rstd };
}

/** What the forward pass kept. */
export interface LayerNormKept {
  readonly x: tf.Tensor;
  readonly mean: tf.Tensor;
  readonly rstd: tf.Tensor;
  readonly weight: tf.Tensor;
}

/** Gradient of x, shape of dy. One dispatch. */
export function layerNormInputGradient(
  dy: tf.Tensor,
  kept: LayerNormKept,
  variant: RowVariant = rowVariant(),
): tf.Tensor {
  const { x, mean, rstd, weight } = kept;
  const c = weight.size;
  const rows = x.size / c;
  const { T, n, lanes } = rowLayout(c, variant);
  return launch({
    name: 'layer-norm-dx',
    variant: `lanes${lanes}`,
    inputs: {
      dy: { tensor: dy, type: T },
      x: { tensor: x, type: T },
      mean: { tensor: mean, type: 'f32' },
      rstd: { tensor: rstd, type: 'f32' },
      weight: { tensor: weight, type: T },
    },
    outputs: { dx: { shape: dy.shape, type: T } },
    uniforms: { rows: ['u32', rows], n: ['u32', n], share: ['f32', 1 / c] },
    groups: rowGroups(rows, lanes),
    wgsl: () => rowFrame(T, lanes, INPUT_GRADIENT),
  })[0] as tf.Tensor;
}

/** Gradients of weight and bias, each (c). Two dispatches. */
export function layerNormParameterGradients(dy: tf.Tensor, kept: LayerNormKept): [tf.Tensor, tf.Tensor] {
  const { x, mean, rstd, weight } = kept;
  const c = weight.size;
  const partials = columnBlocks({
    name: 'layer-norm-dw',
    outer: 1,
    rows: x.size / c,
    columns: c,
    inputs: {
      dy: { tensor: dy, columns: true },
      x: { tensor: x, columns: true },
      mean: { tensor: mean },
      rstd: { tensor: rstd },
    },
    sums: ['dy[i] * ((x[i] - mean[row]) * rstd[row])', 'dy[i]'],
  });
  return sumBlocks(partials) as [tf.Tensor, tf.Tensor];
}
