/**
 * @file Matrix product for software adapters (SwiftShader, lavapipe): every invocation keeps a TM x TN tile of C in registers and reads
 * its rows and columns straight from memory. No workgroup memory, no barriers: both are slow where a CPU runs the shader, and its
 * caches do what tiles in workgroup memory do on a GPU. Pure.
 *
 * A load costs such an adapter as much as several multiplications (one bounds check and one gather per lane), so tiles are large
 * (8 x 8: 16 values loaded for 64 multiplications) and operands are read as vec4 along whichever axis is contiguous. With both operands
 * contiguous along K (A B^T) the inner step is a dot product, else an outer product.
 */
import { finishFunctions, finishItem, type ProductShape } from './matmulParts';

export interface RegisterTile {
  readonly tm: number; // rows of C per invocation, a multiple of 4
  readonly tn: number; // columns, a multiple of 4
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const XYZW = 'xyzw';

/** WGSL that declares what is read of A in one step along K, and the expression of A[row i, k + kk]. */
function readA(
  s: ProductShape,
  tm: number,
  steps: number,
): { setup: string; load: string; value: (i: number, kk: number) => string } {
  const rows = range(tm);
  if (!s.transposeA) {
    const width = s.vectorA ? 4 : 1;
    return {
      setup: rows.map((i) => `let ra${i} = (atA + min(row + ${i}u, u.m - 1u) * u.k) / ${width}u;`).join('\n'),
      load: rows.map((i) => `let a${i} = a[ra${i} + k / ${width}u];`).join(' '),
      value: (i, kk) => (s.vectorA ? `a${i}.${XYZW[kk]}` : `a${i}`),
    };
  }
  if (s.vectorA) {
    const quads = range(tm / 4);
    return {
      setup: quads.map((q) => `let ca${q} = min(row / 4u + ${q}u, u.m / 4u - 1u) + atA / 4u;`).join('\n'),
      load: range(steps)
        .flatMap((kk) => quads.map((q) => `let a${kk}_${q} = a[(k + ${kk}u) * (u.m / 4u) + ca${q}];`))
        .join(' '),
      value: (i, kk) => `a${kk}_${i >> 2}.${XYZW[i & 3]}`,
    };
  }
  return {
    setup: rows.map((i) => `let ca${i} = min(row + ${i}u, u.m - 1u) + atA;`).join('\n'),
    load: range(steps)
      .flatMap((kk) => rows.map((i) => `let a${kk}_${i} = a[(k + ${kk}u) * u.m + ca${i}];`))
      .join(' '),
    value: (i, kk) => `a${kk}_${i}`,
  };
}

/** The expression that reads item `index` of B (vec4 or scalar), whatever its storage. */
function itemB(s: ProductShape, index: string): string {
  if (!s.halfB) return `b[${index}]`;
  return s.vectorB ? `half4(b[${index}])` : `half1(${index})`;
}

/** WGSL helpers for B stored as halves; b is array<vec2<u32>> (vectorB) or array<u32>. */
export function halfFunctions(s: ProductShape): string {
  if (!s.halfB) return '';
  return s.vectorB
    ? 'fn half4(p: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(p.x), unpack2x16float(p.y)); }'
    : 'fn half1(i: u32) -> f32 { let p = unpack2x16float(b[i / 2u]); return select(p.x, p.y, (i & 1u) == 1u); }';
}

function readB(
  s: ProductShape,
  tn: number,
  steps: number,
): { setup: string; load: string; value: (j: number, kk: number) => string } {
  const columns = range(tn);
  if (s.transposeB) {
    const width = s.vectorB ? 4 : 1;
    return {
      setup: columns
        .map((j) => `let rb${j} = (atB + min(column + ${j}u, u.n - 1u) * u.k) / ${width}u;`)
        .join('\n'),
      load: columns.map((j) => `let b${j} = ${itemB(s, `rb${j} + k / ${width}u`)};`).join(' '),
      value: (j, kk) => (s.vectorB ? `b${j}.${XYZW[kk]}` : `b${j}`),
    };
  }
  if (s.vectorB) {
    const quads = range(tn / 4);
    return {
      setup: quads.map((q) => `let cb${q} = min(column / 4u + ${q}u, u.n / 4u - 1u) + atB / 4u;`).join('\n'),
      load: range(steps)
        .flatMap((kk) =>
          quads.map((q) => `let b${kk}_${q} = ${itemB(s, `(k + ${kk}u) * (u.n / 4u) + cb${q}`)};`),
        )
        .join(' '),
      value: (j, kk) => `b${kk}_${j >> 2}.${XYZW[j & 3]}`,
    };
  }
  return {
    setup: columns.map((j) => `let cb${j} = min(column + ${j}u, u.n - 1u) + atB;`).join('\n'),
    load: range(steps)
      .flatMap((kk) => columns.map((j) => `let b${kk}_${j} = ${itemB(s, `(k + ${kk}u) * u.n + cb${j}`)};`))
      .join(' '),
    value: (j, kk) => `b${kk}_${j}`,
  };
}

/** Multiplications of one step along K. Accumulators: quads q<i>_<q> where B comes as vec4 along N, else scalars s<i>_<j>. */
function multiply(
  s: ProductShape,
  { tm, tn }: RegisterTile,
  steps: number,
  a: (i: number, kk: number) => string,
  b: (j: number, kk: number) => string,
): string {
  const alongN = s.vectorB && !s.transposeB;
  if (alongN) {
    return range(steps)
      .flatMap((kk) =>
        range(tm).flatMap((i) => range(tn / 4).map((q) => `q${i}_${q} += ${a(i, kk)} * b${kk}_${q};`)),
      )
      .join('\n');
  }
  const dot = s.vectorA && !s.transposeA && s.vectorB && s.transposeB;
  return range(tm)
    .flatMap((i) =>
      range(tn).map((j) =>
        dot
          ? `s${i}_${j} += dot(a${i}, b${j});`
          : range(steps)
              .map((kk) => `s${i}_${j} += ${a(i, kk)} * ${b(j, kk)};`)
              .join(' '),
      ),
    )
    .join('\n');
}

/** Steps along K per turn: 4 where an operand is read as vec4 along K (K is then a multiple of 4). */
export function stepsAlongK(s: ProductShape): number {
  return (s.vectorA && !s.transposeA) || (s.vectorB && s.transposeB) ? 4 : 1;
}

/** The kernel. Workgroups: columns / (8 tn), rows / (8 tm), batch x splits. */
export function registerWgsl(s: ProductShape, tile: RegisterTile): string {
  const { tm, tn } = tile;
  const steps = stepsAlongK(s);
  const a = readA(s, tm, steps);
  const b = readB(s, tn, steps);
  const alongN = s.vectorB && !s.transposeB;
  const zero = alongN
    ? range(tm).flatMap((i) => range(tn / 4).map((q) => `var q${i}_${q} = vec4<f32>(0.0);`))
    : range(tm).flatMap((i) => range(tn).map((j) => `var s${i}_${j} = 0.0;`));
  const quad = (i: number, q: number): string =>
    alongN ? `q${i}_${q}` : `vec4<f32>(${[0, 1, 2, 3].map((j) => `s${i}_${q * 4 + j}`).join(', ')})`;
  const single = (i: number, j: number): string => (alongN ? `q${i}_${j >> 2}.${XYZW[j & 3]}` : `s${i}_${j}`);
  const write = range(tm).map((i) => {
    const items = s.vectorC
      ? range(tn / 4).map(
          (q) =>
            `if (column + ${4 * q}u < u.n) ${finishItem(s, quad(i, q), `atC / 4u + (row + ${i}u) * (u.n / 4u) + column / 4u + ${q}u`, `column / 4u + ${q}u`)}`,
        )
      : range(tn).map(
          (j) =>
            `if (column + ${j}u < u.n) ${finishItem(s, single(i, j), `atC + (row + ${i}u) * u.n + column + ${j}u`, `column + ${j}u`)}`,
        );
    return `if (row + ${i}u < u.m) { ${items.join('\n')} }`;
  });
  const sums = s.sums
    ? {
        zero: range(tm)
          .map((i) => `var t${i} = 0.0;`)
          .join(' '),
        add: range(tm)
          .map(
            (i) =>
              `t${i} += ${range(steps)
                .map((kk) => a.value(i, kk))
                .join(' + ')};`,
          )
          .join(' '),
        write: `if (column == 0u) { ${range(tm)
          .map((i) => `if (row + ${i}u < u.m) { sums[part * u.m + row + ${i}u] = t${i}; }`)
          .join(' ')} }`,
      }
    : { zero: '', add: '', write: '' };
  return `${finishFunctions(s)}
${halfFunctions(s)}
@compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x * ${tn}u;
  let row = id.y * ${tm}u;
  if (row >= u.m || column >= u.n) { return; }
  let batch = id.z / u.splits;
  let part = id.z % u.splits;
  let atA = batch * u.strideA;
  let atB = batch * u.strideB;
  let atC = id.z * u.m * u.n;
  let end = min(u.k, (part + 1u) * u.length);
  ${a.setup}
  ${b.setup}
  ${zero.join(' ')}
  ${sums.zero}
  for (var k = part * u.length; k < end; k += ${steps}u) {
    ${a.load}
    ${b.load}
    ${multiply(s, tile, steps, a.value, b.value)}
    ${sums.add}
  }
  ${write.join('\n')}
  ${sums.write}
}`;
}
