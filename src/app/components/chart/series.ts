/**
 * @file Curves before drawing: smoothing, logarithm, downsampling. Pure.
 */

export interface Point {
  readonly x: number;
  readonly y: number;
}

/**
 * TensorBoard's debiased exponential average: last = last w + (1 - w) y, divided by 1 - w^n. Points that are not finite pass through
 * and do not count; a constant series stays as it is.
 */
export function smooth(points: readonly Point[], weight: number): Point[] {
  const finite = points.filter((p) => Number.isFinite(p.y));
  const first = finite[0];
  if (weight <= 0 || first === undefined || finite.every((p) => p.y === first.y)) return points.slice();
  let last = 0;
  let n = 0;
  return points.map((p) => {
    if (!Number.isFinite(p.y)) return p;
    last = last * weight + (1 - weight) * p.y;
    n++;
    return { x: p.x, y: last / (1 - weight ** n) };
  });
}

/** At most `limit` points: the smallest and the largest of each stretch stay, so no spike is lost. */
export function downsample(points: readonly Point[], limit: number): Point[] {
  if (points.length <= limit) return points.slice();
  const buckets = Math.max(1, Math.floor(limit / 2));
  const out: Point[] = [];
  for (let b = 0; b < buckets; b++) {
    const from = Math.floor((b * points.length) / buckets);
    const to = Math.floor(((b + 1) * points.length) / buckets);
    let low = points[from] as Point;
    let high = low;
    for (let i = from; i < to; i++) {
      const p = points[i] as Point;
      if (p.y < low.y) low = p;
      if (p.y > high.y) high = p;
    }
    if (low.x <= high.x) out.push(low, ...(low === high ? [] : [high]));
    else out.push(high, low);
  }
  return out;
}

/** What a logarithmic axis can show, and how many points it cannot. */
export function positive(points: readonly Point[]): { readonly shown: Point[]; readonly hidden: number } {
  const shown = points.filter((p) => p.y > 0);
  return { shown, hidden: points.length - shown.length };
}
