import { describe, expect, it } from 'vitest';
import { downsample, positive, smooth } from './series';

describe('curves', () => {
  const points = (ys: number[]): { x: number; y: number }[] => ys.map((y, x) => ({ x, y }));
  it('smooths as TensorBoard: debiased, NaN passes, constants stay', () => {
    const s = smooth(points([1, 2, 3]), 0.5).map((p) => p.y);
    expect(s[0]).toBeCloseTo(1, 12);
    expect(s[1]).toBeCloseTo((0.5 * 0.5 + 0.5 * 2) / 0.75, 12);
    expect(smooth(points([0.1, 0.1, 0.1]), 0.9).map((p) => p.y)).toEqual([0.1, 0.1, 0.1]);
    const gap = smooth(points([1, Number.NaN, 3]), 0.5).map((p) => p.y);
    expect(gap[1]).toBeNaN();
    expect(gap[2]).toBeCloseTo((0.5 * 0.5 + 0.5 * 3) / 0.75, 12);
  });
  it('keeps spikes and order when thinning', () => {
    const ys = Array.from({ length: 10_000 }, (_, i) => (i === 7777 ? 99 : Math.sin(i / 50)));
    const d = downsample(points(ys), 500);
    expect(d.length).toBeLessThanOrEqual(500);
    expect(Math.max(...d.map((p) => p.y))).toBe(99);
    expect(d.every((p, i) => i === 0 || p.x > (d[i - 1] as { x: number }).x)).toBe(true);
  });
  it('drops what a logarithm cannot show and counts it', () => {
    expect(positive(points([0, 1, -1, 2]))).toMatchObject({ hidden: 2, shown: [{ x: 1 }, { x: 3 }] });
  });
});
