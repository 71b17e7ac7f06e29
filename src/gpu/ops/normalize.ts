/**
 * @file LayerNorm, BatchNorm and GroupNorm as torch has them. Imports tfjs-core only.
 * Both keep the normalised input and the reciprocal deviation for their gradient:
 * dx = r (g - mean(g) - n mean(g n)) with n the normalised input, r = 1 / sqrt(var + eps), g = dy * weight.
 */
import * as tf from '@tensorflow/tfjs-core';
import {
  batchNormalise,
  batchNormInputGradient,
  batchNormParameterGradients,
  batchStatistics,
  updateRunningStatistics,
  type BatchNormKept,
  type ColumnStatistics,
} from '../kernels/batchNorm';
import {
  groupNormForward,
  groupNormInputGradient,
  groupNormParameterGradients,
  groupNormSums,
  type GroupNormKept,
} from '../kernels/groupNorm';
import { layerNormForward, layerNormInputGradient, layerNormParameterGradients } from '../kernels/layerNorm';
import { kernelsOn } from '../launch';
import { differentiable, differentiableWithAside, together } from './differentiable';
import { relu as reluOf } from './elementwise';
import { asRows, columnSums } from './matmul';

/**
 * LayerNorm over the last axis.
 * @param x [..., c]
 * @param weight (c)
 * @param bias (c)
 * @param eps added to the biased variance; per model (reference/models.md section 9.6).
 */
export function layerNorm(x: tf.Tensor, weight: tf.Tensor1D, bias: tf.Tensor1D, eps: number): tf.Tensor {
  return kernelsOn() ? layerNormKernels(x, weight, bias, eps) : layerNormTwin(x, weight, bias, eps);
}

/** Three dispatches for the whole gradient; keeps x and two numbers per row. */
function layerNormKernels(x: tf.Tensor, weight: tf.Tensor1D, bias: tf.Tensor1D, eps: number): tf.Tensor {
  return differentiable(
    { x, weight, bias },
    (save) => {
      const { y, mean, rstd } = layerNormForward(x, weight, bias, eps);
      save([x, mean, rstd, weight]);
      return y;
    },
    (dy, saved) => {
      const [x0, mean, rstd, weight0] = saved as readonly [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
      const kept = { x: x0, mean, rstd, weight: weight0 };
      const parameters = together(() => layerNormParameterGradients(dy, kept));
      return {
        x: () => layerNormInputGradient(dy, kept),
        weight: () => parameters(0),
        bias: () => parameters(1),
      };
    },
  );
}

function layerNormTwin(x: tf.Tensor, weight: tf.Tensor1D, bias: tf.Tensor1D, eps: number): tf.Tensor {
  return differentiable(
    { x, weight, bias },
    (save) => {
      const centred = tf.sub(x, tf.mean(x, -1, true));
      const r = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), eps));
      const n = tf.mul(centred, r);
      save([n, r, weight]);
      return tf.add(tf.mul(n, weight), bias);
    },
    (dy, saved) => {
      const [n, r, weight0] = saved as readonly [tf.Tensor, tf.Tensor, tf.Tensor1D];
      return {
        x: () => {
          const g = tf.mul(dy, weight0);
          const along = tf.mul(n, tf.mean(tf.mul(g, n), -1, true));
          return tf.mul(r, tf.sub(tf.sub(g, tf.mean(g, -1, true)), along));
        },
        weight: () => columnSums(asRows(tf.mul(dy, n))),
        bias: () => columnSums(asRows(dy)),
      };
    },
  );
}

/** BatchNorm's output with the batch's mean and biased variance, each (c); these two take no gradient. */
export interface BatchNormResult {
  readonly y: tf.Tensor;
  readonly mean: tf.Tensor1D;
  readonly variance: tf.Tensor1D;
}

export interface BatchNormOptions {
  /** max(y, 0) in the same dispatch, forward and backward. */
  readonly relu?: boolean;
}

/**
 * BatchNorm in training mode: statistics over all axes but the last, biased variance.
 * @param x [..., c]
 * @param weight (c)
 * @param bias (c)
 */
export function batchNormTrain(
  x: tf.Tensor,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D,
  eps: number,
  options: BatchNormOptions = {},
): BatchNormResult {
  const relu = options.relu === true;
  if (!kernelsOn()) {
    const result = batchNormTrainTwin(x, weight, bias, eps);
    return relu ? { ...result, y: reluOf(result.y) } : result;
  }
  const [y, mean, variance] = differentiableWithAside(
    { x, weight, bias },
    (save) => {
      const batch = batchStatistics(x, eps);
      const out = batchNormalise(x, batch, weight, bias, relu);
      save(relu ? [x, batch.packed, weight, out] : [x, batch.packed, weight]);
      return [out, batch.mean, batch.variance];
    },
    (dy, saved) => {
      const [x0, packed, weight0, y0 = null] = saved as readonly [
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
        tf.Tensor?,
      ];
      return batchNormGradients(dy, { x: x0, y: y0, statistics: { packed }, weight: weight0 }, true);
    },
  ) as [tf.Tensor, tf.Tensor1D, tf.Tensor1D];
  return { y, mean, variance };
}

/** @param training whether the statistics depend on x. */
function batchNormGradients(dy: tf.Tensor, kept: BatchNormKept, training: boolean) {
  const parameters = together(() => batchNormParameterGradients(dy, kept));
  return {
    x: () => batchNormInputGradient(dy, kept, training ? parameters.all() : null),
    weight: () => parameters(0),
    bias: () => parameters(1),
  };
}

/** torch's new running statistics (c): old (1 - momentum) + batch momentum; the variance becomes unbiased by `factor`, n / (n - 1). */
export function blendRunningStatistics(
  running: { readonly mean: tf.Tensor; readonly variance: tf.Tensor },
  batch: { readonly mean: tf.Tensor; readonly variance: tf.Tensor },
  momentum: number,
  factor: number,
): { readonly mean: tf.Tensor1D; readonly variance: tf.Tensor1D } {
  if (kernelsOn()) {
    const [mean, variance] = updateRunningStatistics(
      running.mean, running.variance, batch.mean, batch.variance, momentum, factor); // prettier-ignore
    return { mean, variance };
  }
  const blend = (old: tf.Tensor, now: tf.Tensor, share: number): tf.Tensor1D =>
    tf.add(tf.mul(old, 1 - momentum), tf.mul(now, share));
  return {
    mean: blend(running.mean, batch.mean, momentum),
    variance: blend(running.variance, batch.variance, momentum * factor),
  };
}

function batchNormTrainTwin(
  x: tf.Tensor,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D,
  eps: number,
): BatchNormResult {
  const rows = x.size / (x.shape[x.rank - 1] as number);
  const columnMeans = (t: tf.Tensor): tf.Tensor1D => tf.mul(columnSums(t as tf.Tensor2D), 1 / rows);
  const [y, mean, variance] = differentiableWithAside(
    { x, weight, bias },
    (save) => {
      const flat = asRows(x);
      const batchMean = columnMeans(flat);
      const centred = tf.sub(flat, batchMean);
      const batchVariance = columnMeans(tf.square(centred));
      const r = tf.rsqrt(tf.add(batchVariance, eps));
      const n = tf.mul(centred, r);
      save([n, r, weight]);
      return [tf.reshape(tf.add(tf.mul(n, weight), bias), x.shape), batchMean, batchVariance];
    },
    (dy, saved) => {
      const [n, r, weight0] = saved as readonly [tf.Tensor2D, tf.Tensor1D, tf.Tensor1D];
      const shape = dy.shape;
      return {
        x: () => {
          const g = asRows(dy);
          const along = tf.mul(n, columnMeans(tf.mul(g, n)));
          const centred = tf.sub(tf.sub(g, columnMeans(g)), along);
          return tf.reshape(tf.mul(centred, tf.mul(r, weight0)), shape);
        },
        weight: () => columnSums(tf.mul(asRows(dy), n)),
        bias: () => columnSums(asRows(dy)),
      };
    },
  ) as [tf.Tensor, tf.Tensor1D, tf.Tensor1D];
  return { y, mean, variance };
}

/**
 * BatchNorm in evaluation mode: fixed running statistics, a scale and a shift per channel; these take no gradient.
 * @param x [..., c]; the rest (c).
 */
export function batchNormEval(
  x: tf.Tensor,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D,
  runningMean: tf.Tensor1D,
  runningVar: tf.Tensor1D,
  eps: number,
  options: BatchNormOptions = {},
): tf.Tensor {
  const relu = options.relu === true;
  if (!kernelsOn()) {
    const scale = tf.mul(weight, tf.rsqrt(tf.add(runningVar, eps)));
    const shift = tf.sub(bias, tf.mul(runningMean, scale));
    const y = tf.add(tf.mul(x, scale), shift);
    return relu ? reluOf(y) : y;
  }
  return differentiable(
    { x, weight, bias },
    (save) => {
      const statistics: ColumnStatistics = { mean: runningMean, variance: runningVar, eps };
      const y = batchNormalise(x, statistics, weight, bias, relu);
      save([x, weight, runningMean, runningVar, ...(relu ? [y] : [])]);
      return y;
    },
    (dy, saved) => {
      const [x0, weight0, mean, variance, y = null] = saved as readonly [
        tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor?]; // prettier-ignore
      return batchNormGradients(
        dy,
        { x: x0, y, statistics: { mean, variance, eps }, weight: weight0 },
        false,
      );
    },
  );
}

/**
 * GroupNorm of channels-last images, torch's: statistics per image and group over all positions and the group's channels.
 * @param x [b, ..., c], c a multiple of `groups`.
 * @param weight (c)
 * @param bias (c)
 * @throws Error when the groups do not divide the channels.
 */
export function groupNorm(
  x: tf.Tensor,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D,
  groups: number,
  eps: number,
): tf.Tensor {
  if (weight.size % groups !== 0) {
    throw new Error(`groupNorm: ${groups} groups do not divide ${weight.size} channels`);
  }
  return kernelsOn()
    ? groupNormKernels(x, weight, bias, groups, eps)
    : groupNormTwin(x, weight, bias, groups, eps);
}

function groupNormKernels(
  x: tf.Tensor,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D,
  groups: number,
  eps: number,
): tf.Tensor {
  return differentiable(
    { x, weight, bias },
    (save) => {
      const { y, mean, rstd } = groupNormForward(x, weight, bias, groups, eps);
      save([x, mean, rstd, weight]);
      return y;
    },
    (dy, saved) => {
      const [x0, mean, rstd, weight0] = saved as readonly [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
      const kept: GroupNormKept = { x: x0, mean, rstd, weight: weight0, groups };
      const sums = together(() => groupNormSums(dy, kept));
      const parameters = together(() => groupNormParameterGradients(sums.all(), x0.shape[0] as number));
      return {
        x: () => groupNormInputGradient(dy, kept, sums.all()),
        weight: () => parameters(0),
        bias: () => parameters(1),
      };
    },
  );
}

/** Plain tfjs on [b, positions, groups, channels per group], with tfjs' own gradients. */
function groupNormTwin(
  x: tf.Tensor,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D,
  groups: number,
  eps: number,
): tf.Tensor {
  const c = weight.size;
  const images = x.shape[0] as number;
  const grouped = tf.reshape(x, [images, x.size / c / images, groups, c / groups]);
  const centred = tf.sub(grouped, tf.mean(grouped, [1, 3], true));
  const r = tf.rsqrt(tf.add(tf.mean(tf.square(centred), [1, 3], true), eps));
  const n = tf.reshape(tf.mul(centred, r), x.shape);
  return tf.add(tf.mul(n, weight), bias);
}
