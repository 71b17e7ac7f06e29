/**
 * @file GroupNorm of channels-last images: forward and gradients. May import gpu/launch, tfjs. Outside the tape; the operation is in
 * ops/normalize.ts. Definition: torch.nn.GroupNorm (biased variance over positions and the channels of a group).
 *
 * Statistics: blocks of rows per channel as in BatchNorm, joined over blocks and the group's channels (Chan's formula, relative to the
 * first block). Gradient: A = sum over positions of dy n and B = sum of dy, per image and channel; weight and bias are their sums
 * over images, and dx = r (g - (sum_group w B) / N - n (sum_group w A) / N) with g = dy w, N = positions * channels per group.
 * Four channels at a time where a group's channels are a multiple of four, so that an item lies in one group.
 */
import * as tf from '@tensorflow/tfjs-core';
import { launch } from '../launch';
import { statisticsBlocks } from './batchNorm';
import { columnBlocks, columnMap, sumBlocks } from './columnSums';

const WORKGROUP = 64;

interface Sizes {
  readonly images: number;
  readonly positions: number;
  readonly c: number;
  readonly groups: number;
  readonly per: number; // channels per group
}

function sizes(x: tf.Tensor, groups: number): Sizes {
  const c = x.shape[x.rank - 1] as number;
  const images = x.shape[0] as number;
  return { images, positions: x.size / c / images, c, groups, per: c / groups };
}

/** One invocation per image and group. */
const JOIN = `
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= u.size) { return; }
  let image = id.x / u.groups;
  let first = image * u.blocks * u.c + id.x % u.groups * u.per;
  let shift = p0[first];
  var s = 0.0;
  for (var b = 0u; b < u.blocks; b++) {
    let size = f32(min(u.rows, (b + 1u) * u.blockRows) - b * u.blockRows);
    var part = 0.0;
    for (var k = 0u; k < u.per; k++) { part += p0[first + b * u.c + k] - shift; }
    s += part * size;
  }
  let away = s * u.share;
  var m2 = 0.0;
  for (var b = 0u; b < u.blocks; b++) {
    let size = f32(min(u.rows, (b + 1u) * u.blockRows) - b * u.blockRows);
    var part = 0.0;
    var squares = 0.0;
    for (var k = 0u; k < u.per; k++) {
      let i = first + b * u.c + k;
      let d = (p0[i] - shift) - away;
      part += p1[i];
      squares += d * d;
    }
    m2 += part + squares * size;
  }
  mean[id.x] = shift + away;
  rstd[id.x] = 1.0 / sqrt(m2 * u.share + u.eps);
}`;

/** Mean and 1 / sqrt(variance + eps), each [images, groups]. Two dispatches. */
function groupStatistics(x: tf.Tensor, groups: number, eps: number): [tf.Tensor, tf.Tensor] {
  const { images, positions, c, per } = sizes(x, groups);
  const { tensors, blocks, blockRows } = statisticsBlocks(x, images, positions, c);
  const made = launch({
    name: 'group-norm-join',
    inputs: {
      p0: { tensor: tensors[0] as tf.Tensor, type: 'f32' },
      p1: { tensor: tensors[1] as tf.Tensor, type: 'f32' },
    },
    outputs: {
      mean: { shape: [images, groups], type: 'f32' },
      rstd: { shape: [images, groups], type: 'f32' },
    },
    uniforms: {
      size: ['u32', images * groups],
      groups: ['u32', groups],
      per: ['u32', per],
      c: ['u32', c],
      rows: ['u32', positions],
      blocks: ['u32', blocks],
      blockRows: ['u32', blockRows],
      share: ['f32', 1 / (positions * per)],
      eps: ['f32', eps],
    },
    groups: [Math.ceil((images * groups) / WORKGROUP), 1, 1],
    wgsl: () => JOIN,
  }) as [tf.Tensor, tf.Tensor];
  tf.dispose([...tensors]);
  return made;
}

/** Items per group as a uniform, and the group of a column as WGSL. */
const groupOf = 'let group_ = outer * u.groups + column / u.per; let m = mean[group_]; let r = rstd[group_];';

function groupUniforms(
  groups: number,
  per: number,
  scalar: boolean,
): Record<string, readonly ['u32', number]> {
  return { groups: ['u32', groups], per: ['u32', scalar ? per : per / 4] };
}

export interface GroupNormResult {
  readonly y: tf.Tensor;
  /** Each [images, groups], for the gradient. */
  readonly mean: tf.Tensor;
  readonly rstd: tf.Tensor;
}

/** x [b, ..., c], weight and bias (c), c a multiple of `groups`. Three dispatches. */
export function groupNormForward(
  x: tf.Tensor,
  weight: tf.Tensor,
  bias: tf.Tensor,
  groups: number,
  eps: number,
): GroupNormResult {
  const { images, c, per } = sizes(x, groups);
  const [mean, rstd] = groupStatistics(x, groups, eps);
  const scalar = per % 4 !== 0;
  const y = columnMap({
    name: 'group-norm',
    outer: images,
    columns: c,
    scalar,
    inputs: {
      x: { tensor: x, columns: true },
      weight: { tensor: weight, columns: true },
      bias: { tensor: bias, columns: true },
      mean: { tensor: mean },
      rstd: { tensor: rstd },
    },
    uniforms: groupUniforms(groups, per, scalar),
    shape: x.shape,
    before: `${groupOf} let scale = weight[column] * r; let b = bias[column];`,
    value: '(x[i] - m) * scale + b',
  });
  return { y, mean, rstd };
}

/** What the forward pass kept. */
export interface GroupNormKept {
  readonly x: tf.Tensor;
  readonly mean: tf.Tensor;
  readonly rstd: tf.Tensor;
  readonly weight: tf.Tensor;
  readonly groups: number;
}

/** A = sum over positions of dy n, B = sum of dy, each [images * c]. Two dispatches. */
export function groupNormSums(dy: tf.Tensor, kept: GroupNormKept): [tf.Tensor, tf.Tensor] {
  const { images, positions, c, per } = sizes(kept.x, kept.groups);
  const scalar = per % 4 !== 0;
  return sumBlocks(
    columnBlocks({
      name: 'group-norm-sums',
      outer: images,
      rows: positions,
      columns: c,
      scalar,
      inputs: {
        dy: { tensor: dy, columns: true },
        x: { tensor: kept.x, columns: true },
        mean: { tensor: kept.mean },
        rstd: { tensor: kept.rstd },
      },
      uniforms: groupUniforms(kept.groups, per, scalar),
      before: groupOf,
      sums: ['dy[i] * ((x[i] - m) * r)', 'dy[i]'],
    }),
  ) as [tf.Tensor, tf.Tensor];
}

/** Gradients of weight and bias, each (c), from the sums per image. One dispatch; the sums stay. */
export function groupNormParameterGradients(
  sums: readonly tf.Tensor[],
  images: number,
): [tf.Tensor, tf.Tensor] {
  const columns = (sums[0] as tf.Tensor).size / images;
  return sumBlocks({ tensors: sums, outer: 1, blocks: images, blockRows: 1, columns }, false) as [
    tf.Tensor,
    tf.Tensor,
  ];
}

/** Weighted sums over each group's channels, times 1 / N. */
const MEANS = `
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= u.size) { return; }
  let channel = id.x % u.groups * u.per;
  let first = id.x / u.groups * u.groups * u.per + channel;
  var s = vec2<f32>(0.0);
  for (var k = 0u; k < u.per; k++) {
    s += vec2<f32>(a[first + k], b[first + k]) * weight[channel + k];
  }
  along[id.x] = s.x * u.share;
  level[id.x] = s.y * u.share;
}`;

/** Gradient of x from the sums. Two dispatches; the sums stay. */
export function groupNormInputGradient(
  dy: tf.Tensor,
  kept: GroupNormKept,
  sums: readonly tf.Tensor[],
): tf.Tensor {
  const { x, mean, rstd, weight, groups } = kept;
  const { images, positions, c, per } = sizes(x, groups);
  const [along, level] = launch({
    name: 'group-norm-means',
    inputs: {
      a: { tensor: sums[0] as tf.Tensor, type: 'f32' },
      b: { tensor: sums[1] as tf.Tensor, type: 'f32' },
      weight: { tensor: weight, type: 'f32' },
    },
    outputs: {
      along: { shape: [images, groups], type: 'f32' },
      level: { shape: [images, groups], type: 'f32' },
    },
    uniforms: {
      size: ['u32', images * groups],
      groups: ['u32', groups],
      per: ['u32', per],
      share: ['f32', 1 / (positions * per)],
    },
    groups: [Math.ceil((images * groups) / WORKGROUP), 1, 1],
    wgsl: () => MEANS,
  }) as [tf.Tensor, tf.Tensor];
  const scalar = per % 4 !== 0;
  const dx = columnMap({
    name: 'group-norm-dx',
    outer: images,
    columns: c,
    scalar,
    inputs: {
      dy: { tensor: dy, columns: true },
      x: { tensor: x, columns: true },
      weight: { tensor: weight, columns: true },
      mean: { tensor: mean },
      rstd: { tensor: rstd },
      along: { tensor: along },
      level: { tensor: level },
    },
    uniforms: groupUniforms(groups, per, scalar),
    shape: dy.shape,
    before: `${groupOf} let w = weight[column]; let al = along[group_] * r; let le = level[group_];`,
    value: '(dy[i] * w - le - (x[i] - m) * al) * r',
  });
  tf.dispose([along, level]);
  return dx;
}
