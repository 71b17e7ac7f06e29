/**
 * @file BatchNorm over all axes but the last: statistics, normalisation with an optional ReLU, gradients, running statistics.
 * May import gpu/launch, tfjs. Outside the tape; the operations are in ops/normalize.ts. Definition: torch.nn.BatchNorm2d.
 *
 * Statistics: each block of rows sums deviations from its first row and their squares, which gives its mean and M2 (sum of squared
 * deviations); blocks are joined by Chan, Golub and LeVeque's formula (1983, "Algorithms for computing the sample variance"), again
 * relative to the first block, so a large mean costs no digits of the variance. Two dispatches; order fixed by the shape.
 * Everything else walks columns (columnSums.ts). Software adapters and GPUs run the same kernels: there are no barriers, and
 * neighbouring invocations read neighbouring columns.
 */
import * as tf from '@tensorflow/tfjs-core';
import { flatGroups, launch } from '../launch';
import { columnBlocks, columnMap, itemType, sumBlocks, type Partials } from './columnSums';

const WORKGROUP = 64;

/** Per block: mean, M2. [outer, blocks, columns] each. */
export function statisticsBlocks(x: tf.Tensor, outer: number, rows: number, columns: number): Partials {
  return columnBlocks({
    name: 'statistics',
    outer,
    rows,
    columns,
    inputs: { x: { tensor: x, columns: true } },
    before: 'let shift0 = x[(shift + start) * u.n + column]; let share = 1.0 / f32(end - start);',
    each: 'let d = x[i] - shift0;',
    sums: ['d', 'd * d'],
    results: ['shift0 + s0 * share', 'max(s1 - s0 * s0 * share, T(0.0))'],
  });
}

const JOIN = (T: string): string => `alias T = ${T};
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x;
  if (column >= u.n) { return; }
  let shift = p0[column];
  var s = T(0.0);
  for (var b = 0u; b < u.blocks; b++) {
    let size = f32(min(u.rows, (b + 1u) * u.blockRows) - b * u.blockRows);
    s += (p0[b * u.n + column] - shift) * size;
  }
  let away = s * u.share; // of the mean from the first block's
  var m2 = T(0.0);
  for (var b = 0u; b < u.blocks; b++) {
    let size = f32(min(u.rows, (b + 1u) * u.blockRows) - b * u.blockRows);
    let d = (p0[b * u.n + column] - shift) - away;
    m2 += p1[b * u.n + column] + d * d * size;
  }
  let v = m2 * u.share;
  mean[column] = shift + away;
  variance[column] = v;
  packed[column] = shift + away;
  packed[u.n + column] = 1.0 / sqrt(v + u.eps);
}`;

export interface BatchStatistics {
  /** Each (c); the variance is the biased one. */
  readonly mean: tf.Tensor1D;
  readonly variance: tf.Tensor1D;
  /** [2, c]: mean, 1 / sqrt(variance + eps); in one tensor because bindings are few. */
  readonly packed: tf.Tensor;
}

/** Statistics of x [..., c]. Two dispatches. */
export function batchStatistics(x: tf.Tensor, eps: number): BatchStatistics {
  const c = x.shape[x.rank - 1] as number;
  const rows = x.size / c;
  const { tensors, blocks, blockRows } = statisticsBlocks(x, 1, rows, c);
  const { T, n } = itemType(c);
  const [mean, variance, packed] = launch({
    name: 'join-statistics',
    inputs: {
      p0: { tensor: tensors[0] as tf.Tensor, type: T },
      p1: { tensor: tensors[1] as tf.Tensor, type: T },
    },
    outputs: {
      mean: { shape: [c], type: T },
      variance: { shape: [c], type: T },
      packed: { shape: [2, c], type: T },
    },
    uniforms: {
      n: ['u32', n],
      rows: ['u32', rows],
      blocks: ['u32', blocks],
      blockRows: ['u32', blockRows],
      share: ['f32', 1 / rows],
      eps: ['f32', eps],
    },
    groups: [Math.ceil(n / WORKGROUP), 1, 1],
    wgsl: () => JOIN(T),
  }) as [tf.Tensor1D, tf.Tensor1D, tf.Tensor];
  tf.dispose([...tensors]);
  return { mean, variance, packed };
}

/** Mean and reciprocal deviation of a column, m and r, from where they lie. */
export type ColumnStatistics =
  | { readonly packed: tf.Tensor }
  | { readonly mean: tf.Tensor; readonly variance: tf.Tensor; readonly eps: number };

function statisticsOf(statistics: ColumnStatistics): {
  readonly kind: string;
  readonly inputs: Readonly<Record<string, { tensor: tf.Tensor; columns: true }>>;
  readonly uniforms: Readonly<Record<string, readonly ['f32', number]>>;
  readonly before: string;
} {
  if ('packed' in statistics) {
    return {
      kind: 'batch',
      inputs: { packed: { tensor: statistics.packed, columns: true } },
      uniforms: {},
      before: 'let m = packed[column]; let r = packed[u.n + column];',
    };
  }
  return {
    kind: 'running',
    inputs: {
      mean: { tensor: statistics.mean, columns: true },
      variance: { tensor: statistics.variance, columns: true },
    },
    uniforms: { eps: ['f32', statistics.eps] },
    before: 'let m = mean[column]; let r = 1.0 / sqrt(variance[column] + u.eps);',
  };
}

/** y = (x - m) r weight + bias, then max(y, 0) if asked. One dispatch. */
export function batchNormalise(
  x: tf.Tensor,
  statistics: ColumnStatistics,
  weight: tf.Tensor,
  bias: tf.Tensor,
  relu: boolean,
): tf.Tensor {
  const { kind, inputs, uniforms, before } = statisticsOf(statistics);
  return columnMap({
    name: `batch-norm-${kind}${relu ? '-relu' : ''}`,
    columns: weight.size,
    inputs: {
      x: { tensor: x, columns: true },
      weight: { tensor: weight, columns: true },
      bias: { tensor: bias, columns: true },
      ...inputs,
    },
    uniforms,
    shape: x.shape,
    before: `${before} let scale = r * weight[column]; let b = bias[column];`,
    each: 'let v = (x[i] - m) * scale + b;',
    value: relu ? 'select(v, T(0.0), v < T(0.0))' : 'v', // a NaN passes, so that a diverged run shows
  });
}

/** What the gradients read. */
export interface BatchNormKept {
  readonly x: tf.Tensor;
  /** The output where a ReLU was fused, else null. */
  readonly y: tf.Tensor | null;
  readonly statistics: ColumnStatistics;
  readonly weight: tf.Tensor;
}

const GATED = 'select(T(0.0), dy[i], y[i] > T(0.0))';

const gate = (y: tf.Tensor | null): Record<string, { tensor: tf.Tensor; columns: true }> =>
  y === null ? {} : { y: { tensor: y, columns: true } };

/** Gradients of weight and bias, each (c): sum(g n) and sum(g), g = dy behind the ReLU. Two dispatches. */
export function batchNormParameterGradients(dy: tf.Tensor, kept: BatchNormKept): [tf.Tensor, tf.Tensor] {
  const { kind, inputs, uniforms, before } = statisticsOf(kept.statistics);
  const columns = kept.weight.size;
  const partials = columnBlocks({
    name: `batch-norm-dw-${kind}${kept.y === null ? '' : '-relu'}`,
    outer: 1,
    rows: dy.size / columns,
    columns,
    inputs: {
      dy: { tensor: dy, columns: true },
      x: { tensor: kept.x, columns: true },
      ...gate(kept.y),
      ...inputs,
    },
    uniforms,
    before,
    each: `let g = ${kept.y === null ? 'dy[i]' : GATED};`,
    sums: ['g * ((x[i] - m) * r)', 'g'],
  });
  return sumBlocks(partials) as [tf.Tensor, tf.Tensor];
}

/**
 * Gradient of x. One dispatch.
 * @param sums gradients of weight and bias in training, where the statistics depend on x; null in evaluation.
 */
export function batchNormInputGradient(
  dy: tf.Tensor,
  kept: BatchNormKept,
  sums: readonly tf.Tensor[] | null,
): tf.Tensor {
  const { kind, inputs, uniforms, before } = statisticsOf(kept.statistics);
  const columns = kept.weight.size;
  const g = kept.y === null ? 'dy[i]' : GATED;
  const common = {
    dy: { tensor: dy, columns: true },
    weight: { tensor: kept.weight, columns: true },
    ...gate(kept.y),
    ...inputs,
  };
  const suffix = `${kind}${kept.y === null ? '' : '-relu'}`;
  if (sums === null) {
    return columnMap({
      name: `batch-norm-dx-fixed-${suffix}`,
      columns,
      inputs: common,
      uniforms,
      shape: dy.shape,
      before: `${before} let scale = r * weight[column];`,
      value: `${g} * scale`,
    });
  }
  return columnMap({
    name: `batch-norm-dx-${suffix}`,
    columns,
    inputs: {
      ...common,
      x: { tensor: kept.x, columns: true },
      dw: { tensor: sums[0] as tf.Tensor, columns: true },
      db: { tensor: sums[1] as tf.Tensor, columns: true },
    },
    uniforms: { ...uniforms, share: ['f32', columns / dy.size] },
    shape: dy.shape,
    before: `${before} let scale = r * weight[column]; let along = dw[column] * u.share * r; let level = db[column] * u.share;`,
    value: `(${g} - level - (x[i] - m) * along) * scale`,
  });
}

const BLEND = `
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  if (i >= u.size) { return; }
  newMean[i] = oldMean[i] * u.rest + mean[i] * u.forMean;
  newVariance[i] = oldVariance[i] * u.rest + variance[i] * u.forVariance;
}`;

/**
 * torch's running update as two new tensors (c): old (1 - momentum) + batch momentum (variance: times `unbiasedFactor`, n / (n - 1)).
 * One dispatch.
 */
export function updateRunningStatistics(
  runningMean: tf.Tensor,
  runningVar: tf.Tensor,
  batchMean: tf.Tensor,
  batchVar: tf.Tensor,
  momentum: number,
  unbiasedFactor: number,
): [tf.Tensor1D, tf.Tensor1D] {
  const size = runningMean.size;
  return launch({
    name: 'running-statistics',
    inputs: {
      oldMean: { tensor: runningMean, type: 'f32' },
      oldVariance: { tensor: runningVar, type: 'f32' },
      mean: { tensor: batchMean, type: 'f32' },
      variance: { tensor: batchVar, type: 'f32' },
    },
    outputs: {
      newMean: { shape: [size], type: 'f32' },
      newVariance: { shape: [size], type: 'f32' },
    },
    uniforms: {
      size: ['u32', size],
      rest: ['f32', 1 - momentum],
      forMean: ['f32', momentum],
      forVariance: ['f32', momentum * unbiasedFactor],
    },
    groups: flatGroups(Math.ceil(size / WORKGROUP)),
    wgsl: () => BLEND,
  }) as [tf.Tensor1D, tf.Tensor1D];
}
