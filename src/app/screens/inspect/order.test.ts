import { describe, expect, it } from 'vitest';
import { orderedCases } from './order';

const cases = [
  ['a', 0.9, 2],
  ['b', 0.1, 50],
  ['c', Number.NaN, Number.NaN],
  ['d', 0.5, 9],
].map(([id, dice, hd95]) => ({
  id: id as string,
  perLabel: [{ label: 1, name: 'x', metrics: { dice: dice as number, hd95: hd95 as number } }],
}));

describe('case order', () => {
  it('puts the worst first, whichever way the metric points, and undefined last', () => {
    expect(orderedCases(cases, 'dice', true, '').map((c) => c.id)).toEqual(['b', 'd', 'a', 'c']);
    expect(orderedCases(cases, 'hd95', true, '').map((c) => c.id)).toEqual(['b', 'd', 'a', 'c']);
    expect(orderedCases(cases, 'dice', false, '').map((c) => c.id)).toEqual(['a', 'd', 'b', 'c']);
    expect(orderedCases(cases, 'dice', true, 'D').map((c) => c.id)).toEqual(['d']);
  });
});
