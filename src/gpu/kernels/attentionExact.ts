/** @file For tests only: attention and its gradients in float64. */
import type { AttentionSizes } from './attention';

/** y, log-sum-exp, dq, dk, dv for rows of heads side by side. */
export function exactAttention(
  { batch, n, m, heads, d, scale }: AttentionSizes,
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  dy: Float32Array,
): Float64Array[] {
  const c = heads * d;
  const make = (size: number): Float64Array => new Float64Array(size);
  const [y, logsum] = [make(batch * n * c), make(batch * heads * n)];
  const [dq, dk, dv] = [make(batch * n * c), make(batch * m * c), make(batch * m * c)];
  const at = (x: ArrayLike<number>, i: number): number => x[i] as number;
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++)
      for (let i = 0; i < n; i++) {
        const [iq, keys] = [(b * n + i) * c + h * d, b * m * c + h * d];
        const s = Float64Array.from({ length: m }, (_, j) => {
          let sum = 0;
          for (let e = 0; e < d; e++) sum += at(q, iq + e) * at(k, keys + j * c + e);
          return sum * scale;
        });
        const top = Math.max(...s);
        const p = s.map((value) => Math.exp(value - top));
        const total = p.reduce((a, value) => a + value, 0);
        logsum[(b * heads + h) * n + i] = top + Math.log(total);
        p.forEach((value, j) => (p[j] = value / total));
        const dp = p.map((_, j) => {
          let sum = 0;
          for (let e = 0; e < d; e++) {
            const place = keys + j * c + e;
            y[iq + e] = at(y, iq + e) + at(p, j) * at(v, place);
            dv[place] = at(dv, place) + at(p, j) * at(dy, iq + e);
            sum += at(dy, iq + e) * at(v, place);
          }
          return sum;
        });
        const along = dp.reduce((a, value, j) => a + value * at(p, j), 0);
        for (let j = 0; j < m; j++) {
          const ds = at(p, j) * (at(dp, j) - along) * scale;
          for (let e = 0; e < d; e++) {
            dq[iq + e] = at(dq, iq + e) + ds * at(k, keys + j * c + e);
            dk[keys + j * c + e] = at(dk, keys + j * c + e) + ds * at(q, iq + e);
          }
        }
      }
  return [y, logsum, dq, dk, dv];
}
