/**
 * @file Low-rank adapters of a linear layer (LoRA, arXiv 2106.09685) as a few plain products. Outside the tape. May import gpu/launch.
 *
 * Adapters i add x A_i^T B_i^T to some of the output channels (q and v of a joint product). They are put together: A = the A_i below each
 * other [R, in], B = the B_i on a block diagonal [out, R], zero elsewhere. Then y = x (W + B A)^T, and with t = x A^T
 * dB = dy^T t, dA = (dy B)^T x, dx = dy (W + B A): no gradient of W, and nothing is cut out of y.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch, type Launch } from '../launch';

export interface AdapterPlace {
  readonly firstRow: number; // output channel where the adapter begins
  readonly rows: number; // output channels of the adapter
  readonly rank: number;
}

/** More would need more bindings than every adapter has (8, two of them for the result). */
export const MAX_ADAPTERS = 3;

const HEAD = `${FLAT_GROUP}
@compute @workgroup_size(64) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = flatGroup(group, groups) * 64u + lane;
  if (i >= u.size) { return; }`;

function sizes(places: readonly AdapterPlace[], inner: number, out: number): NonNullable<Launch['uniforms']> {
  const total = places.reduce((sum, { rank }) => sum + rank, 0);
  const own = places.flatMap(({ firstRow, rows, rank }, i) => [
    [`first${i}`, ['u32', firstRow]] as const,
    [`rows${i}`, ['u32', rows]] as const,
    [`rank${i}`, ['u32', rank]] as const,
  ]);
  return {
    size: ['u32', total * (inner + out)],
    inner: ['u32', inner],
    total: ['u32', total],
    ...Object.fromEntries(own),
  };
}

/** WGSL that finds the adapter `n` whose ranks hold `r`, and r within it. */
const adapterOf = (count: number, body: (n: number) => string): string =>
  Array.from(
    { length: count },
    (_, n) =>
      `if (!found && r < u.rank${n}) { found = true; ${body(n)} } else if (!found) { r -= u.rank${n}; }`,
  ).join('\n    ');

/** The joint A [R, in] and B [out, R] of up to MAX_ADAPTERS adapters A_i (rank, in), B_i (rows, rank). */
export function joinAdapters(
  as: readonly tf.Tensor[],
  bs: readonly tf.Tensor[],
  places: readonly AdapterPlace[],
  inner: number,
  out: number,
): { a: tf.Tensor2D; b: tf.Tensor2D } {
  const n = places.length;
  const total = places.reduce((sum, { rank }) => sum + rank, 0);
  const inputs = Object.fromEntries([
    ...as.map((tensor, i) => [`a${i}`, { tensor, type: 'f32' }] as const),
    ...bs.map((tensor, i) => [`b${i}`, { tensor, type: 'f32' }] as const),
  ]);
  const [a, b] = launch({
    name: 'lora-join',
    variant: String(n),
    inputs,
    outputs: { a: { shape: [total, inner], type: 'f32' }, b: { shape: [out, total], type: 'f32' } },
    uniforms: sizes(places, inner, out),
    groups: flatGroups(Math.ceil((total * (inner + out)) / 64)),
    wgsl: () => `${HEAD}
  var found = false;
  if (i < u.total * u.inner) {
    var r = i / u.inner;
    var value = 0.0;
    ${adapterOf(n, (k) => `value = a${k}[r * u.inner + i % u.inner];`)}
    a[i] = value;
  } else {
    let o = i - u.total * u.inner;
    let row = o / u.total;
    var r = o % u.total;
    var value = 0.0;
    ${adapterOf(n, (k) => `if (row >= u.first${k} && row < u.first${k} + u.rows${k}) { value = b${k}[(row - u.first${k}) * u.rank${k} + r]; }`)}
    b[o] = value;
  }
}`,
  });
  return { a: a as tf.Tensor2D, b: b as tf.Tensor2D };
}

/** The adapters' parts of the joint gradients: dA_i (rank, in) first, then dB_i (rows, rank). */
export function partAdapters(
  da: tf.Tensor,
  db: tf.Tensor,
  places: readonly AdapterPlace[],
  inner: number,
  out: number,
): tf.Tensor[] {
  const n = places.length;
  const total = places.reduce((sum, { rank }) => sum + rank, 0);
  const outputs = Object.fromEntries([
    ...places.map(({ rank }, i) => [`a${i}`, { shape: [rank, inner], type: 'f32' }] as const),
    ...places.map(({ rows, rank }, i) => [`b${i}`, { shape: [rows, rank], type: 'f32' }] as const),
  ]);
  return launch({
    name: 'lora-part',
    variant: String(n),
    inputs: { da: { tensor: da, type: 'f32' }, db: { tensor: db, type: 'f32' } },
    outputs,
    uniforms: sizes(places, inner, out),
    groups: flatGroups(Math.ceil((total * (inner + out)) / 64)),
    wgsl: () => `${HEAD}
  var found = false;
  if (i < u.total * u.inner) {
    var r = i / u.inner;
    ${adapterOf(n, (k) => `a${k}[r * u.inner + i % u.inner] = da[i];`)}
  } else {
    let o = i - u.total * u.inner;
    let row = o / u.total;
    var r = o % u.total;
    ${adapterOf(n, (k) => `if (row >= u.first${k} && row < u.first${k} + u.rows${k}) { b${k}[(row - u.first${k}) * u.rank${k} + r] = db[o]; }`)}
  }
}`,
  });
}
