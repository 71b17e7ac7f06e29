/**
 * @file Segmentation losses with their own gradients. Imports config types, gpu/ops, tfjs-core.
 * Formulas: reference/models.md section 2.4 and 9.6. Each loss is one tape node: the stock gradients would keep five full-size
 * intermediates, and differentiate comparisons, which tfjs refuses. On WebGPU the whole configured loss is one node of our kernels
 * (gpu/ops/losses.ts); the plain operations below are their twins, and the losses on other backends.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import { kernelsOn } from '../gpu/launch';
import { differentiable } from '../gpu/ops/differentiable';
import { binaryLoss, classLoss } from '../gpu/ops/losses';
import { UserError } from '../lib/errors';

export interface LossParts {
  readonly total: tf.Scalar;
  /** Unweighted terms: "bce", "dice", "ce". */
  readonly terms: Readonly<Record<string, tf.Scalar>>;
}

type LossSettings = StudioConfig['loss'];

/**
 * Channels of the network's output: 1 (a sigmoid) for two labels under a BCE-family or Dice loss, else one per label.
 * Throws UserError 'config-invalid' where loss and channels contradict each other.
 */
export function resolveOutChannels(config: StudioConfig): number {
  const { num_classes: classes, out_channels: asked } = config.model;
  const sigmoid = config.loss.name === 'bce' || config.loss.name === 'bce_dice';
  const one = classes === 2 && (sigmoid || config.loss.name === 'dice');
  const channels = asked === 'auto' ? (one ? 1 : classes) : asked;
  if (channels !== 1 && channels !== classes) {
    throw new UserError(
      'config-invalid',
      `model.out_channels=${channels} fits neither 1 nor model.num_classes=${classes}`,
      {
        subject: 'model.out_channels',
        hint: 'Use auto.',
      },
    );
  }
  if (sigmoid && channels !== 1) {
    throw new UserError(
      'config-invalid',
      `loss.name=${config.loss.name} needs two classes, model.num_classes is ${classes}`,
      {
        subject: 'loss.name',
        hint: 'Use loss.name=ce_dice, ce or dice for more than two classes.',
      },
    );
  }
  if (channels === 1 && (classes !== 2 || config.loss.name === 'ce' || config.loss.name === 'ce_dice')) {
    throw new UserError(
      'config-invalid',
      `loss.name=${config.loss.name} needs one output channel per class, there is one`,
      {
        subject: 'model.out_channels',
        hint: 'Use model.out_channels=auto.',
      },
    );
  }
  const weights = config.loss.class_weights;
  if (weights !== null && config.loss.name.startsWith('ce') && weights.length !== channels) {
    throw new UserError(
      'config-invalid',
      `loss.class_weights has ${weights.length} values, the model ${channels} classes`,
      { subject: 'loss.class_weights', hint: 'One weight per class, the background first.' },
    );
  }
  return channels;
}

/** Mean over pixels of pos_weight y softplus(-x) + (1 - y) softplus(x). x, y [...] of one shape, y in {0, 1} (or soft). */
export function bceWithLogits(x: tf.Tensor, y: tf.Tensor, posWeight = 1): tf.Scalar {
  if (kernelsOn()) return binaryLoss(x, y, { bce: 1, dice: null, posWeight, smooth: 0 }).total;
  return differentiable(
    { x },
    (save) => {
      save([x, y]);
      const positive = tf.mul(tf.mul(y, posWeight), softplus(tf.neg(x)));
      return tf.mean(tf.add(positive, tf.mul(tf.sub(1, y), softplus(x)))) as tf.Scalar;
    },
    (dy, [x0, y0]) => ({
      x: () => {
        const p = tf.sigmoid(x0 as tf.Tensor);
        const t = y0 as tf.Tensor;
        const down = tf.mul(tf.mul(t, posWeight), tf.sub(1, p));
        const slope = tf.sub(tf.mul(tf.sub(1, t), p), down);
        return tf.mul(slope, tf.div(dy, x.size));
      },
    }),
  );
}

/** log(1 + e^x) without overflow on every backend: max(x, 0) + log1p(e^-|x|). */
function softplus(x: tf.Tensor): tf.Tensor {
  return tf.add(tf.relu(x), tf.log1p(tf.exp(tf.neg(tf.abs(x)))));
}

/** 1 - (2 sum(pt) + s) / (sum(p^2) + sum(t^2) + s) with p = sigmoid(x), one sum over the whole batch. */
export function diceSigmoid(x: tf.Tensor, t: tf.Tensor, smooth: number): tf.Scalar {
  if (kernelsOn()) return binaryLoss(x, t, { bce: null, dice: 1, posWeight: 1, smooth }).total;
  return differentiable(
    { x },
    (save) => {
      const p = tf.sigmoid(x);
      const top = tf.add(tf.mul(tf.sum(tf.mul(p, t)), 2), smooth);
      const bottom = tf.add(tf.add(tf.sum(tf.square(p)), tf.sum(tf.square(t))), smooth);
      save([p, t, top, bottom]);
      return tf.sub(1, tf.div(top, bottom)) as tf.Scalar;
    },
    (dy, [p, t0, top, bottom]) => ({
      x: () => {
        const [pp, tt, a, b] = [p, t0, top, bottom] as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
        // d(1 - a/b)/dp = (2 p a / b - 2 t) / b
        const slope = tf.div(tf.mul(tf.sub(tf.mul(pp, tf.div(a, b)), tt), 2), b);
        return tf.mul(tf.mul(slope, tf.mul(pp, tf.sub(1, pp))), dy);
      },
    }),
  );
}

/** Softmax over the last axis, composed: stock WebGPU softmax corrupts the last row above 65,535 rows. x [rows, c]. */
function softmaxRows(x: tf.Tensor2D): tf.Tensor2D {
  const e = tf.exp(tf.sub(x, tf.max(x, 1, true)));
  return tf.div(e, tf.sum(e, 1, true)) as tf.Tensor2D;
}

/** As `diceSigmoid` per class over softmax probabilities, mean over classes, background included. x, t [rows, c]. Plain operations; the kernel is `classLoss`. */
export function diceSoftmax(x: tf.Tensor2D, t: tf.Tensor2D, smooth: number): tf.Scalar {
  const classes = x.shape[1];
  return differentiable(
    { x },
    (save) => {
      const p = softmaxRows(x);
      const top = tf.add(tf.mul(tf.sum(tf.mul(p, t), 0, true), 2), smooth); // [1, c]
      const bottom = tf.add(tf.add(tf.sum(tf.square(p), 0, true), tf.sum(tf.square(t), 0, true)), smooth);
      save([p, t, top, bottom]);
      return tf.sub(1, tf.mean(tf.div(top, bottom))) as tf.Scalar;
    },
    (dy, [p, t0, top, bottom]) => ({
      x: () => {
        const [pp, tt, a, b] = [p, t0, top, bottom] as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
        const slope = tf.div(tf.mul(tf.sub(tf.mul(pp, tf.div(a, b)), tt), 2 / classes), b);
        const centred = tf.sub(slope, tf.sum(tf.mul(slope, pp), 1, true));
        return tf.mul(tf.mul(centred, pp), dy);
      },
    }),
  );
}

/**
 * Cross entropy, torch's weighted mean: sum w_y nll / sum w_y. x, oneHot [rows, c]. Plain operations; the kernel is `classLoss`.
 * @param weights one per class, or null for all ones.
 */
export function crossEntropy(
  x: tf.Tensor2D,
  oneHot: tf.Tensor2D,
  weights: readonly number[] | null,
): tf.Scalar {
  const rows = x.shape[0];
  return differentiable(
    { x },
    (save) => {
      const z = tf.sub(x, tf.max(x, 1, true));
      const logSum = tf.log(tf.sum(tf.exp(z), 1, true));
      const nll = tf.sub(logSum, tf.sum(tf.mul(z, oneHot), 1, true)); // [rows, 1]
      const w =
        weights === null
          ? null
          : tf.sum(tf.mul(oneHot, tf.tensor2d([...weights], [1, weights.length])), 1, true);
      const total = w === null ? tf.scalar(rows) : tf.sum(w);
      save(w === null ? [x, oneHot, total] : [x, oneHot, total, w]);
      return tf.div(tf.sum(w === null ? nll : tf.mul(nll, w)), total) as tf.Scalar;
    },
    (dy, [x0, t, total, w]) => ({
      x: () => {
        const slope = tf.sub(softmaxRows(x0 as tf.Tensor2D), t as tf.Tensor);
        const weighted = w === undefined ? slope : tf.mul(slope, w);
        return tf.mul(weighted, tf.div(dy, total as tf.Tensor));
      },
    }),
  );
}

/** Which terms the configured loss has, and their weights; a loss of one term ignores the weights. */
function termWeights({ name, bce_weight, dice_weight, ce_weight }: LossSettings): {
  bce: number | null;
  ce: number | null;
  dice: number | null;
} {
  const alone = !name.includes('_');
  return {
    bce: name.startsWith('bce') ? (alone ? 1 : bce_weight) : null,
    ce: name.startsWith('ce') ? (alone ? 1 : ce_weight) : null,
    dice: name.endsWith('dice') ? (alone ? 1 : dice_weight) : null,
  };
}

/**
 * The configured loss. On WebGPU the terms carry no gradient, only the total does.
 * @param logits [b, h, w, c], c = 1 for a sigmoid output.
 * @param labels [b, h, w] int32 label indices.
 */
export function segmentationLoss(
  settings: LossSettings,
  logits: tf.Tensor4D,
  labels: tf.Tensor3D,
): LossParts {
  if (!kernelsOn()) return composedLoss(settings, logits, labels);
  const channels = logits.shape[3];
  const { bce, ce, dice } = termWeights(settings);
  const { smooth, pos_weight: posWeight, class_weights: classWeights } = settings;
  const y = tf.reshape(labels, [labels.size]) as tf.Tensor1D;
  if (channels === 1) return binaryLoss(tf.reshape(logits, [-1]), y, { bce, dice, posWeight, smooth });
  const x = tf.reshape(logits, [-1, channels]) as tf.Tensor2D;
  return classLoss(x, y, { ce, dice, classWeights, smooth });
}

/** `segmentationLoss` of plain operations. */
function composedLoss(settings: LossSettings, logits: tf.Tensor4D, labels: tf.Tensor3D): LossParts {
  const channels = logits.shape[3];
  const terms: Record<string, tf.Scalar> = {};
  const weights = termWeights(settings);
  if (channels === 1) {
    const x = tf.reshape(logits, [logits.size]);
    const y = tf.reshape(tf.cast(labels, 'float32'), [labels.size]);
    if (weights.bce !== null) terms['bce'] = bceWithLogits(x, y, settings.pos_weight);
    if (weights.dice !== null) terms['dice'] = diceSigmoid(x, y, settings.smooth);
  } else {
    const x = tf.reshape(logits, [-1, channels]) as tf.Tensor2D;
    const flat = tf.reshape(tf.cast(labels, 'int32'), [labels.size]) as tf.Tensor1D;
    const oneHot = tf.cast(tf.oneHot(flat, channels), 'float32') as tf.Tensor2D;
    if (weights.ce !== null) terms['ce'] = crossEntropy(x, oneHot, settings.class_weights);
    if (weights.dice !== null) terms['dice'] = diceSoftmax(x, oneHot, settings.smooth);
  }
  const parts = Object.entries(terms).map(
    ([name, value]) => tf.mul(value, weights[name as keyof typeof weights] as number) as tf.Scalar,
  );
  const total = parts.reduce((a, b) => tf.add(a, b) as tf.Scalar);
  return { total, terms };
}
