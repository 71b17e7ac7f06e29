/**
 * @file Matrix product for GPUs: a workgroup of 16 x 16 invocations computes a tile of C, moving slices of A and B through workgroup
 * memory, each value loaded from memory once per workgroup. Pure.
 *
 * Tiles: 64 x 64 with 4 x 4 per invocation (8 KiB of workgroup memory per slice pair of 16 along K, so that several workgroups fit a
 * core), 32 x 32 with 2 x 2 where there are few tiles. Slices lie K-major, so that an invocation reads its rows and columns as
 * neighbours. With f16 arithmetic the slices hold halves (half the workgroup memory and its traffic), the products are of halves and the sums
 * float32. (Method: Volkov and Demmel 2008, "Benchmarking GPUs to tune dense linear algebra".)
 */
import { finishFunctions, finishItem, type ProductShape } from './matmulParts';
import { halfFunctions } from './matmulRegister';

export interface WorkgroupTile {
  readonly m: number; // rows and columns of C per workgroup
  readonly n: number;
}

/** Depth of a slice along K. */
export const TILE_K = 16;

export const TILES = { large: { m: 64, n: 64 }, small: { m: 32, n: 32 } } as const;

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/**
 * WGSL of a function that loads one slice of an operand into workgroup memory: 256 invocations, each a few values, neighbours along the
 * operand's contiguous axis so that loads coalesce.
 */
function loadSlice(
  name: 'a' | 'b',
  extent: number,
  { alongK, vector, half }: { alongK: boolean; vector: boolean; half: boolean },
  size: string,
  numbers: 'f32' | 'f16',
): string {
  const put = (value: string): string => (numbers === 'f16' ? `f16(${value})` : value);
  const width = vector ? 4 : 1;
  const count = (extent * TILE_K) / width / 256;
  const perLine = (alongK ? TILE_K : extent) / width;
  const read = half ? (vector ? `half4(${name}[at])` : 'half1(at)') : `${name}[at]`;
  const T = vector ? 'vec4<f32>' : 'f32';
  // Lines follow the contiguous axis. i: position within the tile across K; k: along it.
  const body = range(Math.max(1, Math.ceil(count))).map((turn) => {
    const guard = count < 1 ? `if (lane < ${(extent * TILE_K) / width}u) ` : '';
    const [line, along] = ['item / ' + perLine + 'u', `(item % ${perLine}u) * ${width}u`];
    const [i, k] = alongK ? [line, along] : [along, line];
    const address = alongK
      ? `(base + (first + i) * u.k + start + k) / ${width}u`
      : `(base + (start + k) * ${size} + first + i) / ${width}u`;
    const store = vector
      ? range(4)
          .map((e) =>
            alongK
              ? `tile_${name}[(k + ${e}u) * ${extent}u + i] = ${put(`v[${e}]`)};`
              : `tile_${name}[k * ${extent}u + i + ${e}u] = ${put(`v[${e}]`)};`,
          )
          .join(' ')
      : `tile_${name}[k * ${extent}u + i] = ${put('v')};`;
    return `${guard}{ let item = lane + ${turn * 256}u; let i = ${i}; let k = ${k};
      var v = ${T}(0.0);
      if (first + i < ${size} && start + k < end) { let at = ${address}; v = ${read}; }
      ${store} }`;
  });
  return `fn load_${name}(lane: u32, base: u32, first: u32, start: u32, end: u32) { ${body.join('\n')} }`;
}

/** The kernel. Workgroups: columns / tile.n, rows / tile.m, batch x splits. @param numbers what the operands are multiplied as. */
export function tiledWgsl(s: ProductShape, tile: WorkgroupTile, numbers: 'f32' | 'f16' = 'f32'): string {
  const wide = (value: string): string => (numbers === 'f16' ? `f32(${value})` : value);
  const [pm, pn] = [tile.m / 16, tile.n / 16];
  const operandA = { alongK: !s.transposeA, vector: s.vectorA, half: false };
  const operandB = { alongK: s.transposeB, vector: s.vectorB, half: s.halfB };
  const [rows, columns] = [range(pm), range(pn)];
  const quads = s.vectorC && pn % 4 === 0;
  const write = rows.map((i) => {
    const at = `(row + ${i}u)`;
    const items = quads
      ? range(pn / 4).map((q) => {
          const value = `vec4<f32>(${range(4)
            .map((j) => `s${i}_${4 * q + j}`)
            .join(', ')})`;
          return `if (column + ${4 * q}u < u.n) ${finishItem(s, value, `atC / 4u + ${at} * (u.n / 4u) + column / 4u + ${q}u`, `column / 4u + ${q}u`)}`;
        })
      : columns.map(
          (j) =>
            `if (column + ${j}u < u.n) ${finishItem(s, `s${i}_${j}`, `atC + ${at} * u.n + column + ${j}u`, `column + ${j}u`)}`,
        );
    return `if (row + ${i}u < u.m) { ${items.join('\n')} }`;
  });
  return `${finishFunctions(s)}
${halfFunctions(s)}
var<workgroup> tile_a: array<${numbers}, ${tile.m * TILE_K}>;
var<workgroup> tile_b: array<${numbers}, ${tile.n * TILE_K}>;
${loadSlice('a', tile.m, operandA, 'u.m', numbers)}
${loadSlice('b', tile.n, operandB, 'u.n', numbers)}
@compute @workgroup_size(16, 16) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let firstRow = group.y * ${tile.m}u;
  let firstColumn = group.x * ${tile.n}u;
  let batch = group.z / u.splits;
  let part = group.z % u.splits;
  let atC = group.z * u.m * u.n;
  let row = firstRow + local.y * ${pm}u;
  let column = firstColumn + local.x * ${pn}u;
  let end = min(u.k, (part + 1u) * u.length);
  ${rows.flatMap((i) => columns.map((j) => `var s${i}_${j} = 0.0;`)).join(' ')}
  ${s.sums ? rows.map((i) => `var t${i} = 0.0;`).join(' ') : ''}
  for (var start = part * u.length; start < end; start += ${TILE_K}u) {
    load_a(lane, batch * u.strideA, firstRow, start, end);
    load_b(lane, batch * u.strideB, firstColumn, start, end);
    workgroupBarrier();
    for (var k = 0u; k < ${TILE_K}u; k++) {
      ${rows.map((i) => `let a${i} = tile_a[k * ${tile.m}u + local.y * ${pm}u + ${i}u];`).join(' ')}
      ${columns.map((j) => `let b${j} = tile_b[k * ${tile.n}u + local.x * ${pn}u + ${j}u];`).join(' ')}
      ${rows.flatMap((i) => columns.map((j) => `s${i}_${j} += ${wide(`a${i} * b${j}`)};`)).join(' ')}
      ${s.sums ? rows.map((i) => `t${i} += ${wide(`a${i}`)};`).join(' ') : ''}
    }
    workgroupBarrier();
  }
  ${write.join('\n')}
  ${s.sums ? `if (column == 0u) { ${rows.map((i) => `if (row + ${i}u < u.m) { sums[part * u.m + row + ${i}u] = t${i}; }`).join(' ')} }` : ''}
}`;
}
