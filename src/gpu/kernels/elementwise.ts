/**
 * @file Element-wise kernels and the broadcasts they need: GELU, ReLU, sigmoid, add, multiply, sums over the broadcast axes.
 * May import gpu/launch, tfjs. Outside the tape; the operations are in ops/elementwise.ts.
 *
 * erf: x P(x^2) / Q(x^2) on |x| <= 4, the minimax fit of degree 13 over 8 that Eigen and XLA use; error below 1e-7, no branch and one
 * division, so it runs on vec4 as it is. An item is a vec4 where sizes allow, else one value.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, isSoftwareAdapter, launch } from '../launch';

const WORKGROUP = 64;

/** erf on T, a vec4<f32> or f32. */
export const erfWgsl = (T: string): string => `
fn erf(v: ${T}) -> ${T} {
  let x = clamp(v, ${T}(-4.0), ${T}(4.0));
  let s = x * x;
  var p = ${T}(-2.72614225801306e-10);
  p = p * s + 2.77068142495902e-08;
  p = p * s - 2.10102402082508e-06;
  p = p * s - 5.69250639462346e-05;
  p = p * s - 7.34990630326855e-04;
  p = p * s - 2.95459980854025e-03;
  p = p * s - 1.60960333262415e-02;
  var q = ${T}(-1.45660718464996e-05);
  q = q * s - 2.13374055278905e-04;
  q = q * s - 1.68282697438203e-03;
  q = q * s - 7.37332916720468e-03;
  q = q * s - 1.42647390514189e-02;
  return x * p / q;
}
fn normalCdf(x: ${T}) -> ${T} { return erf(x * ${Math.SQRT1_2}) * 0.5 + 0.5; }
`;

interface Formula {
  /** Value from x: T. */
  readonly y: string;
  /** Gradient from dy and k, the kept tensor (x or y). */
  readonly dx: string;
  readonly functions: (T: string) => string;
}

export type Activation = 'gelu' | 'relu' | 'sigmoid';

const FORMULAS: Readonly<Record<Activation, Formula>> = {
  gelu: {
    y: 'x * normalCdf(x)',
    dx: `dy * (normalCdf(k) + k * (exp(k * k * -0.5) * ${1 / Math.sqrt(2 * Math.PI)}))`,
    functions: erfWgsl,
  },
  // a NaN passes, so that a diverged run shows
  relu: { y: 'select(x, T(0.0), x < T(0.0))', dx: 'select(T(0.0), dy, k > T(0.0))', functions: () => '' },
  sigmoid: { y: '1.0 / (1.0 + exp(-x))', dx: 'dy * k * (1.0 - k)', functions: () => '' },
};

/**
 * Items (vec4 or f32) per invocation. Software adapters: 16 in a row, as starting an invocation costs as much as several items
 * (measured: 1.7 times faster than one, 1.2 times than four). GPUs: four, a workgroup apart, so that neighbours read neighbours.
 */
export type Each = 4 | 16;

export const itemsEach = (): Each => (isSoftwareAdapter() ? 16 : 4);

export const itemGroups = (count: number, each: Each): [number, number, number] =>
  flatGroups(Math.ceil(count / (WORKGROUP * each)));

/** WGSL of a kernel over items: `body` uses i; `each` from `itemsEach`. */
export const forItems = (each: Each, T: string, functions: string, body: string): string => `alias T = ${T};
${FLAT_GROUP}${functions}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let block = flatGroup(group, count) * ${WORKGROUP * each}u;
  ${
    each > 4
      ? `let first = block + lane * ${each}u; let end = min(u.size, first + ${each}u);
  for (var i = first; i < end; i++) {`
      : `let end = min(u.size, block + ${WORKGROUP * each}u);
  for (var i = block + lane; i < end; i += ${WORKGROUP}u) {`
  } ${body} }
}`;

/** Type and number of items of a tensor of `size` elements. */
function items(size: number): { T: string; count: number } {
  return size % 4 === 0 ? { T: 'vec4<f32>', count: size / 4 } : { T: 'f32', count: size };
}

/** y = f(x), any shape. */
export function activate(name: Activation, x: tf.Tensor, each = itemsEach()): tf.Tensor {
  const { T, count } = items(x.size);
  const { y, functions } = FORMULAS[name];
  return launch({
    name,
    variant: `each${each}`,
    inputs: { a: { tensor: x, type: T } },
    outputs: { b: { shape: x.shape, type: T } },
    uniforms: { size: ['u32', count] },
    groups: itemGroups(count, each),
    wgsl: () => forItems(each, T, functions(T), `let x = a[i]; b[i] = ${y};`),
  })[0] as tf.Tensor;
}

/** Gradient of f's input. @param kept x for GELU, y for ReLU and sigmoid; shape of dy. */
export function activateGradient(
  name: Activation,
  dy: tf.Tensor,
  kept: tf.Tensor,
  each = itemsEach(),
): tf.Tensor {
  const { T, count } = items(dy.size);
  const { dx, functions } = FORMULAS[name];
  return launch({
    name: `${name}-gradient`,
    variant: `each${each}`,
    inputs: { g: { tensor: dy, type: T }, a: { tensor: kept, type: T } },
    outputs: { b: { shape: dy.shape, type: T } },
    uniforms: { size: ['u32', count] },
    groups: itemGroups(count, each),
    wgsl: () => forItems(each, T, functions(T), `let k = a[i]; let dy = g[i]; b[i] = ${dx};`),
  })[0] as tf.Tensor;
}

/** A shape seen as [outer, repeated, inner]; the smaller operand is [outer, 1, inner]. */
export interface Broadcast {
  readonly outer: number;
  readonly repeated: number;
  readonly inner: number;
}

/**
 * How `small` broadcasts to `shape` where its axes of length 1 (missing leading ones included) stand in one run; null otherwise.
 * Equal shapes have repeated = 1.
 */
export function broadcastOf(shape: readonly number[], small: readonly number[]): Broadcast | null {
  if (small.length > shape.length) return null;
  const padded = [...Array.from({ length: shape.length - small.length }, () => 1), ...small];
  if (padded.some((n, axis) => n !== 1 && n !== shape[axis])) return null;
  const differs = shape.map((n, axis) => padded[axis] !== n);
  const first = differs.indexOf(true);
  const length = (from: number, to: number): number => shape.slice(from, to).reduce((a, b) => a * b, 1);
  if (first === -1) return { outer: 1, repeated: 1, inner: length(0, shape.length) };
  const last = differs.lastIndexOf(true) + 1;
  // axes of length 1 in both may lie inside the run
  if (shape.slice(first, last).some((n, i) => n !== 1 && differs[first + i] !== true)) return null;
  return { outer: length(0, first), repeated: length(first, last), inner: length(last, shape.length) };
}

/**
 * a + b or a * b of a's shape.
 * @param b broadcasts to a as `along` says.
 */
export function combine(
  operation: 'add' | 'multiply',
  a: tf.Tensor,
  b: tf.Tensor,
  along: Broadcast,
  each = itemsEach(),
): tf.Tensor {
  const { outer, repeated, inner } = along;
  const sign = operation === 'add' ? '+' : '*';
  // Four neighbours share an operand where the run is last, or have four neighbours where it is not.
  const splat = inner === 1 && repeated % 4 === 0;
  const quads = inner % 4 === 0 || splat;
  const T = quads ? 'vec4<f32>' : 'f32';
  const count = a.size / (quads ? 4 : 1);
  const mode = repeated === 1 ? 'same' : splat ? 'splat' : outer === 1 ? 'trailing' : 'general';
  const index = {
    same: 'i',
    splat: 'i / u.repeated',
    trailing: 'i % u.inner',
    general: '(i / u.block) * u.inner + i % u.inner',
  }[mode];
  const innerItems = splat ? 1 : quads ? inner / 4 : inner;
  const repeatedItems = splat ? repeated / 4 : repeated;
  return launch({
    name: `${operation}-${mode}`,
    variant: `each${each}`,
    inputs: { a: { tensor: a, type: T }, b: { tensor: b, type: splat ? 'f32' : T } },
    outputs: { y: { shape: a.shape, type: T } },
    uniforms: {
      size: ['u32', count],
      inner: ['u32', innerItems],
      repeated: ['u32', repeatedItems],
      block: ['u32', innerItems * repeatedItems],
    },
    groups: itemGroups(count, each),
    wgsl: () => forItems(each, T, '', `y[i] = a[i] ${sign} b[${index}];`),
  })[0] as tf.Tensor;
}
