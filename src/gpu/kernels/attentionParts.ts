/**
 * @file What attention's kernels have in common: operands and sizes, which rows an invocation owns, the walk over the other rows, masks and
 * additions to the scores. WGSL is made here; see attention.ts. May import gpu/launch, tfjs.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, isSoftwareAdapter, studioBackend, type Launch } from '../launch';

/** q, k or v: rows of heads x d within a tensor. */
export interface HeadRows {
  readonly tensor: tf.Tensor;
  readonly offset: number; // elements before the first channel of a row
  readonly stride: number; // elements from row to row
}

export interface AttentionSizes {
  readonly batch: number;
  readonly n: number; // query rows
  readonly m: number; // key rows
  readonly heads: number;
  readonly d: number; // channels of a head, 1 to 128
  readonly scale: number; // of q k^T
}

/** SAM's decomposed position: key j is at row floor(j / kw), column j mod kw of a kh x kw grid, m = kh kw. */
export interface RelativePosition {
  readonly relH: tf.Tensor; // [batch heads, n, kh], added to the scaled scores
  readonly relW: tf.Tensor; // [batch heads, n, kw]
  readonly kh: number;
  readonly kw: number;
}

export interface AttentionOperands {
  readonly q: HeadRows;
  readonly k: HeadRows;
  readonly v: HeadRows;
  /** [batch, m] float32, int32 or bool, 0 = not attended to. A row without keys gives zeros. */
  readonly keyMask?: tf.Tensor | null;
  /** [heads or 1, n, m], added to the scaled scores of each image. */
  readonly bias?: tf.Tensor | null;
  readonly relativePosition?: RelativePosition | null;
}

export interface AttentionForm {
  readonly shared: boolean; // tiles in workgroup memory
  readonly rows: number; // per invocation
  readonly split?: number; // invocations that share a row's channels; tiles only, with one row
}

export const WORKGROUP = 64;
/** Of float32; below every exponent that matters, and finite, so that no NaN arises from differences. */
export const LOWEST = '-3.0e38';

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
export const lines = (n: number, line: (i: number) => string): string => range(n).map(line).join('\n  ');

/**
 * The form for this adapter. Four rows were the fastest on SwiftShader for heads of 16 and 64 (against one: 2.8 and 3 times); beyond, the
 * text of the kernel grows so long that compiling it takes seconds. Other software adapters (lavapipe) compile by LLVM, which took more
 * than a minute from 64 channels on: there wide heads use tiles. GPUs: at most 32 channels of an operand per invocation.
 */
export function attentionForm(d: number): AttentionForm {
  const parts = d % 4 === 0 ? d / 4 : d;
  const direct = isSoftwareAdapter() && (parts <= 8 || isSwiftShader());
  if (!direct) return { shared: true, rows: 1, split: d <= 32 ? 1 : d <= 64 ? 2 : 4 };
  return { shared: false, rows: parts <= 16 ? 4 : 1 };
}

function isSwiftShader(): boolean {
  return studioBackend()?.architecture === 'swiftshader';
}

/** All that decides the WGSL of a kernel. */
export interface Plan {
  readonly d: number;
  readonly form: AttentionForm;
  readonly split: number;
  readonly T: string; // vec4<f32> where d and its place allow
  readonly width: number;
  readonly count: number; // parts of T in d channels
  readonly own: number; // of them per invocation
  /** Binding by operand: a tensor that holds several is bound once. */
  readonly bound: Readonly<Record<'q' | 'k' | 'v', string>>;
  readonly mask: string | null; // element type
  readonly bias: boolean;
  readonly relative: boolean;
}

export function planOf({ d }: AttentionSizes, operands: AttentionOperands, form: AttentionForm): Plan {
  const { q, k, v, keyMask, bias, relativePosition } = operands;
  const quads = d % 4 === 0 && [q, k, v].every((x) => x.offset % 4 === 0 && x.stride % 4 === 0);
  const count = quads ? d / 4 : d;
  const wanted = form.shared && form.rows === 1 ? (form.split ?? 1) : 1;
  const split = count % wanted === 0 ? wanted : count % 2 === 0 && wanted > 1 ? 2 : 1;
  const same = (a: HeadRows, b: HeadRows): boolean => a.tensor.dataId === b.tensor.dataId;
  const bound = { q: 'q', k: same(k, q) ? 'q' : 'k', v: same(v, q) ? 'q' : same(v, k) ? 'k' : 'v' };
  const mask = keyMask ? (keyMask.dtype === 'float32' ? 'f32' : 'i32') : null;
  return {
    d, form, split, T: quads ? 'vec4<f32>' : 'f32', width: quads ? 4 : 1, count, own: count / split, bound, mask,
    bias: Boolean(bias), relative: Boolean(relativePosition),
  }; // prettier-ignore
}

export function variantOf({ d, form, split, width, bound, mask, bias, relative }: Plan): string {
  const place = form.shared ? `tile s${split}` : 'direct';
  const extras = `${mask ? ` mask-${mask}` : ''}${bias ? ' bias' : ''}${relative ? ' relative' : ''}`;
  return `d${d} ${place} r${form.rows} w${width} ${bound.q}${bound.k}${bound.v}${extras}`;
}

/** The bindings of q, k, v and of what is added to their scores. */
export function bindingsOf(plan: Plan, operands: AttentionOperands): Launch['inputs'] {
  const { q, k, v, keyMask, bias, relativePosition: rel } = operands;
  const rows = Object.entries({ q, k, v })
    .filter(([name]) => plan.bound[name as 'q'] === name)
    .map(([name, { tensor }]) => [name, { tensor, type: plan.T }] as const);
  return {
    ...Object.fromEntries(rows),
    ...(keyMask ? { keyMask: { tensor: keyMask, type: plan.mask as string } } : {}),
    ...(bias ? { bias: { tensor: bias, type: 'f32' } } : {}),
    ...(rel ? { relH: { tensor: rel.relH, type: 'f32' }, relW: { tensor: rel.relW, type: 'f32' } } : {}),
  };
}

export function uniformsOf(
  { batch, n, m, heads, scale }: AttentionSizes,
  { bias, relativePosition }: AttentionOperands,
  rows: Readonly<Record<string, Omit<HeadRows, 'tensor'>>>,
): NonNullable<Launch['uniforms']> {
  const places = Object.entries(rows).flatMap(([name, { offset, stride }]) => [
    [`${name}Offset`, ['u32', offset]] as const,
    [`${name}Stride`, ['u32', stride]] as const,
  ]);
  return {
    batch: ['u32', batch],
    n: ['u32', n],
    m: ['u32', m],
    heads: ['u32', heads],
    scale: ['f32', scale],
    ...(bias ? { biasHeads: ['u32', bias.shape[0] as number] } : {}),
    ...(relativePosition ? { kh: ['u32', relativePosition.kh], kw: ['u32', relativePosition.kw] } : {}),
    ...Object.fromEntries(places),
  };
}

/** WGSL of the index of the first part of head h in row `row` of image b. */
export const at =
  (name: string, rowsName: string, { d, width }: Plan) =>
  (row: string): string =>
    `((b * u.${rowsName} + ${row}) * u.${name}Stride + u.${name}Offset + h * ${d}u) / ${width}u`;

/** The same in a tensor [batch, n, heads d]. */
export const atQuery =
  ({ d, width }: Plan) =>
  (row: string): string =>
    `((b * u.n + ${row}) * u.heads * ${d}u + h * ${d}u) / ${width}u`;

/** WGSL of the score of query i and key j (both within bounds) from the product of their rows. */
export function scoreOf({ bias, relative }: Plan, product: string, i: string, j: string): string {
  const terms = [`(${product}) * u.scale`];
  if (bias) terms.push(`bias[(h % u.biasHeads * u.n + ${i}) * u.m + ${j}]`);
  if (relative) {
    terms.push(
      `relH[(bh * u.n + ${i}) * u.kh + ${j} / u.kw]`,
      `relW[(bh * u.n + ${i}) * u.kw + ${j} % u.kw]`,
    );
  }
  return terms.join(' + ');
}

/** WGSL: whether key j may be attended to; `j` within bounds. */
export const openKey = ({ mask }: Plan, j: string): string =>
  mask === null ? 'true' : `keyMask[b * u.m + ${j}] != 0`;

/** Sum over an invocation's parts of a_c b_c. */
export const inner = ({ width, own }: Plan, a: (c: number) => string, b: (c: number) => string): string =>
  range(own)
    .map((c) => (width === 4 ? `dot(${a(c)}, ${b(c)})` : `${a(c)} * ${b(c)}`))
    .join(' + ');

type Cell = (row: number, part: number) => string;

interface Walk {
  readonly plan: Plan;
  /** The two operands walked over: binding, and WGSL of the index of a row's first part. */
  readonly x: { readonly name: string; readonly at: (row: string) => string };
  readonly z: { readonly name: string; readonly at: (row: string) => string };
  readonly length: string; // rows to walk over
  readonly step: number; // rows per turn of the body
  /** Products of an owned row (its variables' prefix) with the walked row of x or z. */
  readonly dots: readonly (readonly [own: string, walked: 'x' | 'z'])[];
  /** WGSL of a turn from row `j` (those from `length` on must be masked); dot(i, k, r) is the k-th product of own row i. */
  readonly body: (dot: (i: number, k: number, r: number) => string, x: Cell, z: Cell) => string;
}

/** Rows per tile: x and z with their products in 16 KiB. */
function tileRows({ d, split }: Plan, dots: number): number {
  const bytes = 8 * d + (split > 1 ? dots * WORKGROUP * 4 : 0);
  return Math.max(4, Math.min(64, 4 * Math.floor(16_384 / (4 * bytes))));
}

/** A loop over the rows of x and z, read from memory or through tiles in workgroup memory. */
export function walk({ plan, x, z, length, step, dots, body }: Walk): { declarations: string; loop: string } {
  const { form, count, own, split, T } = plan;
  const names = { x: (r: number, c: number) => `x${r}_${c}`, z: (r: number, c: number) => `z${r}_${c}` };
  const product = (i: number, k: number, r: number): string => {
    const [prefix, walked] = dots[k] as [string, 'x' | 'z'];
    return inner(plan, (c) => `${prefix}${i}_${c}`, (c) => names[walked](r, c)); // prettier-ignore
  };
  const read = (place: (name: 'x' | 'z', r: number) => string): string =>
    range(step)
      .map((r) =>
        range(own)
          .map(
            (c) => `let x${r}_${c} = ${place('x', r)} + ${c}u]; let z${r}_${c} = ${place('z', r)} + ${c}u];`,
          )
          .join(' '),
      ) // prettier-ignore
      .join('\n');
  if (!form.shared) {
    const starts = range(step).map((r) => {
      const row = `min(j + ${r}u, ${length} - 1u)`;
      return `let ax${r} = ${x.at(row)}; let az${r} = ${z.at(row)};`;
    });
    const cells = read((name, r) => `${name === 'x' ? x.name : z.name}[a${name}${r}`);
    const loop = `for (var j = 0u; j < ${length}; j += ${step}u) { ${starts.join(' ')}\n${cells}\n${body(product, names.x, names.z)} }`;
    return { declarations: '', loop };
  }
  const rows = tileRows(plan, dots.length);
  const size = rows * count;
  const turn = (dot: (i: number, k: number, r: number) => string): string =>
    `for (var j = start; j < stop; j += ${step}u) { ${read((name, r) => `tile_${name}[(j - start + ${r}u) * ${count}u + first`)}\n${body(dot, names.x, names.z)} }`;
  // Split rows: each invocation's share of the products goes to workgroup memory, then every one adds the shares in the same order.
  const shares = dots.map(([prefix, walked], k) => `shares[(r * ${dots.length}u + ${k}u) * ${WORKGROUP}u + lane] = ${inner(plan, (c) => `${prefix}0_${c}`, (c) => `tile_${walked}[r * ${count}u + first + ${c}u]`)};`); // prettier-ignore
  const summed = (_: number, k: number, r: number): string =>
    range(split).map((s) => `shares[((j - start + ${r}u) * ${dots.length}u + ${k}u) * ${WORKGROUP}u + lane0 + ${s}u]`).join(' + '); // prettier-ignore
  return {
    declarations: `var<workgroup> tile_x: array<${T}, ${size}>;\nvar<workgroup> tile_z: array<${T}, ${size}>;
${split > 1 ? `var<workgroup> shares: array<f32, ${rows * dots.length * WORKGROUP}>;` : ''}`,
    loop: `for (var start = 0u; start < ${length}; start += ${rows}u) {
    workgroupBarrier();
    for (var item = lane; item < ${size}u; item += ${WORKGROUP}u) {
      let row = min(start + item / ${count}u, ${length} - 1u);
      tile_x[item] = ${x.name}[${x.at('row')} + item % ${count}u];
      tile_z[item] = ${z.name}[${z.at('row')} + item % ${count}u];
    }
    workgroupBarrier();
    ${split > 1 ? `for (var r = 0u; r < ${rows}u; r++) { ${shares.join(' ')} }\n    workgroupBarrier();` : ''}
    let stop = min(start + ${rows}u, ${length});
    ${turn(split > 1 ? summed : product)}
  }`,
  };
}

const perGroup = ({ split, form }: Plan): number => (WORKGROUP / split) * form.rows;

/**
 * The frame of the kernels: which rows an invocation owns (`row` and following), the first of its parts, whether it writes what a row has
 * once. With tiles, a workgroup lies within one head (its invocations share the keys); else invocations are numbered through.
 */
export function frame(plan: Plan, rowsName: string, declarations: string, body: string): string {
  const { form, split, own } = plan;
  const inGroup = perGroup(plan);
  const place = form.shared
    ? `let perHead = (u.${rowsName} + ${inGroup - 1}u) / ${inGroup}u;
  let g = flatGroup(group, groups);
  if (g >= perHead * u.batch * u.heads) { return; }
  let bh = g / perHead;
  let row = (g % perHead) * ${inGroup}u + lane / ${split}u * ${form.rows}u;
  let first = lane % ${split}u * ${own}u;
  let lane0 = lane - lane % ${split}u;`
    : `let perHead = (u.${rowsName} + ${form.rows - 1}u) / ${form.rows}u;
  let id = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (id >= perHead * u.batch * u.heads) { return; }
  let bh = id / perHead;
  let row = (id % perHead) * ${form.rows}u;
  const first = 0u;`;
  return `${FLAT_GROUP}
${declarations}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  ${place}
  let b = bh / u.heads;
  let h = bh % u.heads;
  ${body}
}`;
}

/** Workgroups of `frame` for `count` rows per head. */
export function groupsOf(
  plan: Plan,
  { batch, heads }: AttentionSizes,
  count: number,
): [number, number, number] {
  const all = batch * heads;
  if (plan.form.shared) return flatGroups(all * Math.ceil(count / perGroup(plan)));
  return flatGroups(Math.ceil((all * Math.ceil(count / plan.form.rows)) / WORKGROUP));
}
