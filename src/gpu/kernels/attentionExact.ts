/** @file For tests only: attention and its gradients in float64. */
import type { AttentionSizes } from './attentionParts';

/** What is added to the scores, as in AttentionOperands. */
export interface Extras {
  readonly keyMask?: Float32Array | Int32Array;
  readonly bias?: { readonly heads: number; readonly values: Float32Array };
  readonly rel?: {
    readonly kh: number;
    readonly kw: number;
    readonly relH: Float32Array;
    readonly relW: Float32Array;
  };
}

const at = (x: ArrayLike<number>, i: number): number => x[i] as number;

function dot(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, d: number): number {
  let sum = 0;
  for (let e = 0; e < d; e++) sum += at(a, i + e) * at(b, j + e);
  return sum;
}

/** y += factor x over d channels. */
function addTo(y: Float64Array, i: number, factor: number, x: ArrayLike<number>, j: number, d: number): void {
  for (let e = 0; e < d; e++) y[i + e] = at(y, i + e) + factor * at(x, j + e);
}

/** y, log-sum-exp, dq, dk, dv for rows of heads side by side; then the gradients of relH, relW and of the bias, if there are such. */
export function exactAttention(
  { batch, n, m, heads, d, scale }: AttentionSizes,
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  dy: Float32Array,
  { keyMask, bias, rel }: Extras = {},
): Float64Array[] {
  const c = heads * d;
  const make = (size: number): Float64Array => new Float64Array(size);
  const [y, logsum] = [make(batch * n * c), make(batch * heads * n)];
  const [dq, dk, dv] = [make(batch * n * c), make(batch * m * c), make(batch * m * c)];
  const [dRelH, dRelW, dBias] = [make(rel?.relH.length ?? 0), make(rel?.relW.length ?? 0), make(bias?.values.length ?? 0)]; // prettier-ignore
  const places = (b: number, h: number, i: number, j: number): [number, number, number] => {
    const row = (b * heads + h) * n + i;
    const [kh, kw] = [rel?.kh ?? 1, rel?.kw ?? 1];
    return [row * kh + Math.floor(j / kw), row * kw + (j % kw), ((h % (bias?.heads ?? 1)) * n + i) * m + j];
  };
  const one = (b: number, h: number, i: number): void => {
    const [iq, keys] = [(b * n + i) * c + h * d, b * m * c + h * d];
    const s = Float64Array.from({ length: m }, (_, j) => {
      if (keyMask?.[b * m + j] === 0) return -Infinity;
      const [ph, pw, pb] = places(b, h, i, j);
      const relative = rel ? at(rel.relH, ph) + at(rel.relW, pw) : 0;
      return dot(q, iq, k, keys + j * c, d) * scale + relative + (bias ? at(bias.values, pb) : 0);
    });
    const top = Math.max(...s);
    if (top === -Infinity) {
      logsum[(b * heads + h) * n + i] = 3e38; // the kernels' sign for "no keys"
      return;
    }
    const total = s.reduce((sum, value) => sum + Math.exp(value - top), 0);
    logsum[(b * heads + h) * n + i] = top + Math.log(total);
    const p = s.map((value) => Math.exp(value - top) / total);
    const dp = p.map((_, j) => dot(dy, iq, v, keys + j * c, d));
    const along = dp.reduce((sum, value, j) => sum + value * at(p, j), 0);
    for (let j = 0; j < m; j++) {
      const ds = at(p, j) * (at(dp, j) - along);
      addTo(y, iq, at(p, j), v, keys + j * c, d);
      addTo(dv, keys + j * c, at(p, j), dy, iq, d);
      addTo(dq, iq, ds * scale, k, keys + j * c, d);
      addTo(dk, keys + j * c, ds * scale, q, iq, d);
      const [ph, pw, pb] = places(b, h, i, j);
      if (rel) [dRelH[ph], dRelW[pw]] = [at(dRelH, ph) + ds, at(dRelW, pw) + ds];
      if (bias) dBias[pb] = at(dBias, pb) + ds;
    }
  };
  for (let b = 0; b < batch; b++) for (let h = 0; h < heads; h++) for (let i = 0; i < n; i++) one(b, h, i);
  return [y, logsum, dq, dk, dv, ...(rel ? [dRelH, dRelW] : []), ...(bias ? [dBias] : [])];
}
