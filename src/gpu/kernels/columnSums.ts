/**
 * @file Deterministic sums over rows: partial sums of blocks of rows, then the sum of the blocks. May import gpu/launch, tfjs.
 *
 * One invocation per block and column (four columns where their number allows): neighbours read neighbouring columns, there are no
 * barriers, and the order is fixed by the shape alone. Blocks number about the square root of the rows times a factor for
 * parallelism, which also bounds the rounding error to that of two short chains.
 */
import * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, isSoftwareAdapter, launch, type Launch } from '../launch';

const WORKGROUP = 64;

/** Sums over the middle axis of [outer, rows, columns]; `sums` are WGSL expressions of item i, row `row` (counted through outer). */
export interface ColumnSums {
  readonly name: string;
  readonly outer: number;
  readonly rows: number;
  readonly columns: number;
  /** `columns`: has the columns' element type T (vec4 or f32), else f32. */
  readonly inputs: Readonly<Record<string, { readonly tensor: tf.Tensor; readonly columns?: boolean }>>;
  /** Further uniforms; u.n (items per row), u.rows are there. */
  readonly uniforms?: Launch['uniforms'];
  /** Expressions of type T, summed over the rows as s0, s1, ...; may use `column` (item of the row). */
  readonly sums: readonly string[];
  /** What is written of them; the sums themselves unless said otherwise. */
  readonly results?: readonly string[];
  /** WGSL run once per invocation before the loop: `column`, `outer`, rows `shift + start` to `shift + end`. */
  readonly before?: string;
  /** WGSL run for each item first. */
  readonly each?: string;
  /** One column per item even where four would fit. */
  readonly scalar?: boolean;
}

/** Partial sums, each [outer, blocks, columns]. */
export interface Partials {
  readonly tensors: readonly tf.Tensor[];
  readonly outer: number;
  readonly blocks: number;
  /** Rows per block; the last block may have fewer. */
  readonly blockRows: number;
  readonly columns: number;
}

/** Element type and items of a row of `columns` values. */
export function itemType(columns: number, scalar = false): { readonly T: string; readonly n: number } {
  return columns % 4 === 0 && !scalar ? { T: 'vec4<f32>', n: columns / 4 } : { T: 'f32', n: columns };
}

/** Rows per block: short chains, and enough invocations (4,096) to fill a machine where there are rows for it. */
function rowsPerBlock(sums: ColumnSums, items: number): number {
  const chains = Math.max(1, Math.ceil(4096 / (items * sums.outer)));
  const blocks = Math.max(Math.sqrt(sums.rows), Math.min(chains, sums.rows / 16));
  return Math.max(1, Math.ceil(sums.rows / Math.min(1024, blocks)));
}

const HEAD = (T: string): string => `alias T = ${T};
${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, count) * ${WORKGROUP}u + lane;
  if (id >= u.size) { return; }`;

/** Which column, and which rows of which matrix. */
const BLOCK = `
  let column = id % u.n;
  let outer = id / u.n / u.blocks;
  let start = id / u.n % u.blocks * u.blockRows;
  let end = min(u.rows, start + u.blockRows);
  let shift = outer * u.rows;`;

const PARTIALS = (T: string, { sums, results, before, each }: ColumnSums): string => `${HEAD(T)}${BLOCK}
  ${before ?? ''}
  ${sums.map((_, k) => `var s${k} = T(0.0);`).join(' ')}
  for (var row = shift + start; row < shift + end; row++) {
    let i = row * u.n + column;
    ${each ?? ''}
    ${sums.map((sum, k) => `s${k} += ${sum};`).join(' ')}
  }
  ${sums.map((_, k) => `p${k}[id] = ${results?.[k] ?? `s${k}`};`).join(' ')}
}`;

const typed = (inputs: ColumnSums['inputs'], T: string): Launch['inputs'] =>
  Object.fromEntries(
    Object.entries(inputs).map(([name, { tensor, columns }]) => [
      name,
      { tensor, type: columns === true ? T : 'f32' },
    ]),
  );

/** First pass. */
export function columnBlocks(sums: ColumnSums): Partials {
  const { outer, rows, columns } = sums;
  const { T, n } = itemType(columns, sums.scalar);
  const blockRows = rowsPerBlock(sums, n);
  const blocks = Math.ceil(rows / blockRows);
  const size = outer * blocks * n;
  const tensors = launch({
    name: sums.name,
    variant: 'partials',
    inputs: typed(sums.inputs, T),
    outputs: Object.fromEntries(
      sums.sums.map((_, k) => [`p${k}`, { shape: [outer, blocks, columns], type: T }]),
    ),
    uniforms: {
      size: ['u32', size],
      n: ['u32', n],
      rows: ['u32', rows],
      blocks: ['u32', blocks],
      blockRows: ['u32', blockRows],
      ...sums.uniforms,
    },
    groups: flatGroups(Math.ceil(size / WORKGROUP)),
    wgsl: () => PARTIALS(T, sums),
  });
  return { tensors, outer, blocks, blockRows, columns };
}

const FINISH = (T: string, count: number): string => `${HEAD(T)}
  let first = id / u.n * u.n * u.blocks + id % u.n;
  ${Array.from({ length: count }, (_, k) => `var s${k} = T(0.0);`).join(' ')}
  for (var b = 0u; b < u.blocks; b++) {
    let i = first + b * u.n;
    ${Array.from({ length: count }, (_, k) => `s${k} += p${k}[i];`).join(' ')}
  }
  ${Array.from({ length: count }, (_, k) => `y${k}[id] = s${k};`).join(' ')}
}`;

/** Second pass: each sum [outer * columns]. Disposes of the partial sums unless they are the caller's. */
export function sumBlocks(partials: Partials, own = true): tf.Tensor[] {
  const { tensors, outer, blocks, columns } = partials;
  const { T, n } = itemType(columns);
  const out = launch({
    name: 'sum-blocks',
    variant: `${tensors.length}`,
    inputs: Object.fromEntries(tensors.map((tensor, k) => [`p${k}`, { tensor, type: T }])),
    outputs: Object.fromEntries(tensors.map((_, k) => [`y${k}`, { shape: [outer * columns], type: T }])),
    uniforms: { size: ['u32', outer * n], n: ['u32', n], blocks: ['u32', blocks] },
    groups: flatGroups(Math.ceil((outer * n) / WORKGROUP)),
    wgsl: () => FINISH(T, tensors.length),
  });
  if (own) tf.dispose([...tensors]);
  return out;
}

/** Sum over the middle axis: x seen as [outer, rows, columns] -> [outer * columns]. Two dispatches. */
export function middleSums(x: tf.Tensor, outer: number, rows: number, columns: number): tf.Tensor {
  const inputs = { x: { tensor: x, columns: true } };
  return sumBlocks(
    columnBlocks({ name: 'column-sums', outer, rows, columns, inputs, sums: ['x[i]'] }),
  )[0] as tf.Tensor;
}

/** A value for each element of [outer, rows, columns] that depends on its column; fields as in ColumnSums. */
export interface ColumnMap extends Pick<
  ColumnSums,
  'name' | 'columns' | 'inputs' | 'uniforms' | 'before' | 'each' | 'scalar'
> {
  /** 1 unless said otherwise. */
  readonly outer?: number;
  /** Of the output and of the inputs with columns. */
  readonly shape: readonly number[];
  /** WGSL expression of type T from item i. */
  readonly value: string;
}

/** Rows per invocation: what `before` computes serves them all. On software adapters an invocation itself costs as much as rows. */
const mapRows = (rows: number, items: number): number =>
  isSoftwareAdapter() ? Math.min(64, Math.max(16, Math.floor((rows * items) / 1024))) : 16;

const MAP = (T: string, { before, each, value }: ColumnMap): string => `${HEAD(T)}${BLOCK}
  ${before ?? ''}
  for (var row = shift + start; row < shift + end; row++) {
    let i = row * u.n + column;
    ${each ?? ''}
    out[i] = ${value};
  }
}`;

/** One dispatch. */
export function columnMap(map: ColumnMap): tf.Tensor {
  const { columns, shape, outer = 1 } = map;
  const { T, n } = itemType(columns, map.scalar);
  const rows = shape.reduce((a, b) => a * b, 1) / columns / outer;
  const blockRows = mapRows(rows * outer, n);
  const blocks = Math.ceil(rows / blockRows);
  const size = outer * blocks * n;
  return launch({
    name: map.name,
    variant: 'map',
    inputs: typed(map.inputs, T),
    outputs: { out: { shape, type: T } },
    uniforms: {
      size: ['u32', size],
      n: ['u32', n],
      rows: ['u32', rows],
      blocks: ['u32', blocks],
      blockRows: ['u32', blockRows],
      ...map.uniforms,
    },
    groups: flatGroups(Math.ceil(size / WORKGROUP)),
    wgsl: () => MAP(T, map),
  })[0] as tf.Tensor;
}
