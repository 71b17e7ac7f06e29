/**
 * @file The frame of kernels that reduce over rows (LayerNorm, softmax): who computes which part of a row. May import gpu/launch.
 *
 * Software adapters ('rows'): one invocation per row, no barriers; their four lanes are four rows. GPUs ('tree'): `lanes` invocations
 * per row with a tree in workgroup memory, 64 / lanes rows per workgroup, so that short rows fill a workgroup too.
 */
import { FLAT_GROUP, flatGroups, isSoftwareAdapter } from '../launch';

/** Which kernels run. */
export type RowVariant = 'rows' | 'tree';

export const rowVariant = (): RowVariant => (isSoftwareAdapter() ? 'rows' : 'tree');

const WORKGROUP = 64;

/** Element type, items of a row of c values, and how many invocations share a row (0: one invocation per row, no barriers). */
export function rowLayout(c: number, variant: RowVariant): { T: string; n: number; lanes: number } {
  const quads = c % 4 === 0;
  const n = quads ? c / 4 : c;
  const lanes = variant === 'rows' ? 0 : n <= 8 ? 4 : n <= 32 ? 16 : WORKGROUP;
  return { T: quads ? 'vec4<f32>' : 'f32', n, lanes };
}

export const rowGroups = (rows: number, lanes: number): [number, number, number] =>
  flatGroups(Math.ceil((rows * Math.max(1, lanes)) / WORKGROUP));

/** WGSL: reduces `tree` over the lanes of a row; the first barrier orders the writes, the last one the reads. */
const reduction = (name: string, lanes: number, combine: string): string => `
fn ${name}(x: vec2<f32>) -> vec2<f32> {
  tree[at] = x;
  workgroupBarrier();
  for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
    if (at % ${lanes}u < half) { let a = tree[at]; let b = tree[at + half]; tree[at] = ${combine}; }
    workgroupBarrier();
  }
  let result = tree[at / ${lanes}u * ${lanes}u];
  workgroupBarrier();
  return result;
}`;

/**
 * WGSL of a kernel over rows; uniforms `rows` and `n` (items per row). `body` sees `row`, `base` (its first item), `inside` (false for
 * invocations without a row, which must not write), `leader` (one per row); it loops `for (var j = start; j < u.n; j += step)` and
 * uses `within(T)`, `highest(T)` inside an item, `total(vec2)`, `largest(vec2)` over the row.
 */
export function rowFrame(T: string, lanes: number, body: string): string {
  const scalar = T === 'f32';
  const head = `alias T = ${T};
fn within(x: T) -> f32 { return ${scalar ? 'x' : '(x.x + x.y) + (x.z + x.w)'}; }
fn highest(x: T) -> f32 { return ${scalar ? 'x' : 'max(max(x.x, x.y), max(x.z, x.w))'}; }
${FLAT_GROUP}`;
  const main = `@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) local: u32) {`;
  if (lanes === 0) {
    return `${head}
fn total(x: vec2<f32>) -> vec2<f32> { return x; }
fn largest(x: vec2<f32>) -> vec2<f32> { return x; }
${main}
  let row = flatGroup(group, count) * ${WORKGROUP}u + local;
  if (row >= u.rows) { return; }
  let inside = true; let leader = true; let base = row * u.n; let start = 0u; const step = 1u;
  ${body}
}`;
  }
  return `${head}
var<workgroup> tree: array<vec2<f32>, ${WORKGROUP}>;
var<private> at: u32;
${reduction('total', lanes, 'a + b')}
${reduction('largest', lanes, 'max(a, b)')}
${main}
  at = local;
  let wanted = flatGroup(group, count) * ${WORKGROUP / lanes}u + local / ${lanes}u;
  let inside = wanted < u.rows;
  let row = min(wanted, u.rows - 1u); // barriers ask all to come along
  let base = row * u.n; let start = local % ${lanes}u; const step = ${lanes}u;
  let leader = start == 0u;
  ${body}
}`;
}
