/**
 * @file For tests only: the operations written as loops over float64, straight from their definitions.
 */

/** A float64 array with a shape, row-major. */
export interface Nd {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function zeros(...shape: number[]): Nd {
  return { shape, data: new Float64Array(size(shape)) };
}

const at = (x: Nd, ...index: number[]): number =>
  x.data[index.reduce((sum, i, axis) => sum * (x.shape[axis] as number) + i, 0)] as number;

function fill(shape: number[], f: (...index: number[]) => number): Nd {
  const out = zeros(...shape);
  const index = shape.map(() => 0);
  for (let flat = 0; flat < out.data.length; flat++) {
    let rest = flat;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % (shape[axis] as number);
      rest = Math.floor(rest / (shape[axis] as number));
    }
    out.data[flat] = f(...index);
  }
  return out;
}

const sum = (n: number, f: (i: number) => number): number => {
  let total = 0;
  for (let i = 0; i < n; i++) total += f(i);
  return total;
};

/** erf by its Taylor series; beyond 3, where that cancels, by the continued fraction of erfc (Abramowitz and Stegun 7.1.14). */
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x > 3) {
    let fraction = x;
    for (let k = 60; k > 0; k--) fraction = x + k / 2 / fraction;
    return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
  }
  let term = x;
  let total = x;
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    total += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

/** Batched product [b, m, k] x [b, k, n] with transposed operands. */
export function matMul(a: Nd, b: Nd, ta: boolean, tb: boolean): Nd {
  const [batch, a1, a2] = a.shape as [number, number, number];
  const [m, k] = ta ? [a2, a1] : [a1, a2];
  const n = b.shape[tb ? 1 : 2] as number;
  return fill([batch, m, n], (s = 0, i = 0, j = 0) =>
    sum(k, (l) => (ta ? at(a, s, l, i) : at(a, s, i, l)) * (tb ? at(b, s, j, l) : at(b, s, l, j))),
  );
}

export function linear(x: Nd, w: Nd, b: Nd): Nd {
  const [rows, inputs] = x.shape as [number, number];
  const out = w.shape[0] as number;
  return fill([rows, out], (i = 0, o = 0) => at(b, o) + sum(inputs, (k) => at(x, i, k) * at(w, o, k)));
}

export function map(x: Nd, f: (v: number) => number): Nd {
  return { shape: x.shape, data: x.data.map(f) };
}

export const gelu = (x: Nd): Nd => map(x, (v) => 0.5 * v * (1 + erf(v / Math.SQRT2)));

export function softmax(x: Nd): Nd {
  const [rows, n] = x.shape as [number, number];
  return fill([rows, n], (i = 0, j = 0) => Math.exp(at(x, i, j)) / sum(n, (k) => Math.exp(at(x, i, k))));
}

export function layerNorm(x: Nd, weight: Nd, bias: Nd, eps: number): Nd {
  const [rows, n] = x.shape as [number, number];
  return fill([rows, n], (i = 0, j = 0) => {
    const mean = sum(n, (k) => at(x, i, k)) / n;
    const variance = sum(n, (k) => (at(x, i, k) - mean) ** 2) / n;
    return ((at(x, i, j) - mean) / Math.sqrt(variance + eps)) * at(weight, j) + at(bias, j);
  });
}

/** Training mode: statistics over the rows. */
export function batchNorm(x: Nd, weight: Nd, bias: Nd, eps: number): Nd {
  const [rows, n] = x.shape as [number, number];
  return fill([rows, n], (i = 0, j = 0) => {
    const mean = sum(rows, (k) => at(x, k, j)) / rows;
    const variance = sum(rows, (k) => (at(x, k, j) - mean) ** 2) / rows;
    return ((at(x, i, j) - mean) / Math.sqrt(variance + eps)) * at(weight, j) + at(bias, j);
  });
}

/** x [b, h, w, in], w (out, in / groups, k, k), b (out); groups 1 or all channels. */
export function conv2d(x: Nd, w: Nd, b: Nd, stride: number, padding: number, depthwise = false): Nd {
  const [batch, h, width, c] = x.shape as [number, number, number, number];
  const [out, , k] = w.shape as [number, number, number];
  const side = (n: number): number => Math.floor((n + 2 * padding - k) / stride) + 1;
  return fill([batch, side(h), side(width), out], (s = 0, y = 0, z = 0, o = 0) => {
    let total = at(b, o);
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < k; j++) {
        const [yy, zz] = [y * stride + i - padding, z * stride + j - padding];
        if (yy < 0 || zz < 0 || yy >= h || zz >= width) continue;
        if (depthwise) total += at(x, s, yy, zz, o) * at(w, o, 0, i, j);
        else total += sum(c, (q) => at(x, s, yy, zz, q) * at(w, o, q, i, j));
      }
    }
    return total;
  });
}

/** torch's ConvTranspose2d, kernel = stride = 2: x [b, h, w, in], w (in, out, 2, 2), b (out). */
export function convTranspose(x: Nd, w: Nd, b: Nd): Nd {
  const [batch, h, width, c] = x.shape as [number, number, number, number];
  const out = w.shape[1] as number;
  return fill(
    [batch, 2 * h, 2 * width, out],
    (s = 0, y = 0, z = 0, o = 0) =>
      at(b, o) + sum(c, (q) => at(x, s, y >> 1, z >> 1, q) * at(w, q, o, y & 1, z & 1)),
  );
}

/** The sum of two arrays of one shape. */
export function plus(a: Nd, b: Nd): Nd {
  return { shape: a.shape, data: a.data.map((v, i) => v + (b.data[i] as number)) };
}

/** Two neighbours and the weight of the second. */
const source = (i: number, from: number, to: number): [number, number, number] => {
  const p = Math.max(0, ((i + 0.5) * from) / to - 0.5);
  const low = Math.floor(p);
  return [low, Math.min(low + 1, from - 1), p - low];
};

/** torch's interpolate(mode="bilinear", align_corners=False), from its definition. */
export function resize(x: Nd, height: number, width: number): Nd {
  const [batch, h, w, c] = x.shape as [number, number, number, number];
  return fill([batch, height, width, c], (s = 0, y = 0, z = 0, q = 0) => {
    const [y0, y1, ty] = source(y, h, height);
    const [z0, z1, tz] = source(z, w, width);
    const top = at(x, s, y0, z0, q) * (1 - tz) + at(x, s, y0, z1, q) * tz;
    const bottom = at(x, s, y1, z0, q) * (1 - tz) + at(x, s, y1, z1, q) * tz;
    return top * (1 - ty) + bottom * ty;
  });
}

export function attention(q: Nd, k: Nd, v: Nd, heads: number): Nd {
  const [batch, n, c] = q.shape as [number, number, number];
  const m = k.shape[1] as number;
  const d = c / heads;
  const score = (s: number, i: number, j: number, h: number): number =>
    Math.exp(sum(d, (e) => at(q, s, i, h * d + e) * at(k, s, j, h * d + e)) / Math.sqrt(d));
  return fill([batch, n, c], (s = 0, i = 0, channel = 0) => {
    const h = Math.floor(channel / d);
    const total = sum(m, (j) => score(s, i, j, h));
    return sum(m, (j) => score(s, i, j, h) * at(v, s, j, channel)) / total;
  });
}
