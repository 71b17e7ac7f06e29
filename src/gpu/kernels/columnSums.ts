/**
 * @file Deterministic sums over rows: partial sums of blocks of rows, then the sum of the blocks. May import gpu/launch, tfjs.
 *
 * One invocation per block and column (four columns where their number allows): neighbours read neighbouring columns, there are no
 * barriers, and the order is fixed by the shape alone. Blocks number about the square root of the rows times a factor for
 * parallelism, which also bounds the rounding error to that of two short chains.
 */
import * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch } from '../launch';

const WORKGROUP = 64;

/** Sums over the middle axis of [outer, rows, columns]; `sums` are WGSL expressions of item i, row `row` (counted through outer). */
export interface ColumnSums {
  readonly name: string;
  readonly outer: number;
  readonly rows: number;
  readonly columns: number;
  /** `columns`: has the columns' element type T (vec4 or f32), else f32. */
  readonly inputs: Readonly<Record<string, { readonly tensor: tf.Tensor; readonly columns?: boolean }>>;
  /** One or two expressions of type T; may use `column` (item of the row). */
  readonly sums: readonly string[];
  /** WGSL run once per invocation before the loop; may use `column`. */
  readonly before?: string;
}

/** Partial sums, each [outer, blocks, columns]. */
export interface Partials {
  readonly tensors: readonly tf.Tensor[];
  readonly outer: number;
  readonly blocks: number;
  readonly columns: number;
}

const perItem = (columns: number): number => (columns % 4 === 0 ? 4 : 1);

/** Rows per block: short chains, and enough invocations (4,096) to fill a machine where there are rows for it. */
function blockRows(sums: ColumnSums, items: number): number {
  const chains = Math.max(1, Math.ceil(4096 / (items * sums.outer)));
  const blocks = Math.max(Math.sqrt(sums.rows), Math.min(chains, sums.rows / 16));
  return Math.max(1, Math.ceil(sums.rows / Math.min(1024, blocks)));
}

const PARTIALS = (T: string, sums: readonly string[], before: string): string => `alias T = ${T};
${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, count) * ${WORKGROUP}u + lane;
  if (id >= u.size) { return; }
  let column = id % u.n;
  let block = id / u.n;
  let start = block % u.blocks * u.blockRows;
  let end = min(u.rows, start + u.blockRows);
  let shift = block / u.blocks * u.rows;
  ${before}
  ${sums.map((_, k) => `var s${k} = T(0.0);`).join(' ')}
  for (var row = shift + start; row < shift + end; row++) {
    let i = row * u.n + column;
    ${sums.map((sum, k) => `s${k} += ${sum};`).join(' ')}
  }
  ${sums.map((_, k) => `p${k}[id] = s${k};`).join(' ')}
}`;

/** First pass. */
export function columnBlocks(sums: ColumnSums): Partials {
  const { outer, rows, columns } = sums;
  const T = perItem(columns) === 4 ? 'vec4<f32>' : 'f32';
  const n = columns / perItem(columns);
  const each = blockRows(sums, n);
  const blocks = Math.ceil(rows / each);
  const size = outer * blocks * n;
  const tensors = launch({
    name: sums.name,
    variant: 'partials',
    inputs: Object.fromEntries(
      Object.entries(sums.inputs).map(([name, input]) => [
        name,
        { tensor: input.tensor, type: input.columns === true ? T : 'f32' },
      ]),
    ),
    outputs: Object.fromEntries(
      sums.sums.map((_, k) => [`p${k}`, { shape: [outer, blocks, columns], type: T }]),
    ),
    uniforms: {
      size: ['u32', size],
      n: ['u32', n],
      rows: ['u32', rows],
      blocks: ['u32', blocks],
      blockRows: ['u32', each],
    },
    groups: flatGroups(Math.ceil(size / WORKGROUP)),
    wgsl: () => PARTIALS(T, sums.sums, sums.before ?? ''),
  });
  return { tensors, outer, blocks, columns };
}

const FINISH = (T: string, count: number): string => `alias T = ${T};
${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, count) * ${WORKGROUP}u + lane;
  if (id >= u.size) { return; }
  let first = id / u.n * u.n * u.blocks + id % u.n;
  ${Array.from({ length: count }, (_, k) => `var s${k} = T(0.0);`).join(' ')}
  for (var b = 0u; b < u.blocks; b++) {
    let i = first + b * u.n;
    ${Array.from({ length: count }, (_, k) => `s${k} += p${k}[i];`).join(' ')}
  }
  ${Array.from({ length: count }, (_, k) => `y${k}[id] = s${k};`).join(' ')}
}`;

/** Second pass: each sum [outer * columns]. Disposes of the partial sums. */
export function sumBlocks(partials: Partials): tf.Tensor[] {
  const { tensors, outer, blocks, columns } = partials;
  const T = perItem(columns) === 4 ? 'vec4<f32>' : 'f32';
  const n = columns / perItem(columns);
  const out = launch({
    name: 'sum-blocks',
    variant: `${tensors.length}`,
    inputs: Object.fromEntries(tensors.map((tensor, k) => [`p${k}`, { tensor, type: T }])),
    outputs: Object.fromEntries(tensors.map((_, k) => [`y${k}`, { shape: [outer * columns], type: T }])),
    uniforms: { size: ['u32', outer * n], n: ['u32', n], blocks: ['u32', blocks] },
    groups: flatGroups(Math.ceil((outer * n) / WORKGROUP)),
    wgsl: () => FINISH(T, tensors.length),
  });
  tf.dispose([...tensors]);
  return out;
}

/** Sum over the middle axis: x seen as [outer, rows, columns] -> [outer * columns]. Two dispatches. */
export function middleSums(x: tf.Tensor, outer: number, rows: number, columns: number): tf.Tensor {
  const inputs = { x: { tensor: x, columns: true } };
  return sumBlocks(
    columnBlocks({ name: 'column-sums', outer, rows, columns, inputs, sums: ['x[i]'] }),
  )[0] as tf.Tensor;
}
