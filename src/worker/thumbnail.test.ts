import { describe, expect, it } from 'vitest';
import type { CaseResult } from '../storage/types';
import { scoresAt } from './rescore';
import { thumbnailOf } from './thumbnail';

describe('thumbnailOf', () => {
  it('fits the edge, keeps the aspect and the labels', () => {
    const sample = {
      id: 'a',
      width: 40,
      height: 20,
      image: new Uint8Array(2400).fill(9),
      mask: new Uint8Array(800),
    };
    sample.mask.fill(2, 400);
    const picture = thumbnailOf(sample, 10);
    expect([picture.width, picture.height]).toEqual([10, 5]);
    expect(Array.from(picture.rgba.slice(0, 4))).toEqual([9, 9, 9, 255]);
    expect(new Set(picture.mask)).toEqual(new Set([0, 2]));
    expect(thumbnailOf(sample, 400).width).toBe(40); // never enlarged
  });
});

describe('scoresAt', () => {
  it('follows the threshold', () => {
    const one = {
      width: 4,
      height: 1,
      kind: 'probability',
      prediction: Uint8Array.of(0, 100, 150, 255),
    } as CaseResult;
    const truth = Uint8Array.of(0, 0, 1, 1);
    const labels = {
      names: ['background', 'lesion'],
      encoding: { kind: 'threshold' as const, threshold: 0 },
    };
    const at = (threshold: number) => scoresAt(one, truth, threshold, { labels, convention: 'framework' })[0];
    expect(at(0.5)?.dice).toBeCloseTo(1, 6);
    expect(at(0.9)?.dice).toBeCloseTo(2 / 3, 3);
    expect(at(0.1)?.dice).toBeCloseTo(0.8, 3);
  });
});
