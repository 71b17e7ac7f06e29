/** @file Halves against the definition: every half comes back, ties go to even, both ends. */
import { expect, it } from 'vitest';
import { packHalves, unpackHalves } from './halves';

const round = (...values: number[]): number[] => [
  ...unpackHalves(packHalves(Float32Array.from(values)), values.length),
];

it('keeps every half', () => {
  const all = Int32Array.from({ length: 32_768 }, (_, i) => (2 * i) | ((2 * i + 1) << 16));
  const back = packHalves(unpackHalves(all, 65_536));
  const nan = (bits: number): boolean => (bits & 0x7fff) > 0x7c00;
  const [wanted, got] = [new Uint16Array(all.buffer), new Uint16Array(back.buffer)];
  expect([...got].filter((v, i) => v !== wanted[i] && !nan(wanted[i] as number))).toEqual([]);
  expect(got[0x7e00] && nan(got[0x7c01] as number)).toBe(true);
});

it('rounds to nearest, ties to even', () => {
  const ulp = 2 ** -10;
  expect(round(1 + ulp / 2, 1 + 1.5 * ulp, 1 + 0.51 * ulp, -1 - 0.49 * ulp)).toEqual([
    1,
    1 + 2 * ulp,
    1 + ulp,
    -1,
  ]);
  expect(round(2 - ulp / 4)).toEqual([2]); // into the next power of two
  const least = 2 ** -24;
  expect(round(least, least / 2, 1.5 * least, 0.51 * least, -2.5 * least)).toEqual([least, 0, 2 * least, least, -2 * least]); // prettier-ignore
  expect(round(2 ** -14 - least / 4)).toEqual([2 ** -14]); // from subnormal to normal
});

it('ends at 65,504', () => {
  expect(round(65_504, 65_519, 65_520, -1e9, Infinity)).toEqual([
    65_504,
    65_504,
    Infinity,
    -Infinity,
    Infinity,
  ]);
  expect(round(NaN)).toEqual([NaN]);
});

it('leaves half a word empty where the count is odd', () => {
  expect([...packHalves(Float32Array.of(1, -2, 0.5))]).toEqual([0xc000_3c00 | 0, 0x3800]);
});
