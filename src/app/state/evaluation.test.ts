import { describe, expect, it } from 'vitest';
import type { Dataset } from '../../data/types';
import type { EvaluationResult } from '../../worker/protocol';
import { chooseCases, withScores, worstFirst } from './evaluation';

const sample = (id: string, folder: string) => ({ id, folder }) as Dataset['samples'][number];
const dataset = {
  folders: [
    { id: 'f1', name: 'BUSI' },
    { id: 'f2', name: 'Empty' },
  ],
  samples: [sample('BUSI/a', 'f1'), sample('BUSI/b', 'f1')],
} as unknown as Dataset;
const split = (test: string[]) => ({
  split: { method: 'ratio' as const, seed: 0, train: ['x'], val: [], test, notes: [] },
});

describe('chooseCases', () => {
  it('takes the split of the run, in its order', () => {
    const request = { target: { kind: 'split', split: 'test' } } as const;
    expect(chooseCases(request, split(['BUSI/b', 'BUSI/a']), dataset)).toEqual({
      ids: ['BUSI/b', 'BUSI/a'],
      title: 'test split, 2 cases',
    });
  });

  it('names what is not open, and refuses an empty split', () => {
    const request = { target: { kind: 'split', split: 'test' } } as const;
    expect(() => chooseCases(request, split(['BUSI/a', 'BUSI/z']), dataset)).toThrow(/1 of 2 cases/);
    expect(() => chooseCases(request, split([]), dataset)).toThrow(/no cases/);
  });

  it('takes all of a folder', () => {
    const all = chooseCases({ target: { kind: 'folder', folderId: 'f1' } }, split([]), dataset);
    expect(all.title).toBe('BUSI, 2 cases');
    expect(() => chooseCases({ target: { kind: 'folder', folderId: 'f2' } }, split([]), dataset)).toThrow();
  });
});

describe('results', () => {
  it('sorts worst first, undefined last', () => {
    const dice = [0.9, Number.NaN, 0.1, 0.5].map((value) => ({ dice: value }));
    expect(dice.sort(worstFirst).map((row) => row.dice)).toEqual([0.1, 0.5, 0.9, Number.NaN]);
  });

  it('takes over new scores and keeps order and pictures', () => {
    const prediction = new Uint8Array(4);
    const result = {
      threshold: 0.5,
      summary: [],
      cases: [
        { id: 'a', dice: 0.1, perLabel: [], prediction },
        { id: 'b', dice: 0.2, perLabel: [], prediction },
      ],
    } as unknown as EvaluationResult;
    const scores = { cases: [{ id: 'b', dice: 0.9, perLabel: [] }], summary: [] };
    const next = withScores(result, scores, 0.3);
    expect(next.threshold).toBe(0.3);
    expect(next.cases.map((one) => [one.id, one.dice])).toEqual([
      ['a', 0.1],
      ['b', 0.9],
    ]);
    expect(next.cases[1]?.prediction).toBe(prediction);
  });
});
