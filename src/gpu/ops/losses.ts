/**
 * @file Losses on the tape: fused segmentation losses (kernels only), mean square, mean squared error, and the divergence of
 * distillation (kernels, or plain tfjs operations). Imports gpu, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as distillation from '../kernels/distillation';
import * as kernels from '../kernels/losses';
import type { BinaryTerms, ClassTerms, LossValue } from '../kernels/losses';
import { meanSquare, mse, mseGradient } from '../kernels/reduce';
import { kernelsOn } from '../launch';
import { differentiable, differentiableWithAside } from './differentiable';

export interface FusedLoss {
  readonly total: tf.Scalar;
  /** Unweighted, without gradient. */
  readonly terms: Readonly<Record<string, tf.Scalar>>;
}

/** One tape node from a kernel's value and gradient; the terms are its side outputs. */
function fused(
  x: tf.Tensor,
  y: tf.Tensor,
  value: () => LossValue,
  slope: (x: tf.Tensor, y: tf.Tensor, sums: tf.Tensor | null, dy: tf.Tensor) => tf.Tensor,
): FusedLoss {
  let names: readonly string[] = [];
  const [total, ...terms] = differentiableWithAside(
    { x },
    (save) => {
      const { total: sum, terms: parts, sums } = value();
      names = Object.keys(parts);
      save(sums === null ? [x, y] : [x, y, sums]);
      return [sum, ...Object.values(parts)];
    },
    (dy, [x0, y0, sums]) => ({ x: () => slope(x0 as tf.Tensor, y0 as tf.Tensor, sums ?? null, dy) }),
  ) as tf.Scalar[];
  return {
    total: total as tf.Scalar,
    terms: Object.fromEntries(names.map((name, i) => [name, terms[i] as tf.Scalar])),
  };
}

/**
 * BCE and/or Dice over a sigmoid, as one node; needs `kernelsOn()`.
 * @param x logits of any shape. @param y targets of the same size, int32 {0, 1} or float32.
 */
export function binaryLoss(x: tf.Tensor, y: tf.Tensor, terms: BinaryTerms): FusedLoss {
  return fused(
    x,
    y,
    () => kernels.binaryLoss(x, y, terms),
    (x0, y0, sums, dy) => kernels.binaryLossGradient(x0, y0, terms, sums, dy),
  );
}

/** Cross entropy and/or Dice over a softmax, as one node; needs `kernelsOn()`. x [rows, classes], y labels [rows] int32. */
export function classLoss(x: tf.Tensor2D, y: tf.Tensor1D, terms: ClassTerms): FusedLoss {
  return fused(
    x,
    y,
    () => kernels.classLoss(x, y, terms),
    (x0, y0, sums, dy) => kernels.classLossGradient(x0, y0, terms, sums as tf.Tensor, dy),
  );
}

/** Mean of x^2, any shape. */
export function meanSquareLoss(x: tf.Tensor): tf.Scalar {
  return differentiable(
    { x },
    (save) => {
      save([x]);
      return kernelsOn() ? meanSquare(x) : (tf.mean(tf.square(x)) as tf.Scalar);
    },
    (dy, [x0]) => ({ x: () => squareSlope(x0 as tf.Tensor, null, dy) }),
  );
}

/** Mean of (x - target)^2, equal shapes; no gradient by the target. */
export function mseLoss(x: tf.Tensor, target: tf.Tensor): tf.Scalar {
  return differentiable(
    { x },
    (save) => {
      save([x, target]);
      return kernelsOn() ? mse(x, target) : (tf.mean(tf.square(tf.sub(x, target))) as tf.Scalar);
    },
    (dy, [x0, t0]) => ({ x: () => squareSlope(x0 as tf.Tensor, t0 as tf.Tensor, dy) }),
  );
}

function squareSlope(x: tf.Tensor, target: tf.Tensor | null, dy: tf.Tensor): tf.Tensor {
  if (kernelsOn()) return mseGradient(x, target, dy);
  return tf.mul(target === null ? x : tf.sub(x, target), tf.mul(dy, 2 / x.size));
}

/**
 * T^2 * mean over rows of KL(teacher || student) at temperature T: torch's kl_div(..., 'batchmean') * T^2 with every pixel a row.
 * One channel means a sigmoid (Bernoulli). Student, teacher: logits [..., classes] of one shape; no gradient by the teacher.
 */
export function divergenceLoss(student: tf.Tensor, teacher: tf.Tensor, temperature: number): tf.Scalar {
  return differentiable(
    { student },
    (save) => {
      save([student, teacher]);
      return kernelsOn()
        ? distillation.divergence(student, teacher, temperature)
        : plainDivergence(student, teacher, temperature);
    },
    (dy, [s0, t0]) => ({
      student: () =>
        kernelsOn()
          ? distillation.divergenceGradient(s0 as tf.Tensor, t0 as tf.Tensor, temperature, dy)
          : plainSlope(s0 as tf.Tensor, t0 as tf.Tensor, temperature, dy),
    }),
  );
}

/** Log-probabilities [rows, classes] at a temperature; one channel becomes the two logits (0, x). */
function logProbabilities(x: tf.Tensor, temperature: number): tf.Tensor {
  const classes = x.shape[x.rank - 1] as number;
  const flat = tf.div(tf.reshape(x, [-1, classes]), temperature);
  const z = classes === 1 ? tf.concat([tf.zerosLike(flat), flat], 1) : flat;
  const centred = tf.sub(z, tf.max(z, 1, true));
  return tf.sub(centred, tf.log(tf.sum(tf.exp(centred), 1, true)));
}

function plainDivergence(student: tf.Tensor, teacher: tf.Tensor, temperature: number): tf.Scalar {
  const [q, p] = [logProbabilities(student, temperature), logProbabilities(teacher, temperature)];
  const rows = p.shape[0] as number;
  return tf.mul(tf.sum(tf.mul(tf.exp(p), tf.sub(p, q))), temperature ** 2 / rows) as tf.Scalar;
}

function plainSlope(student: tf.Tensor, teacher: tf.Tensor, temperature: number, dy: tf.Tensor): tf.Tensor {
  const classes = student.shape[student.rank - 1] as number;
  const [q, p] = [logProbabilities(student, temperature), logProbabilities(teacher, temperature)];
  const difference = tf.sub(tf.exp(q), tf.exp(p));
  const own = classes === 1 ? tf.slice(difference, [0, 1], [-1, 1]) : difference;
  return tf.mul(tf.reshape(own, student.shape), tf.mul(dy, (temperature * classes) / student.size));
}
