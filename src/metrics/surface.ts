/**
 * @file Borders of masks and distances between them. Typed arrays only.
 * Border: mask xor its erosion by the 4-neighbour cross, where pixels on the image's edge count as border (the definition medpy and
 * SciPy's default give; reference/models.md section 6.1). Distances: exact Euclidean transform (Felzenszwalb and Huttenlocher 2012,
 * lower envelope of parabolas), per axis with its own spacing.
 */

/** [row, column] size of a pixel, as all reference libraries order it. */
export type Spacing = readonly [number, number];

/** 1 where the mask is set and a 4-neighbour (or the outside) is not. mask [height, width] of 0 / 1. */
export function borderOf(mask: Uint8Array, width: number, height: number): Uint8Array {
  const out = new Uint8Array(mask.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      if (mask[i] === 0) continue;
      const inside =
        x > 0 &&
        y > 0 &&
        x < width - 1 &&
        y < height - 1 &&
        mask[i - 1] !== 0 &&
        mask[i + 1] !== 0 &&
        mask[i - width] !== 0 &&
        mask[i + width] !== 0;
      if (!inside) out[i] = 1;
    }
  }
  return out;
}

/** One-dimensional squared distance transform of f with unit `s` between samples; results go to `out`. */
function transformLine(
  f: Float64Array,
  n: number,
  s: number,
  out: Float64Array,
  v: Int32Array,
  z: Float64Array,
): void {
  let k = -1;
  for (let q = 0; q < n; q++) {
    const fq = f[q] as number;
    if (fq === Infinity) continue;
    let start = -Infinity;
    while (k >= 0) {
      const p = v[k] as number;
      start = (fq + (q * s) ** 2 - ((f[p] as number) + (p * s) ** 2)) / (2 * s * s * (q - p));
      if (start > (z[k] as number)) break;
      k--;
      start = -Infinity;
    }
    k++;
    v[k] = q;
    z[k] = start;
  }
  if (k < 0) {
    out.fill(Infinity, 0, n);
    return;
  }
  let at = 0;
  for (let q = 0; q < n; q++) {
    while (at < k && (z[at + 1] as number) < q) at++;
    const p = v[at] as number;
    out[q] = ((q - p) * s) ** 2 + (f[p] as number);
  }
}

/** Distance of every pixel to the nearest set pixel; Infinity when none is set. seeds [height, width]. */
export function distanceTransform(
  seeds: Uint8Array,
  width: number,
  height: number,
  spacing: Spacing,
): Float64Array {
  const n = Math.max(width, height);
  const line = new Float64Array(n);
  const result = new Float64Array(n);
  const v = new Int32Array(n);
  const z = new Float64Array(n + 1);
  const grid = new Float64Array(width * height);
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) line[y] = seeds[y * width + x] === 0 ? Infinity : 0;
    transformLine(line, height, spacing[0], result, v, z);
    for (let y = 0; y < height; y++) grid[y * width + x] = result[y] as number;
  }
  for (let y = 0; y < height; y++) {
    line.set(grid.subarray(y * width, (y + 1) * width));
    transformLine(line, width, spacing[1], result, v, z);
    for (let x = 0; x < width; x++) grid[y * width + x] = Math.sqrt(result[x] as number);
  }
  return grid;
}

/** Distances from each border pixel of `a` to the border of `b`, in row order. Empty when a has no pixel. */
function directed(a: Uint8Array, toB: Float64Array): Float64Array {
  let n = 0;
  for (const v of a) n += v;
  const out = new Float64Array(n);
  let at = 0;
  for (let i = 0; i < a.length; i++) if (a[i] !== 0) out[at++] = toB[i] as number;
  return out;
}

export interface SurfaceDistances {
  readonly predictionToTruth: Float64Array;
  readonly truthToPrediction: Float64Array;
}

/** Both directed sets of border distances; both masks must have a pixel. Masks are cropped to their union: nothing else matters. */
export function surfaceDistances(
  prediction: Uint8Array,
  truth: Uint8Array,
  width: number,
  height: number,
  spacing: Spacing = [1, 1],
): SurfaceDistances {
  const bp = borderOf(prediction, width, height);
  const bt = borderOf(truth, width, height);
  const box = boundingBox(bp, bt, width, height);
  const p = crop(bp, width, box);
  const t = crop(bt, width, box);
  const [w, h] = [box.x1 - box.x0, box.y1 - box.y0];
  return {
    predictionToTruth: directed(p, distanceTransform(t, w, h, spacing)),
    truthToPrediction: directed(t, distanceTransform(p, w, h, spacing)),
  };
}

interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

function boundingBox(a: Uint8Array, b: Uint8Array, width: number, height: number): Box {
  const box = { x0: width, y0: height, x1: 0, y1: 0 };
  for (let i = 0; i < a.length; i++) {
    if (a[i] === 0 && b[i] === 0) continue;
    const x = i % width;
    const y = (i - x) / width;
    if (x < box.x0) box.x0 = x;
    if (x >= box.x1) box.x1 = x + 1;
    if (y < box.y0) box.y0 = y;
    if (y >= box.y1) box.y1 = y + 1;
  }
  return box;
}

function crop(mask: Uint8Array, width: number, box: Box): Uint8Array {
  const w = box.x1 - box.x0;
  const out = new Uint8Array(w * (box.y1 - box.y0));
  for (let y = box.y0; y < box.y1; y++) {
    out.set(mask.subarray(y * width + box.x0, y * width + box.x1), (y - box.y0) * w);
  }
  return out;
}

/** numpy's percentile with linear interpolation; q in 0..100. Sorts a copy. */
export function percentile(values: Float64Array, q: number): number {
  const sorted = values.slice().sort();
  const at = ((sorted.length - 1) * q) / 100;
  const low = Math.floor(at);
  const a = sorted[low] as number;
  const b = sorted[Math.min(low + 1, sorted.length - 1)] as number;
  const t = at - low;
  // numpy's lerp, which is exact at both ends.
  return t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
}
