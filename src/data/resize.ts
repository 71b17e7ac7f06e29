/**
 * @file Image resizing equal to Pillow's, byte for byte. Imports nothing.
 * Algorithm: Pillow's Resample.c as described in reference/models.md section 9.5 (triangle filter whose support grows with the reduction,
 * 22-bit fixed point, horizontal pass first through an 8-bit intermediate); nearest as a running float64 sum.
 */

const PRECISION = 22;
const HALF = 1 << (PRECISION - 1);

interface Taps {
  /** First input position per output position. */
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** Fixed-point weights, `stride` per output position. */
  readonly weights: Int32Array;
  readonly stride: number;
}

/** Pillow's precompute_coeffs for the triangle filter. */
function triangleTaps(from: number, to: number): Taps {
  const scale = from / to;
  const filterScale = Math.max(scale, 1);
  const support = filterScale;
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(to);
  const count = new Int32Array(to);
  const weights = new Int32Array(to * stride);
  const w = new Float64Array(stride);
  for (let x = 0; x < to; x++) {
    const center = (x + 0.5) * scale;
    const low = Math.max(Math.trunc(center - support + 0.5), 0);
    const high = Math.min(Math.trunc(center + support + 0.5), from);
    let sum = 0;
    for (let i = low; i < high; i++) {
      const v = Math.max(0, 1 - Math.abs((i - center + 0.5) / filterScale));
      w[i - low] = v;
      sum += v;
    }
    for (let i = 0; i < high - low; i++) {
      const v = (w[i] as number) / sum;
      weights[x * stride + i] = Math.trunc(v * (1 << PRECISION) + 0.5);
    }
    first[x] = low;
    count[x] = high - low;
  }
  return { first, count, weights, stride };
}

const clip8 = (v: number): number => (v < 0 ? 0 : v > 255 ? 255 : v);

/** Resizes along x. data [height, width, channels] -> [height, to, channels]. */
function horizontal(
  data: Uint8Array,
  width: number,
  height: number,
  channels: number,
  to: number,
): Uint8Array {
  const { first, count, weights, stride } = triangleTaps(width, to);
  const out = new Uint8Array(to * height * channels);
  for (let y = 0; y < height; y++) {
    const row = y * width * channels;
    for (let x = 0; x < to; x++) {
      const start = row + (first[x] as number) * channels;
      const n = count[x] as number;
      for (let c = 0; c < channels; c++) {
        let acc = HALF;
        for (let i = 0; i < n; i++) {
          acc += (data[start + i * channels + c] as number) * (weights[x * stride + i] as number);
        }
        out[(y * to + x) * channels + c] = clip8(acc >> PRECISION);
      }
    }
  }
  return out;
}

/** Resizes along y. data [height, width, channels] -> [to, width, channels]. */
function vertical(data: Uint8Array, width: number, height: number, channels: number, to: number): Uint8Array {
  const { first, count, weights, stride } = triangleTaps(height, to);
  const line = width * channels;
  const out = new Uint8Array(to * line);
  const acc = new Int32Array(line);
  for (let y = 0; y < to; y++) {
    acc.fill(HALF);
    for (let i = 0; i < (count[y] as number); i++) {
      const k = weights[y * stride + i] as number;
      const row = ((first[y] as number) + i) * line;
      for (let x = 0; x < line; x++) acc[x] = (acc[x] as number) + (data[row + x] as number) * k;
    }
    for (let x = 0; x < line; x++) out[y * line + x] = clip8((acc[x] as number) >> PRECISION);
  }
  return out;
}

/**
 * Pillow's Image.resize((toWidth, toHeight), BILINEAR) of 8-bit samples.
 * @param data [height, width, channels], interleaved; modes L and RGB (RGBA must be premultiplied: `resizeRgba`).
 */
export function resizeBilinear(
  data: Uint8Array,
  width: number,
  height: number,
  channels: number,
  toWidth: number,
  toHeight: number,
): Uint8Array {
  let out = data;
  if (toWidth !== width) out = horizontal(out, width, height, channels, toWidth);
  if (toHeight !== height) out = vertical(out, toWidth, height, channels, toHeight);
  return out === data ? data.slice() : out;
}

/** (a * b) / 255 rounded, as Pillow's MULDIV255. */
function mulDiv255(a: number, b: number): number {
  const t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

/** RGBA: premultiplied, resized, divided back, as Pillow does. */
export function resizeRgba(
  data: Uint8Array,
  width: number,
  height: number,
  toWidth: number,
  toHeight: number,
): Uint8Array {
  if (toWidth === width && toHeight === height) return data.slice(); // Pillow copies
  const pre = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 4) {
    const a = data[i + 3] as number;
    for (let c = 0; c < 3; c++) pre[i + c] = mulDiv255(data[i + c] as number, a);
    pre[i + 3] = a;
  }
  const out = resizeBilinear(pre, width, height, 4, toWidth, toHeight);
  for (let i = 0; i < out.length; i += 4) {
    const a = out[i + 3] as number;
    if (a === 0 || a === 255) continue;
    for (let c = 0; c < 3; c++) out[i + c] = clip8(Math.trunc((255 * (out[i + c] as number)) / a));
  }
  return out;
}

/** Pillow's nearest positions: a running float64 sum, which at some ratios ends one ulp below an integer. */
function nearestPositions(from: number, to: number): Int32Array {
  const step = from / to;
  const out = new Int32Array(to);
  let at = step * 0.5;
  for (let i = 0; i < to; i++) {
    out[i] = Math.min(from - 1, Math.trunc(at));
    at += step;
  }
  return out;
}

/** Pillow's Image.resize(..., NEAREST): masks, palettes, 1-bit images. data [height, width, channels]. */
export function resizeNearest(
  data: Uint8Array,
  width: number,
  height: number,
  channels: number,
  toWidth: number,
  toHeight: number,
): Uint8Array {
  const xs = nearestPositions(width, toWidth);
  const ys = nearestPositions(height, toHeight);
  const out = new Uint8Array(toWidth * toHeight * channels);
  let at = 0;
  for (let y = 0; y < toHeight; y++) {
    const row = (ys[y] as number) * width;
    for (let x = 0; x < toWidth; x++) {
      const from = (row + (xs[x] as number)) * channels;
      for (let c = 0; c < channels; c++) out[at++] = data[from + c] as number;
    }
  }
  return out;
}
