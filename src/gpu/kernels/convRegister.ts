/**
 * @file Convolution for software adapters: implicit matrix products in registers, without an im2col tensor. Pure (WGSL texts).
 *
 * An invocation computes 8 output pixels x 8 channels. Taps outside, input channels inside: the address and validity of its pixels are
 * found once per tap, then the inner loop is that of the register matrix product (matmulRegister.ts). Input gradient: the same with the
 * roles of the images exchanged; pixels are numbered by their residue modulo the stride, so that all pixels of a tile use the same taps
 * and none is computed in vain.
 */

export interface ConvForm {
  /** Pixels are read as vec4 along channels; weights and results written so. */
  readonly vectorIn: boolean;
  readonly vectorOut: boolean;
  readonly bias: boolean;
  /** The input gradient: gathers from dy instead of from x. */
  readonly gradient: boolean;
}

const PIXELS = 8;
const CHANNELS = 8;
const XYZW = 'xyzw';
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

export const CONV_TILE = { pixels: PIXELS, channels: CHANNELS } as const;

/**
 * Uniforms: batch, height, width (of what is read), outHeight, outWidth (of what is written), inChannels, outChannels, k, s, p, gridY, gridX
 * (numbering of written pixels: s x s residues of gridY x gridX in the gradient; outHeight x outWidth forward).
 * Bindings: x (read), w [tap][in][out], bias?, y.
 */
export function convWgsl({ vectorIn, vectorOut, bias, gradient }: ConvForm): string {
  const pixels = range(PIXELS);
  const quads = range(CHANNELS / 4);
  const steps = vectorIn ? 4 : 1;
  const locate = gradient
    ? `let inner = q % (u.gridY * u.gridX); let residue = (q / (u.gridY * u.gridX)) % (u.s * u.s);
    b = q / (u.gridY * u.gridX * u.s * u.s);
    y = i32((inner / u.gridX) * u.s + residue / u.s); x = i32((inner % u.gridX) * u.s + residue % u.s);`
    : `b = q / (u.outHeight * u.outWidth); y = i32((q / u.outWidth) % u.outHeight); x = i32(q % u.outWidth);`;
  const where = gradient
    ? `let ty = place.y + i32(u.p) - ky; let tx = place.x + i32(u.p) - kx;
  if (ty < 0 || tx < 0) { return -1; }
  let sy = ty / i32(u.s); let sx = tx / i32(u.s);
  if (sy * i32(u.s) != ty || sx * i32(u.s) != tx || sy >= i32(u.height) || sx >= i32(u.width)) { return -1; }`
    : `let sy = place.y * i32(u.s) - i32(u.p) + ky; let sx = place.x * i32(u.s) - i32(u.p) + kx;
  if (sy < 0 || sx < 0 || sy >= i32(u.height) || sx >= i32(u.width)) { return -1; }`;
  const zero = vectorIn ? 'vec4<f32>(0.0)' : '0.0';
  const load = pixels.map(
    (i) => `let x${i} = select(${zero}, x[at${i} + c${vectorIn ? ' / 4u' : ''}], in${i});`,
  );
  const weight = range(steps).flatMap((kk) =>
    vectorOut
      ? quads.map((q) => `let w${kk}_${q} = w[wt + (c + ${kk}u) * (u.outChannels / 4u) + col${q}];`)
      : quads.map(
          (q) =>
            `let w${kk}_${q} = vec4<f32>(${range(4)
              .map((e) => `w[wt + (c + ${kk}u) * u.outChannels + col${q}_${e}]`)
              .join(', ')});`,
        ),
  );
  const sum = range(steps).flatMap((kk) =>
    pixels.flatMap((i) =>
      quads.map((q) => `s${i}_${q} += x${i}${vectorIn ? `.${XYZW[kk]}` : ''} * w${kk}_${q};`),
    ),
  );
  const columns = vectorOut
    ? quads.map((q) => `let col${q} = min(column / 4u + ${q}u, u.outChannels / 4u - 1u);`)
    : quads.flatMap((q) =>
        range(4).map((e) => `let col${q}_${e} = min(column + ${4 * q + e}u, u.outChannels - 1u);`),
      );
  const write = pixels.map((i) => {
    const target = `((u32(p${i}.z) * u.outHeight + u32(p${i}.y)) * u.outWidth + u32(p${i}.x)) * u.outChannels`;
    const items = vectorOut
      ? quads.map(
          (q) =>
            `if (column + ${4 * q}u < u.outChannels) { y[(o + column) / 4u + ${q}u] = s${i}_${q}${bias ? ` + bias[column / 4u + ${q}u]` : ''}; }`,
        )
      : range(CHANNELS).map(
          (e) =>
            `if (column + ${e}u < u.outChannels) { y[o + column + ${e}u] = s${i}_${e >> 2}.${XYZW[e & 3]}${bias ? ` + bias[column + ${e}u]` : ''}; }`,
        );
    return `if (p${i}.z >= 0) { let o = ${target}; ${items.join(' ')} }`;
  });
  return `
// (x, y, image) of the q-th written pixel; image -1 where there is none.
fn pixel(q: u32) -> vec3<i32> {
  var b = 0u; var y = 0; var x = 0;
  ${locate}
  if (b >= u.batch || y >= i32(u.outHeight) || x >= i32(u.outWidth)) { return vec3<i32>(0, 0, -1); }
  return vec3<i32>(x, y, i32(b));
}
// Index of the first channel of the pixel that a tap reads, or -1.
fn source(place: vec3<i32>, ky: i32, kx: i32) -> i32 {
  if (place.z < 0) { return -1; }
  ${where}
  return ((place.z * i32(u.height) + sy) * i32(u.width) + sx) * i32(u.inChannels);
}
@compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x * ${CHANNELS}u;
  let first = id.y * ${PIXELS}u;
  if (column >= u.outChannels || first >= u.count) { return; }
  ${pixels.map((i) => `let p${i} = pixel(first + ${i}u);`).join(' ')}
  ${columns.join(' ')}
  ${pixels.flatMap((i) => quads.map((q) => `var s${i}_${q} = vec4<f32>(0.0);`)).join(' ')}
  for (var ky = 0; ky < i32(u.k); ky++) { for (var kx = 0; kx < i32(u.k); kx++) {
    ${pixels.map((i) => `let f${i} = source(p${i}, ky, kx); let in${i} = f${i} >= 0; let at${i} = u32(max(f${i}, 0))${vectorIn ? ' / 4u' : ''};`).join('\n    ')}
    if (!(${pixels.map((i) => `in${i}`).join(' || ')})) { continue; }
    let wt = u32(ky * i32(u.k) + kx) * u.inChannels * u.outChannels${vectorOut ? ' / 4u' : ''};
    for (var c = 0u; c < u.inChannels; c += ${steps}u) {
      ${load.join(' ')}
      ${weight.join(' ')}
      ${sum.join('\n      ')}
    }
  } }
  ${write.join('\n  ')}
}`;
}

/**
 * Weight gradient: partial sums [split][tap][in][out] over image rows, and of dy per channel [split][out].
 * An invocation owns one tap, 8 input and 8 output channels, and walks over the output pixels of its rows.
 * Bindings: x, dy, dw, db. Uniforms as above and splits, rows (of all images) per split.
 */
export function convWeightWgsl({
  vectorIn,
  vectorOut,
}: {
  readonly vectorIn: boolean;
  readonly vectorOut: boolean;
}): string {
  const ins = range(CHANNELS);
  const quads = range(CHANNELS / 4);
  const loadX = vectorIn
    ? quads.map((q) => `let x${q} = x[at / 4u + in${q}];`)
    : ins.map((i) => `let x${i} = x[at + in${i}];`);
  const valueX = (i: number): string => (vectorIn ? `x${i >> 2}.${XYZW[i & 3]}` : `x${i}`);
  const loadDy = vectorOut
    ? quads.map((q) => `let g${q} = dy[source / 4u + out${q}];`)
    : quads.map(
        (q) =>
          `let g${q} = vec4<f32>(${range(4)
            .map((e) => `dy[source + out${4 * q + e}]`)
            .join(', ')});`,
      );
  const write = ins.map((i) => {
    const at = `((part * u.k * u.k + tap) * u.inChannels + firstIn + ${i}u) * u.outChannels + firstOut`;
    const items = vectorOut
      ? quads.map((q) => `if (firstOut + ${4 * q}u < u.outChannels) { dw[(o) / 4u + ${q}u] = s${i}_${q}; }`)
      : ins.map(
          (e) => `if (firstOut + ${e}u < u.outChannels) { dw[o + ${e}u] = s${i}_${e >> 2}.${XYZW[e & 3]}; }`,
        );
    return `if (firstIn + ${i}u < u.inChannels) { let o = ${at}; ${items.join(' ')} }`;
  });
  const writeBias = vectorOut
    ? quads.map(
        (q) =>
          `if (firstOut + ${4 * q}u < u.outChannels) { db[(part * u.outChannels + firstOut) / 4u + ${q}u] = t${q}; }`,
      )
    : ins.map(
        (e) =>
          `if (firstOut + ${e}u < u.outChannels) { db[part * u.outChannels + firstOut + ${e}u] = t${e >> 2}.${XYZW[e & 3]}; }`,
      );
  return `
@compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let firstOut = id.x * ${CHANNELS}u;
  let firstIn = id.y * ${CHANNELS}u;
  let tap = id.z % (u.k * u.k);
  let part = id.z / (u.k * u.k);
  if (firstOut >= u.outChannels || firstIn >= u.inChannels) { return; }
  let ky = i32(tap / u.k) - i32(u.p);
  let kx = i32(tap % u.k) - i32(u.p);
  ${vectorIn ? quads.map((q) => `let in${q} = min(firstIn / 4u + ${q}u, u.inChannels / 4u - 1u);`).join(' ') : ins.map((i) => `let in${i} = min(firstIn + ${i}u, u.inChannels - 1u);`).join(' ')}
  ${vectorOut ? quads.map((q) => `let out${q} = min(firstOut / 4u + ${q}u, u.outChannels / 4u - 1u);`).join(' ') : ins.map((e) => `let out${e} = min(firstOut + ${e}u, u.outChannels - 1u);`).join(' ')}
  ${ins.flatMap((i) => quads.map((q) => `var s${i}_${q} = vec4<f32>(0.0);`)).join(' ')}
  ${quads.map((q) => `var t${q} = vec4<f32>(0.0);`).join(' ')}
  // Columns whose tap lies inside the image.
  let s = i32(u.s);
  let left = max(0, (-kx + s - 1) / s);
  let right = min(i32(u.outWidth), select(0, (i32(u.width) - 1 - kx) / s + 1, i32(u.width) - 1 - kx >= 0));
  let end = min(u.batch * u.outHeight, (part + 1u) * u.rows);
  for (var row = part * u.rows; row < end; row++) {
    let sy = i32(row % u.outHeight) * s + ky;
    if (sy < 0 || sy >= i32(u.height)) { continue; }
    let line = (row / u.outHeight) * u.height + u32(sy);
    for (var ox = left; ox < right; ox++) {
      let at = (line * u.width + u32(ox * s + kx)) * u.inChannels;
      let source = (row * u.outWidth + u32(ox)) * u.outChannels;
      ${loadX.join(' ')}
      ${loadDy.join(' ')}
      ${ins.flatMap((i) => quads.map((q) => `s${i}_${q} += ${valueX(i)} * g${q};`)).join('\n      ')}
      ${quads.map((q) => `t${q} += g${q};`).join(' ')}
    }
  }
  ${write.join('\n  ')}
  // The tap without offset meets every output pixel (k > 2 p): its sums of dy are the bias gradient.
  if (tap == u.p * u.k + u.p && firstIn == 0u) { ${writeBias.join(' ')} }
}`;
}
