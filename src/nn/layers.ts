/**
 * @file Layers by checkpoint name: each reads `<name>.weight`, `<name>.bias`, ... from the forward context. Imports gpu/ops, lib.
 * Images are [b, h, w, c], token sequences [b, n, c]; weights stay in torch's layout.
 */
import * as tf from '@tensorflow/tfjs-core';
import { conv2d, depthwiseConv2d, type ConvOptions } from '../gpu/ops/conv';
import { scaleBy } from '../gpu/ops/elementwise';
import { linear } from '../gpu/ops/matmul';
import { batchNormEval, batchNormTrain, layerNorm } from '../gpu/ops/normalize';
import { dropoutMask } from './masks';

/** What a layer needs from the pass it runs in; `models/types.ts` ForwardContext is one. */
export interface LayerContext {
  param(name: string): tf.Tensor;
  readonly training: boolean;
  readonly seed: number;
  readonly step: number;
  /** Takes ownership of `value` (already kept): it survives the enclosing tidy until the receiver disposes of it. */
  updateBuffer(name: string, value: tf.Tensor): void;
}

/** torch's BatchNorm2d defaults. */
const BATCH_NORM_EPS = 1e-5;
const BATCH_NORM_MOMENTUM = 0.1;

/** Linear over the last axis: weight (out, in), bias (out). */
export function linearLayer<T extends tf.Tensor>(ctx: LayerContext, name: string, x: T, bias = true): T {
  const w = ctx.param(`${name}.weight`) as tf.Tensor2D;
  return linear(x, w, bias ? (ctx.param(`${name}.bias`) as tf.Tensor1D) : null) as T;
}

/** LayerNorm over the last axis. */
export function layerNormLayer<T extends tf.Tensor>(ctx: LayerContext, name: string, x: T, eps: number): T {
  const weight = ctx.param(`${name}.weight`) as tf.Tensor1D;
  return layerNorm(x, weight, ctx.param(`${name}.bias`) as tf.Tensor1D, eps) as T;
}

/** Conv2d: weight (out, in, k, k), bias (out). */
export function convLayer(
  ctx: LayerContext,
  name: string,
  x: tf.Tensor4D,
  options: ConvOptions = { stride: 1, padding: 0 },
): tf.Tensor4D {
  const w = ctx.param(`${name}.weight`) as tf.Tensor4D;
  return conv2d(x, w, ctx.param(`${name}.bias`) as tf.Tensor1D, options);
}

/** Depthwise Conv2d, stride 1, same size: weight (c, 1, k, k), bias (c). */
export function depthwiseLayer(ctx: LayerContext, name: string, x: tf.Tensor4D): tf.Tensor4D {
  const w = ctx.param(`${name}.weight`) as tf.Tensor4D;
  return depthwiseConv2d(x, w, ctx.param(`${name}.bias`) as tf.Tensor1D);
}

/** torch's running update, kept for the receiver of `updateBuffer`. */
function blend(old: tf.Tensor, now: tf.Tensor, factor: number): tf.Tensor {
  return tf.keep(tf.add(tf.mul(old, 1 - BATCH_NORM_MOMENTUM), tf.mul(now, BATCH_NORM_MOMENTUM * factor)));
}

/**
 * BatchNorm2d. Training: batch statistics; the new running statistics (torch's momentum 0.1, unbiased variance) go to
 * `updateBuffer`. Evaluation: running statistics.
 */
export function batchNormLayer<T extends tf.Tensor>(ctx: LayerContext, name: string, x: T): T {
  const weight = ctx.param(`${name}.weight`) as tf.Tensor1D;
  const bias = ctx.param(`${name}.bias`) as tf.Tensor1D;
  const runningMean = ctx.param(`${name}.running_mean`) as tf.Tensor1D;
  const runningVar = ctx.param(`${name}.running_var`) as tf.Tensor1D;
  if (!ctx.training) {
    return batchNormEval(x, weight, bias, runningMean, runningVar, BATCH_NORM_EPS) as T;
  }
  const { y, mean, variance } = batchNormTrain(x, weight, bias, BATCH_NORM_EPS);
  const count = x.size / (x.shape[x.rank - 1] as number);
  const unbiased = count / Math.max(1, count - 1);
  ctx.updateBuffer(`${name}.running_mean`, blend(runningMean, mean, 1));
  ctx.updateBuffer(`${name}.running_var`, blend(runningVar, variance, unbiased));
  return y as T;
}

/** Multiplies by a random mask of the given shape (1 where it broadcasts), or does nothing outside training. */
function masked<T extends tf.Tensor>(
  ctx: LayerContext,
  name: string,
  x: T,
  rate: number,
  maskShape: readonly number[],
): T {
  if (!ctx.training || rate === 0) return x;
  const length = maskShape.reduce((a, b) => a * b, 1);
  const values = dropoutMask(length, 1 - rate, [ctx.seed, ctx.step, name]);
  return scaleBy(x, tf.tensor(values, [...maskShape]));
}

/** Dropout of single values, scaled by 1 / keep. */
export function dropout<T extends tf.Tensor>(ctx: LayerContext, name: string, x: T, rate: number): T {
  return masked(ctx, name, x, rate, x.shape);
}

/** Dropout of whole channels of each image. */
export function dropout2d(ctx: LayerContext, name: string, x: tf.Tensor4D, rate: number): tf.Tensor4D {
  return masked(ctx, name, x, rate, [x.shape[0], 1, 1, x.shape[3]]);
}

/** Stochastic depth: drops a residual branch for whole samples, scaled by 1 / keep (timm's DropPath). */
export function dropPath<T extends tf.Tensor>(ctx: LayerContext, name: string, x: T, rate: number): T {
  return masked(ctx, name, x, rate, [x.shape[0] as number, ...x.shape.slice(1).map(() => 1)]);
}
