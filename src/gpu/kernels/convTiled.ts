/**
 * @file Convolution for GPUs: implicit matrix products through workgroup memory. Pure (WGSL texts).
 *
 * 16 x 16 invocations compute 64 x 64 values, 4 x 4 each, from slices of 16 along the summed axis, 8 KiB of workgroup memory: as
 * matmulTiled.ts, except that one operand is gathered from the image while it is loaded. Forward and input gradient: rows are
 * pixels, the summed axis is (tap, channel). Weight gradient: rows are (tap, input channel), the summed axis is the output pixels.
 */
import type { ConvForm } from './convRegister';

/** Rows and columns of a workgroup's tile. */
export const TILE = 64;
const DEPTH = 16;
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** The tile product; `loadA(row, k)`, `loadB(k, column)` are 0 outside; K is [from, to). `write` uses row, column, s<i>_<j>. */
function tiled(
  functions: string,
  setup: string,
  from: string,
  to: string,
  write: string,
  extra = { declare: '', step: '' },
): string {
  const four = range(4);
  return `${functions}
var<workgroup> tile_a: array<f32, ${TILE * DEPTH}>;
var<workgroup> tile_b: array<f32, ${TILE * DEPTH}>;
@compute @workgroup_size(16, 16) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let firstRow = group.y * ${TILE}u;
  let firstColumn = group.x * ${TILE}u;
  ${setup}
  let row = firstRow + local.y * 4u;
  let column = firstColumn + local.x * 4u;
  ${four.flatMap((i) => four.map((j) => `var s${i}_${j} = 0.0;`)).join(' ')}
  ${extra.declare}
  for (var start = ${from}; start < ${to}; start += ${DEPTH}u) {
    for (var turn = 0u; turn < 4u; turn++) {
      let item = lane + turn * 256u;
      tile_a[(item % ${DEPTH}u) * ${TILE}u + item / ${DEPTH}u] = loadA(firstRow + item / ${DEPTH}u, start + item % ${DEPTH}u, ${to});
      tile_b[item] = loadB(start + item / ${TILE}u, firstColumn + item % ${TILE}u, ${to});
    }
    workgroupBarrier();
    for (var k = 0u; k < ${DEPTH}u; k++) {
      ${four.map((i) => `let a${i} = tile_a[k * ${TILE}u + local.y * 4u + ${i}u];`).join(' ')}
      ${four.map((j) => `let b${j} = tile_b[k * ${TILE}u + local.x * 4u + ${j}u];`).join(' ')}
      ${four.flatMap((i) => four.map((j) => `s${i}_${j} += a${i} * b${j};`)).join(' ')}
      ${extra.step}
    }
    workgroupBarrier();
  }
  ${write}
}`;
}

/** As convWgsl, all bindings f32. */
export function convTiledWgsl({ bias, gradient }: ConvForm): string {
  const locate = gradient
    ? `let inner = q % (u.gridY * u.gridX); let residue = (q / (u.gridY * u.gridX)) % (u.s * u.s);
  let b = q / (u.gridY * u.gridX * u.s * u.s);
  let y = (inner / u.gridX) * u.s + residue / u.s; let x = (inner % u.gridX) * u.s + residue % u.s;`
    : 'let b = q / (u.outHeight * u.outWidth); let y = (q / u.outWidth) % u.outHeight; let x = q % u.outWidth;';
  const where = gradient
    ? `let ty = i32(place.y + u.p) - ky; let tx = i32(place.x + u.p) - kx;
  let sy = ty / i32(u.s); let sx = tx / i32(u.s);
  if (ty < 0 || tx < 0 || sy * i32(u.s) != ty || sx * i32(u.s) != tx || sy >= i32(u.height) || sx >= i32(u.width)) { return 0.0; }`
    : `let sy = i32(place.y * u.s) - i32(u.p) + ky; let sx = i32(place.x * u.s) - i32(u.p) + kx;
  if (sy < 0 || sx < 0 || sy >= i32(u.height) || sx >= i32(u.width)) { return 0.0; }`;
  const functions = `
fn pixel(q: u32) -> vec3<u32> { ${locate} return vec3<u32>(x, y, b); }
fn inside(place: vec3<u32>) -> bool { return place.z < u.batch && place.y < u.outHeight && place.x < u.outWidth; }
fn loadA(row: u32, k: u32, end: u32) -> f32 {
  if (k >= end || row >= u.count) { return 0.0; }
  let place = pixel(row);
  if (!inside(place)) { return 0.0; }
  let tap = k / u.inChannels;
  let ky = i32(tap / u.k); let kx = i32(tap % u.k);
  ${where}
  return x[((place.z * u.height + u32(sy)) * u.width + u32(sx)) * u.inChannels + k % u.inChannels];
}
fn loadB(k: u32, column: u32, end: u32) -> f32 {
  if (k >= end || column >= u.outChannels) { return 0.0; }
  return w[k * u.outChannels + column];
}`;
  const write = range(4).map(
    (i) => `{ let place = pixel(row + ${i}u);
    if (row + ${i}u < u.count && inside(place)) {
      let o = ((place.z * u.outHeight + place.y) * u.outWidth + place.x) * u.outChannels;
      ${range(4)
        .map(
          (j) =>
            `if (column + ${j}u < u.outChannels) { y[o + column + ${j}u] = s${i}_${j}${bias ? ` + bias[column + ${j}u]` : ''}; }`,
        )
        .join(' ')}
    } }`,
  );
  return tiled(functions, 'let total = u.k * u.k * u.inChannels;', '0u', 'total', write.join('\n  '));
}

/** As convWeightWgsl, all bindings f32; workgroups in z are the parts. */
export function convWeightTiledWgsl(): string {
  const functions = `
fn loadA(row: u32, k: u32, end: u32) -> f32 {
  let tap = row / u.inChannels;
  if (k >= end || tap >= u.k * u.k) { return 0.0; }
  let sy = i32(((k / u.outWidth) % u.outHeight) * u.s + tap / u.k) - i32(u.p);
  let sx = i32((k % u.outWidth) * u.s + tap % u.k) - i32(u.p);
  if (sy < 0 || sx < 0 || sy >= i32(u.height) || sx >= i32(u.width)) { return 0.0; }
  let image = k / (u.outWidth * u.outHeight);
  return x[((image * u.height + u32(sy)) * u.width + u32(sx)) * u.inChannels + row % u.inChannels];
}
fn loadB(k: u32, column: u32, end: u32) -> f32 {
  if (k >= end || column >= u.outChannels) { return 0.0; }
  return dy[k * u.outChannels + column];
}`;
  const write = range(4).map(
    (i) =>
      `if (row + ${i}u < u.k * u.k * u.inChannels) { ${range(4)
        .map(
          (j) =>
            `if (column + ${j}u < u.outChannels) { dw[(group.z * u.k * u.k * u.inChannels + row + ${i}u) * u.outChannels + column + ${j}u] = s${i}_${j}; }`,
        )
        .join(' ')} }`,
  );
  const bias = range(4).map(
    (j) => `if (column + ${j}u < u.outChannels) { db[group.z * u.outChannels + column + ${j}u] = t${j}; }`,
  );
  return tiled(
    functions,
    `let begin = group.z * u.rows * u.outWidth; let to = min(u.batch * u.outHeight, (group.z + 1u) * u.rows) * u.outWidth;`,
    'begin',
    'to',
    `${write.join('\n  ')}\n  if (row == 0u) { ${bias.join(' ')} }`,
    {
      declare: range(4)
        .map((j) => `var t${j} = 0.0;`)
        .join(' '),
      step: range(4)
        .map((j) => `t${j} += b${j};`)
        .join(' '),
    },
  );
}
