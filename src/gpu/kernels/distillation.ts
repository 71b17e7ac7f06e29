/**
 * @file Divergence between a teacher's and a student's logits at a temperature: value in two dispatches, gradient in one. May import tfjs.
 *
 * Per row KL(teacher || student) = sum_c p_c (log p_c - log q_c), p = softmax(teacher / T), q = softmax(student / T); the loss is T^2 times
 * the mean over rows (torch: kl_div(log q, p, reduction='batchmean') * T^2 with every pixel a row; Hinton et al., arXiv:1503.02531).
 * One channel is a sigmoid: the Bernoulli divergence, which is that of the two logits (0, x). Any number of classes; a row is read
 * three times, which the caches bear.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { LOG1P } from './losses';
import { finishSums, partialSums, perItem } from './reduce';

/** WGSL of one row's log-sum-exp of `name`[at...] / T, the largest logit apart: largest, sum of the other exponentials. */
const logSum = (name: string): string => `
      var ${name}Max = ${name}[at]; var ${name}Best = 0u;
      for (var k = 1u; k < u.classes; k++) { if (${name}[at + k] > ${name}Max) { ${name}Max = ${name}[at + k]; ${name}Best = k; } }
      var ${name}Rest = 0.0;
      for (var k = 0u; k < u.classes; k++) { ${name}Rest += select(exp((${name}[at + k] - ${name}Max) * u.cool), 0.0, k == ${name}Best); }`;

const FUNCTIONS = `${LOG1P}
fn softplus(x: f32) -> f32 { return max(x, 0.0) + log1p(exp(-abs(x))); }
fn sigmoid(x: f32) -> f32 { let e = exp(-abs(x)); return select(e, 1.0, x >= 0.0) / (1.0 + e); }`;

const SIGMOID_VALUE = `let a = teacher[j] * u.cool; let b = student[j] * u.cool;
      part0.x += sigmoid(a) * (softplus(-b) - softplus(-a)) + sigmoid(-a) * (softplus(b) - softplus(a));`;

const SOFTMAX_VALUE = `let at = j * u.classes; ${logSum('teacher')} ${logSum('student')}
      let shift = log1p(studentRest) - log1p(teacherRest); let scale = 1.0 / (1.0 + teacherRest);
      for (var k = 0u; k < u.classes; k++) {
        let a = (teacher[at + k] - teacherMax) * u.cool; let b = (student[at + k] - studentMax) * u.cool;
        part0.x += exp(a) * scale * (a - b + shift);
      }`;

const SOFTMAX_SLOPE = `let at = i * u.classes; ${logSum('teacher')} ${logSum('student')}
      for (var k = 0u; k < u.classes; k++) {
        let p = exp((teacher[at + k] - teacherMax) * u.cool) / (1.0 + teacherRest);
        let q = exp((student[at + k] - studentMax) * u.cool) / (1.0 + studentRest);
        dx[at + k] = u.factor * dy[0] * (q - p);
      }`;

const SIGMOID_SLOPE =
  'dx[i] = u.factor * dy[0] * (sigmoid(student[i] * u.cool) - sigmoid(teacher[i] * u.cool));';

function rowsOf(x: tf.TensorInfo): { rows: number; classes: number; one: boolean } {
  const classes = x.shape[x.shape.length - 1] as number;
  const rows = x.shape.slice(0, -1).reduce((a, b) => a * b, 1);
  return { rows, classes, one: classes === 1 };
}

/** T^2 times the mean divergence of the rows. @param student, teacher float32 logits of one shape [..., classes]. */
export function divergence(student: tf.TensorInfo, teacher: tf.TensorInfo, temperature: number): tf.Scalar {
  const { rows, classes, one } = rowsOf(student);
  const partials = partialSums({
    name: 'kl-partials',
    variant: one ? 'sigmoid' : 'softmax',
    inputs: { student: { tensor: student, type: 'f32' }, teacher: { tensor: teacher, type: 'f32' } },
    uniforms: { classes: ['u32', classes], cool: ['f32', 1 / temperature] },
    items: rows,
    accumulators: 1,
    functions: () => FUNCTIONS,
    body: () => (one ? SIGMOID_VALUE : SOFTMAX_VALUE),
  });
  return finishSums({
    name: 'kl',
    partials,
    outputs: { y: { shape: [], type: 'f32' } },
    uniforms: { factor: ['f32', temperature ** 2 / rows] },
    body: () => 'let s = total(0u, lane); if (lane == 0u) { y[0] = s.x * u.factor; }',
  })[0] as tf.Scalar;
}

/** Gradient of `divergence` by the student's logits: T (q - p) / rows * dy. @param dy scalar on the device. */
export function divergenceGradient(
  student: tf.TensorInfo,
  teacher: tf.TensorInfo,
  temperature: number,
  dy: tf.TensorInfo,
): tf.Tensor {
  const { rows, classes, one } = rowsOf(student);
  return perItem({
    name: 'kl-gradient',
    variant: one ? 'sigmoid' : 'softmax',
    inputs: {
      student: { tensor: student, type: 'f32' },
      teacher: { tensor: teacher, type: 'f32' },
      dy: { tensor: dy, type: 'f32' },
    },
    outputs: { dx: { shape: student.shape, type: 'f32' } },
    uniforms: {
      classes: ['u32', classes],
      cool: ['f32', 1 / temperature],
      factor: ['f32', temperature / rows],
    },
    items: rows,
    functions: () => FUNCTIONS,
    body: () => (one ? SIGMOID_SLOPE : SOFTMAX_SLOPE),
  })[0] as tf.Tensor;
}
