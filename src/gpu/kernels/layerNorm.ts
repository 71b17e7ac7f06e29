/**
 * @file LayerNorm over the last axis: forward, gradient of the input, gradients of weight and bias. May import gpu/launch, tfjs.
 * Outside the tape; the operation is in ops/normalize.ts. Definition: torch.nn.functional.layer_norm (biased variance).
 *
 * Statistics take two passes over the row (mean, then squared deviations), so a large mean costs no digits; the gradient reads x again
 * instead of a stored normalised copy: n = (x - mean) r, dx = r (g - mean(g) - n mean(g n)) with g = dy * weight.
 *
 * Software adapters: one invocation per row, no barriers; their four lanes are four rows. GPUs: `lanes` invocations per row with
 * a tree in workgroup memory, 64 / lanes rows per workgroup, so that short rows fill a workgroup too.
 * Weight and bias: sums over blocks of rows (one invocation per block and column), then over the blocks, both in a fixed order.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, isSoftwareAdapter, launch } from '../launch';
import { columnBlocks, sumBlocks } from './columnSums';

/** Which kernels run; 'rows' is the one for software adapters. */
export type RowVariant = 'rows' | 'tree';

export const rowVariant = (): RowVariant => (isSoftwareAdapter() ? 'rows' : 'tree');

const WORKGROUP = 64;

/** Items of a row of c values, and how a row is spread: 0 lanes for one invocation per row. */
export function rowLayout(c: number, variant: RowVariant): { T: string; n: number; lanes: number } {
  const quads = c % 4 === 0;
  const n = quads ? c / 4 : c;
  const lanes = variant === 'rows' ? 0 : n <= 8 ? 4 : n <= 32 ? 16 : WORKGROUP;
  return { T: quads ? 'vec4<f32>' : 'f32', n, lanes };
}

/**
 * WGSL frame of a kernel over rows: `body` sees `row` (clamped), `inside`, `base` (first item), and loops
 * `for (var j = start; j < u.n; j += step)`; `total(vec2)` adds up a pair over the row.
 */
export function rowFrame(T: string, lanes: number, body: string): string {
  const add = T === 'f32' ? 'x' : '(x.x + x.y) + (x.z + x.w)';
  const head = `alias T = ${T};
fn within(x: T) -> f32 { return ${add}; }
${FLAT_GROUP}`;
  const start = `@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) local: u32) {`;
  if (lanes === 0) {
    return `${head}
fn total(x: vec2<f32>) -> vec2<f32> { return x; }
${start}
  let row = flatGroup(group, count) * ${WORKGROUP}u + local;
  if (row >= u.rows) { return; }
  let inside = true; let leader = true; let base = row * u.n; let start = 0u; const step = 1u;
  ${body}
}`;
  }
  return `${head}
var<workgroup> tree: array<vec2<f32>, ${WORKGROUP}>;
var<private> at: u32;
fn total(x: vec2<f32>) -> vec2<f32> {
  tree[at] = x;
  workgroupBarrier();
  for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
    if (at % ${lanes}u < half) { tree[at] += tree[at + half]; }
    workgroupBarrier();
  }
  let sum = tree[at / ${lanes}u * ${lanes}u];
  workgroupBarrier();
  return sum;
}
${start}
  at = local;
  let wanted = flatGroup(group, count) * ${WORKGROUP / lanes}u + local / ${lanes}u;
  let inside = wanted < u.rows;
  let row = min(wanted, u.rows - 1u); // barriers ask all to come along
  let base = row * u.n; let start = local % ${lanes}u; const step = ${lanes}u;
  let leader = start == 0u;
  ${body}
}`;
}

export const rowGroups = (rows: number, lanes: number): [number, number, number] =>
  flatGroups(Math.ceil((rows * Math.max(1, lanes)) / WORKGROUP));

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
