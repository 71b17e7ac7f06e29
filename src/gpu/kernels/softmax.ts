/**
 * @file Softmax over the last axis, forward and gradient, one dispatch each. May import gpu/launch, tfjs.
 * Outside the tape; the operation is in ops/softmax.ts. The row's maximum is subtracted first, so no exponential overflows.
 * The exponentials are parked in the output and scaled there by the invocation that wrote them. Tiles: see rows.ts.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { launch } from '../launch';
import { rowFrame, rowGroups, rowLayout, rowVariant, type RowVariant } from './rows';

const LOWEST = '-3.4028234e38';

const FORWARD = `
  var top = T(${LOWEST});
  for (var j = start; j < u.n; j += step) { top = max(top, x[base + j]); }
  let m = largest(vec2<f32>(highest(top), ${LOWEST})).x;
  var s = T(0.0);
  for (var j = start; j < u.n; j += step) {
    let e = exp(x[base + j] - m);
    s += e;
    if (inside) { y[base + j] = e; }
  }
  let share = 1.0 / total(vec2<f32>(within(s), 0.0)).x;
  if (inside) {
    for (var j = start; j < u.n; j += step) { y[base + j] = y[base + j] * share; }
  }`;

const GRADIENT = `
  var s = T(0.0);
  for (var j = start; j < u.n; j += step) { s += dy[base + j] * y[base + j]; }
  let along = total(vec2<f32>(within(s), 0.0)).x;
  if (inside) {
    for (var j = start; j < u.n; j += step) { dx[base + j] = y[base + j] * (dy[base + j] - along); }
  }`;

/** x [..., n] -> the same shape. */
export function softmaxForward(x: tf.Tensor, variant: RowVariant = rowVariant()): tf.Tensor {
  const c = x.shape[x.rank - 1] as number;
  const rows = x.size / c;
  const { T, n, lanes } = rowLayout(c, variant);
  return launch({
    name: 'softmax',
    variant: `lanes${lanes}`,
    inputs: { x: { tensor: x, type: T } },
    outputs: { y: { shape: x.shape, type: T } },
    uniforms: { rows: ['u32', rows], n: ['u32', n] },
    groups: rowGroups(rows, lanes),
    wgsl: () => rowFrame(T, lanes, FORWARD),
  })[0] as tf.Tensor;
}

/** dx = y (dy - sum(dy y)), shapes of y. */
export function softmaxInputGradient(
  dy: tf.Tensor,
  y: tf.Tensor,
  variant: RowVariant = rowVariant(),
): tf.Tensor {
  const c = y.shape[y.rank - 1] as number;
  const rows = y.size / c;
  const { T, n, lanes } = rowLayout(c, variant);
  return launch({
    name: 'softmax-gradient',
    variant: `lanes${lanes}`,
    inputs: { dy: { tensor: dy, type: T }, y: { tensor: y, type: T } },
    outputs: { dx: { shape: y.shape, type: T } },
    uniforms: { rows: ['u32', rows], n: ['u32', n] },
    groups: rowGroups(rows, lanes),
    wgsl: () => rowFrame(T, lanes, GRADIENT),
  })[0] as tf.Tensor;
}
