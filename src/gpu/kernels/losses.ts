/**
 * @file Segmentation and distillation losses on int32 labels: value in two dispatches, gradient in one. May import gpu/launch, tfjs.
 *
 * The value: partial sums over pixels, then a finish that turns the sums into the loss (kernels/reduce.ts). All terms of a configured
 * loss share one pass over the pixels: BCE + Dice share the sigmoid, CE + Dice the softmax. The gradient recomputes both from the
 * logits instead of keeping probabilities, and reads the upstream gradient and the sums on the device.
 *
 * Formulas: reference/models.md section 2.4 (the twins in nn/losses.ts). WGSL allows `log` an absolute error of 2^-21 near 1, where
 * confident pixels lie; log1p is therefore our own series.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { finishSums, partialSums, perItem } from './reduce';

/** Classes whose sums one invocation keeps; more are spread over the second dimension of the dispatch. */
const CLASS_BLOCK = 8;

/** log(1 + e), 0 <= e <= 1, by 2 atanh(e / (2 + e)); next term 1.4e-9. Above 1, log is accurate. */
export const LOG1P = `
fn log1p(e: f32) -> f32 {
  if (e > 1.0) { return log(1.0 + e); }
  let s = e / (2.0 + e);
  let z = s * s;
  return 2.0 * s * (1.0 + z * (1.0 / 3.0 + z * (0.2 + z * (1.0 / 7.0 + z * (1.0 / 9.0 + z * (1.0 / 11.0
    + z * (1.0 / 13.0 + z / 15.0)))))));
}`;

export interface BinaryTerms {
  /** Weight of the BCE term, or null without it. */
  readonly bce: number | null;
  /** Weight of the Dice term, or null without it. */
  readonly dice: number | null;
  readonly posWeight: number;
  readonly smooth: number;
}

/** Value of a loss: weighted total, unweighted terms by name, and what the gradient needs besides the inputs. */
export interface LossValue {
  readonly total: tf.Scalar;
  readonly terms: Readonly<Record<string, tf.Scalar>>;
  readonly sums: tf.Tensor | null;
}

const scalar = { shape: [], type: 'f32' } as const;
const size = (x: tf.TensorInfo): number => x.shape.reduce((a, b) => a * b, 1);
const targetType = (y: tf.TensorInfo): string => (y.dtype === 'float32' ? 'f32' : 'i32');

/** Names the outputs of a finish: total, the terms in order, sums last if any. */
function named(outputs: readonly tf.Tensor[], names: readonly string[], sums: boolean): LossValue {
  return {
    total: outputs[0] as tf.Scalar,
    terms: Object.fromEntries(names.map((name, i) => [name, outputs[i + 1] as tf.Scalar])),
    sums: sums ? (outputs[names.length + 1] as tf.Tensor) : null,
  };
}

/** p = sigmoid(x) and q = 1 - p, both to full relative precision. */
const SIGMOID = 'let e = exp(-abs(a)); let r = 1.0 / (1.0 + e); let p = select(e * r, r, a >= 0.0); let q = select(r, e * r, a >= 0.0);'; // prettier-ignore

/**
 * bce * mean(posWeight y softplus(-x) + (1 - y) softplus(x)) + dice * (1 - (2 sum(py) + s) / (sum(p^2) + sum(y^2) + s)).
 * @param x logits, float32. @param y targets of the same size, int32 {0, 1} or float32.
 */
export function binaryLoss(x: tf.TensorInfo, y: tf.TensorInfo, terms: BinaryTerms): LossValue {
  const names = (['bce', 'dice'] as const).filter((name) => terms[name] !== null);
  const partials = partialSums({
    name: 'binary-loss-partials',
    variant: names.join('-'),
    inputs: { x: { tensor: x, type: 'f32' }, y: { tensor: y, type: targetType(y) } },
    uniforms: { posWeight: ['f32', terms.posWeight] },
    items: size(x),
    accumulators: 1,
    functions: () => LOG1P,
    body: () => `let a = x[j]; let t = f32(y[j]); ${SIGMOID}
      ${terms.bce === null ? '' : 'let l = log1p(e); part0.x += u.posWeight * t * (max(-a, 0.0) + l) + (1.0 - t) * (max(a, 0.0) + l);'}
      ${terms.dice === null ? '' : 'part0 += vec4<f32>(0.0, p * t, p * p, t * t);'}`,
  });
  const value = finishSums({
    name: 'binary-loss',
    variant: names.join('-'),
    partials,
    outputs: {
      all: scalar,
      ...Object.fromEntries(names.map((name) => [name, scalar])),
      ...(terms.dice === null ? {} : { sums: { shape: [2], type: 'vec2<f32>' } }),
    },
    uniforms: {
      count: ['f32', size(x)],
      softening: ['f32', terms.smooth],
      bceWeight: ['f32', terms.bce ?? 0],
      diceWeight: ['f32', terms.dice ?? 0],
    },
    body: () => `let s = total(0u, lane);
      if (lane != 0u) { return; }
      var sum = 0.0;
      ${terms.bce === null ? '' : 'bce[0] = s.x / u.count; sum += u.bceWeight * (s.x / u.count);'}
      ${
        terms.dice === null
          ? ''
          : `let top = 2.0 * s.y + u.softening; let bottom = s.z + s.w + u.softening; sums[0] = vec2<f32>(top, bottom);
      dice[0] = 1.0 - top / bottom; sum += u.diceWeight * (1.0 - top / bottom);`
      }
      all[0] = sum;`,
  });
  return named(value, names, terms.dice !== null);
}

/** Gradient of `binaryLoss` by x, shape of x. @param sums of the value. @param dy scalar on the device. */
export function binaryLossGradient(
  x: tf.TensorInfo,
  y: tf.TensorInfo,
  terms: BinaryTerms,
  sums: tf.TensorInfo | null,
  dy: tf.TensorInfo,
): tf.Tensor {
  return perItem({
    name: 'binary-loss-gradient',
    variant: `${terms.bce !== null} ${terms.dice !== null}`,
    inputs: {
      x: { tensor: x, type: 'f32' },
      y: { tensor: y, type: targetType(y) },
      dy: { tensor: dy, type: 'f32' },
      ...(sums === null ? {} : { sums: { tensor: sums, type: 'vec2<f32>' } }),
    },
    outputs: { dx: { shape: x.shape, type: 'f32' } },
    uniforms: {
      posWeight: ['f32', terms.posWeight],
      bceWeight: ['f32', (terms.bce ?? 0) / size(x)],
      diceWeight: ['f32', terms.dice ?? 0],
    },
    items: size(x),
    body: () => `let a = x[i]; let t = f32(y[i]); ${SIGMOID}
      var slope = 0.0;
      ${terms.bce === null ? '' : 'slope += u.bceWeight * ((1.0 - t) * p - u.posWeight * t * q);'}
      ${terms.dice === null ? '' : 'slope += u.diceWeight * (2.0 * (p * (sums[0].x / sums[0].y) - t) / sums[0].y) * (p * q);'}
      dx[i] = slope * dy[0];`,
  })[0] as tf.Tensor;
}

export interface ClassTerms {
  /** Weight of the cross entropy, or null without it. */
  readonly ce: number | null;
  /** Weight of the Dice term, or null without it. */
  readonly dice: number | null;
  /** One per class, or null for all ones. */
  readonly classWeights: readonly number[] | null;
  readonly smooth: number;
}

/** Up to CLASS_BLOCK classes as registers e0, e1, ...; `row` the WGSL index of the first logit. Gives m, best, rest, scale. */
function softmaxRegisters(classes: number): string {
  const all = Array.from({ length: classes }, (_, k) => k);
  return `let at = ROW * ${classes}u;
      ${all.map((k) => `let x${k} = x[at + ${k}u];`).join(' ')}
      var m = x0; var best = 0u;
      ${all.slice(1).map((k) => `if (x${k} > m) { m = x${k}; best = ${k}u; }`).join(' ')}
      ${all.map((k) => `let e${k} = exp(x${k} - m);`).join(' ')}
      let rest = ${all.map((k) => `select(e${k}, 0.0, best == ${k}u)`).join(' + ')};
      let scale = 1.0 / (1.0 + rest);`; // prettier-ignore
}

/** Any number of classes (u.classes): the row is read three times. `rest` is the sum of exp without the largest. */
const SOFTMAX_LOOP = `let at = ROW * u.classes;
      var m = x[at]; var best = 0u;
      for (var k = 1u; k < u.classes; k++) { if (x[at + k] > m) { m = x[at + k]; best = k; } }
      var rest = 0.0;
      for (var k = 0u; k < u.classes; k++) { rest += select(exp(x[at + k] - m), 0.0, k == best); }
      let scale = 1.0 / (1.0 + rest);`;

/** WGSL that adds a row to its classes' sums: (p t, p^2, t, nll of rows of this class). */
function classBody(classes: number, terms: ClassTerms): string {
  const few = classes <= CLASS_BLOCK;
  const add = (k: number, p: string, own: string, z: string): string => {
    const nll = terms.ce === null ? '0.0' : `lse - ${z}`;
    const square = terms.dice === null ? '0.0' : `${p} * ${p}`;
    return `{ let p = ${p}; let t = ${own}; part${k} += vec4<f32>(select(0.0, p, t), ${square.replaceAll(p, 'p')}, select(0.0, 1.0, t), select(0.0, ${nll}, t)); }`;
  };
  const blocks = Array.from({ length: few ? classes : CLASS_BLOCK }, (_, k) => k);
  return `let label = u32(y[j]);
      ${(few ? softmaxRegisters(classes) : SOFTMAX_LOOP).replaceAll('ROW', 'j')}
      ${terms.ce === null ? '' : 'let lse = log1p(rest);'}
      ${blocks
        .map((k) =>
          few
            ? add(k, `e${k} * scale`, `label == ${k}u`, `(x${k} - m)`)
            : `if (block * ${CLASS_BLOCK}u + ${k}u < u.classes) { let c = block * ${CLASS_BLOCK}u + ${k}u; let z = x[at + c] - m; ${add(k, 'exp(z) * scale', 'label == c', 'z')} }`,
        )
        .join('\n      ')}`;
}

/**
 * ce * (sum w_y nll / sum w_y) + dice * (1 - mean over classes of (2 sum(pt) + s) / (sum(p^2) + sum(t) + s)), p = softmax(x).
 * @param x logits [rows, classes] float32. @param y labels [rows] int32 in 0..classes-1; rows with another label belong to no class.
 */
export function classLoss(x: tf.TensorInfo, y: tf.TensorInfo, terms: ClassTerms): LossValue {
  const [rows, classes] = x.shape as [number, number];
  const names = (['ce', 'dice'] as const).filter((name) => terms[name] !== null);
  const few = classes <= CLASS_BLOCK;
  const partials = partialSums({
    name: 'class-loss-partials',
    variant: `${names.join('-')} ${few ? classes : 'many'}`,
    inputs: { x: { tensor: x, type: 'f32' }, y: { tensor: y, type: 'i32' } },
    uniforms: { classes: ['u32', classes] },
    items: rows,
    accumulators: few ? classes : CLASS_BLOCK,
    blocks: few ? 1 : Math.ceil(classes / CLASS_BLOCK),
    functions: () => LOG1P,
    body: () => classBody(classes, terms),
  });
  const weights = terms.classWeights;
  const value = finishSums({
    name: 'class-loss',
    variant: `${names.join('-')} ${weights?.join(' ') ?? ''}`,
    partials,
    outputs: {
      all: scalar,
      ...Object.fromEntries(names.map((name) => [name, scalar])),
      sums: { shape: [classes, 4], type: 'vec4<f32>' },
    },
    uniforms: {
      rows: ['f32', rows],
      classes: ['u32', classes],
      softening: ['f32', terms.smooth],
      ceWeight: ['f32', terms.ce ?? 0],
      diceWeight: ['f32', terms.dice ?? 0],
    },
    body: () => `var nll = 0.0; var weight = 0.0; var overlap = 0.0;
      ${weights === null ? '' : `var weights = array<f32, ${weights.length}>(${weights.join(', ')});`}
      for (var k = 0u; k < u.classes; k++) {
        let s = total(k, lane);
        let w = ${weights === null ? '1.0' : 'weights[k]'};
        let top = 2.0 * s.x + u.softening;
        let bottom = s.y + s.z + u.softening;
        nll += w * s.w;
        weight += w * s.z;
        ${terms.dice === null ? '' : 'overlap += top / bottom;'}
        if (lane == 0u) { sums[k] = vec4<f32>(top, bottom, w, 0.0); }
      }
      if (lane != 0u) { return; }
      ${weights === null ? 'weight = u.rows;' : ''}
      for (var k = 0u; k < u.classes; k++) { sums[k].w = weight; }
      var sum = 0.0;
      ${terms.ce === null ? '' : 'ce[0] = nll / weight; sum += u.ceWeight * (nll / weight);'}
      ${terms.dice === null ? '' : 'let loss = 1.0 - overlap / f32(u.classes); dice[0] = loss; sum += u.diceWeight * loss;'}
      all[0] = sum;`,
  });
  return named(value, names, true);
}

/** Gradient of `classLoss` by x [rows, classes]. @param sums of the value. @param dy scalar on the device. */
export function classLossGradient(
  x: tf.TensorInfo,
  y: tf.TensorInfo,
  terms: ClassTerms,
  sums: tf.TensorInfo,
  dy: tf.TensorInfo,
): tf.Tensor {
  const [rows, classes] = x.shape as [number, number];
  const few = classes <= CLASS_BLOCK;
  const all = Array.from({ length: few ? classes : 0 }, (_, k) => k);
  // d dice / d p_k without the constant factors
  const diceSlope = (k: string, p: string): string =>
    `((${p} * (sums[${k}].x / sums[${k}].y) - select(0.0, 1.0, label == ${k})) / sums[${k}].y)`;
  const dx = (k: string, p: string, slope: string): string => `dx[at + ${k}] = dy[0] * (0.0
      ${terms.dice === null ? '' : `+ u.diceWeight * (${slope} - centre) * ${p}`}
      ${terms.ce === null ? '' : `+ ce * (${p} - select(0.0, 1.0, label == ${k}))`});`;
  const ce = terms.ce === null ? '' : 'let ce = select(0.0, u.ceWeight * sums[label].z / sums[label].w, label < u.classes);'; // prettier-ignore
  const body = few
    ? `${all.map((k) => `let p${k} = e${k} * scale; let s${k} = ${terms.dice === null ? '0.0' : diceSlope(`${k}u`, `p${k}`)};`).join('\n')}
      let centre = ${all.map((k) => `s${k} * p${k}`).join(' + ')};
      ${all.map((k) => dx(`${k}u`, `p${k}`, `s${k}`)).join('\n      ')}`
    : `var centre = 0.0;
      ${terms.dice === null ? '' : `for (var k = 0u; k < u.classes; k++) { let p = exp(x[at + k] - m) * scale; centre += ${diceSlope('k', 'p')} * p; }`}
      for (var k = 0u; k < u.classes; k++) { let p = exp(x[at + k] - m) * scale; ${dx('k', 'p', diceSlope('k', 'p'))} }`;
  return perItem({
    name: 'class-loss-gradient',
    variant: `${terms.ce !== null} ${terms.dice !== null} ${few ? classes : 'many'}`,
    inputs: {
      x: { tensor: x, type: 'f32' },
      y: { tensor: y, type: 'i32' },
      dy: { tensor: dy, type: 'f32' },
      sums: { tensor: sums, type: 'vec4<f32>' },
    },
    outputs: { dx: { shape: x.shape, type: 'f32' } },
    uniforms: {
      classes: ['u32', classes],
      ceWeight: ['f32', terms.ce ?? 0],
      diceWeight: ['f32', (2 / classes) * (terms.dice ?? 0)],
    },
    items: rows,
    body: () => `let label = u32(y[i]);
      ${(few ? softmaxRegisters(classes) : SOFTMAX_LOOP).replaceAll('ROW', 'i')}
      ${ce}
      ${body}`,
  })[0] as tf.Tensor;
}
