/**
 * @file Layers by checkpoint name: each reads `<name>.weight`, `<name>.bias`, ... from the forward context. Imports gpu/ops, lib.
 * Images are [b, h, w, c], token sequences [b, n, c]; weights stay in torch's layout.
 */
import * as tf from '@tensorflow/tfjs-core';
import { conv2d, depthwiseConv2d, type ConvOptions } from '../gpu/ops/conv';
import { convTranspose2x2 } from '../gpu/ops/convTranspose';
import { dropoutWithKey } from '../gpu/ops/dropout';
import { add, scaleBy } from '../gpu/ops/elementwise';
import { frozenLinear, type HalfWeight } from '../gpu/ops/frozen';
import { linear, type LinearOptions } from '../gpu/ops/matmul';
import {
  batchNormEval,
  batchNormTrain,
  blendRunningStatistics,
  layerNorm,
  type BatchNormOptions,
} from '../gpu/ops/normalize';
import { dropoutMask } from './masks';

/** What a layer needs from the pass it runs in; `models/types.ts` ForwardContext is one. */
export interface LayerContext {
  param(name: string): tf.Tensor;
  /** The weight of a linear layer where it is frozen and kept as halves, else null. */
  readonly half?: (name: string) => HalfWeight | null;
  readonly training: boolean;
  readonly seed: number;
  readonly step: number;
  /** Takes ownership of `value` (already kept): it survives the enclosing tidy until the receiver disposes of it. */
  updateBuffer(name: string, value: tf.Tensor): void;
  /** WebGPU: the key of a site's random mask, on the device; masks are then drawn there. */
  readonly randomKey?: (site: string) => tf.Tensor1D;
}

/** torch's BatchNorm2d defaults. */
const BATCH_NORM_EPS = 1e-5;
const BATCH_NORM_MOMENTUM = 0.1;

/** Linear over the last axis: weight (out, in), bias (out), the weight as halves where the context has them; then activation, then residual. */
export function linearLayer<T extends tf.Tensor>(
  ctx: LayerContext,
  name: string,
  x: T,
  options: LinearOptions = {},
): T {
  const bias = ctx.param(`${name}.bias`) as tf.Tensor1D;
  const half = ctx.half?.(`${name}.weight`) ?? null;
  if (half !== null) return frozenLinear(x, half, bias, options) as T;
  return linear(x, ctx.param(`${name}.weight`) as tf.Tensor2D, bias, options) as T;
}

/** base + dropPath(Linear(x)): the end of a residual branch, in one product where nothing is dropped. */
export function residualLinear<T extends tf.Tensor>(
  ctx: LayerContext,
  name: string,
  x: tf.Tensor,
  base: T,
  drop: { readonly site: string; readonly rate: number },
): T {
  if (!ctx.training || drop.rate === 0) {
    const residual = tf.reshape(base, [...x.shape.slice(0, -1), base.shape[base.rank - 1] as number]);
    return tf.reshape(linearLayer(ctx, name, x, { residual }), base.shape) as T;
  }
  const branch = tf.reshape(linearLayer(ctx, name, x), base.shape);
  return add(base, dropPath(ctx, drop.site, branch, drop.rate)) as T;
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

/** ConvTranspose2d with kernel = stride = 2: weight (in, out, 2, 2), bias (out). [b, h, w, in] -> [b, 2 h, 2 w, out]. */
export function convTranspose2x2Layer(ctx: LayerContext, name: string, x: tf.Tensor4D): tf.Tensor4D {
  const w = ctx.param(`${name}.weight`) as tf.Tensor4D;
  return convTranspose2x2(x, w, ctx.param(`${name}.bias`) as tf.Tensor1D);
}

/** Depthwise Conv2d, stride 1, same size: weight (c, 1, k, k), bias (c). */
export function depthwiseLayer(ctx: LayerContext, name: string, x: tf.Tensor4D): tf.Tensor4D {
  const w = ctx.param(`${name}.weight`) as tf.Tensor4D;
  return depthwiseConv2d(x, w, ctx.param(`${name}.bias`) as tf.Tensor1D);
}

/**
 * BatchNorm2d. Training: batch statistics; the new running statistics (torch's momentum 0.1, unbiased variance) go to
 * `updateBuffer`. Evaluation: running statistics.
 */
export function batchNormLayer<T extends tf.Tensor>(
  ctx: LayerContext,
  name: string,
  x: T,
  options: BatchNormOptions = {},
): T {
  const weight = ctx.param(`${name}.weight`) as tf.Tensor1D;
  const bias = ctx.param(`${name}.bias`) as tf.Tensor1D;
  const runningMean = ctx.param(`${name}.running_mean`) as tf.Tensor1D;
  const runningVar = ctx.param(`${name}.running_var`) as tf.Tensor1D;
  if (!ctx.training) {
    return batchNormEval(x, weight, bias, runningMean, runningVar, BATCH_NORM_EPS, options) as T;
  }
  const { y, mean, variance } = batchNormTrain(x, weight, bias, BATCH_NORM_EPS, options);
  const count = x.size / (x.shape[x.rank - 1] as number);
  const unbiased = count / Math.max(1, count - 1);
  const running = { mean: runningMean, variance: runningVar };
  const next = blendRunningStatistics(running, { mean, variance }, BATCH_NORM_MOMENTUM, unbiased);
  ctx.updateBuffer(`${name}.running_mean`, tf.keep(next.mean));
  ctx.updateBuffer(`${name}.running_var`, tf.keep(next.variance));
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
  if (ctx.randomKey !== undefined) return dropoutWithKey(x, ctx.randomKey(name), 1 - rate, maskShape);
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
