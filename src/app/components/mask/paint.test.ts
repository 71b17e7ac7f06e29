import { describe, expect, it } from 'vitest';
import {
  DIFFERENCE_COLORS,
  classColor,
  isEdge,
  paintDifference,
  paintMask,
  predictionLabels,
  rgbToRgba,
} from './paint';

describe('mask painting', () => {
  const grey = (n: number): Uint8ClampedArray<ArrayBuffer> => rgbToRgba(new Uint8Array(n * 3).fill(100));
  it('leaves the background alone, fills and outlines with the class colour', () => {
    const mask = Uint8Array.from({ length: 25 }, (_, i) =>
      i % 5 > 0 && i % 5 < 4 && i > 4 && i < 20 ? 2 : 0,
    );
    const fill = grey(25);
    paintMask(fill, mask, 5, 5, { opacity: 0.5, mode: 'fill' });
    const center = 12 * 4;
    // A clamped array rounds halves to even.
    expect([...fill.slice(center, center + 3)]).toEqual([
      ...Uint8ClampedArray.from(classColor(2).map((c) => 50 + c / 2)),
    ]);
    expect([...fill.slice(0, 4)]).toEqual([100, 100, 100, 255]);
    const outline = grey(25);
    paintMask(outline, mask, 5, 5, { opacity: 0.5, mode: 'outline' });
    expect([...outline.slice(center, center + 3)]).toEqual([100, 100, 100]);
    expect([...outline.slice(6 * 4, 6 * 4 + 3)]).toEqual([...classColor(2)]);
    const hidden = grey(25);
    paintMask(hidden, mask, 5, 5, { opacity: 1, mode: 'fill', hidden: new Set([2]) });
    expect(hidden).toEqual(grey(25));
  });
  it('tells TP, FP and FN apart', () => {
    const rgba = grey(4);
    paintDifference(rgba, Uint8Array.of(1, 1, 0, 0), Uint8Array.of(1, 0, 1, 0), 4, 1);
    expect([...rgba.slice(0, 3)]).toEqual([...DIFFERENCE_COLORS.tp]);
    expect([...rgba.slice(4, 7)]).toEqual([...DIFFERENCE_COLORS.fp]);
    expect([...rgba.slice(8, 11)]).not.toEqual([100, 100, 100]);
    expect([...rgba.slice(12, 15)]).toEqual([100, 100, 100]);
  });
  it('knows edges and thresholds', () => {
    expect(isEdge(new Uint8Array(9).fill(1), 3, 3, 4)).toBe(false);
    expect(isEdge(new Uint8Array(9).fill(1), 3, 3, 0)).toBe(true);
    expect([...predictionLabels(Uint8Array.of(127, 128), 'probability', 0.5)]).toEqual([0, 1]);
    expect([...predictionLabels(Uint8Array.of(2, 0), 'labels', 0.5)]).toEqual([2, 0]);
  });
});
