/**
 * @file Random masks as pure functions of a key, so that a resumed run drops the same units. Imports lib only.
 */
import { fmix32, hashKey } from '../lib/random';

/** Golden-ratio increment: consecutive counters land far apart before mixing. */
const STRIDE = 0x9e3779b9;

/** The 32-bit counter base of a site's mask, signed, from seed, pass and layer name. */
export function dropoutBase(key: readonly (number | string)[]): number {
  return hashKey('dropout', ...key) | 0;
}

/**
 * A dropout mask: `length` values, 0 or 1 / keep. One 32-bit hash serves two values, so the keep probability is exact to 1/65536.
 * @param keep probability of staying, in (0, 1].
 * @param key seed, step and layer name.
 */
export function dropoutMask(length: number, keep: number, key: readonly (number | string)[]): Float32Array {
  const base = dropoutBase(key);
  const threshold = Math.round(keep * 65536);
  const scale = 1 / keep;
  const mask = new Float32Array(length);
  let counter = base;
  for (let i = 0; i < length; i += 2) {
    counter = (counter + STRIDE) | 0;
    const h = fmix32(counter);
    if ((h & 0xffff) < threshold) mask[i] = scale;
    if (i + 1 < length && h >>> 16 < threshold) mask[i + 1] = scale;
  }
  return mask;
}
