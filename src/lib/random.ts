/**
 * @file Counter-based random numbers: every draw is a pure function of a key, so a resumed run sees the same numbers
 * without any saved generator state. Imports nothing.
 */

/** FNV-1a over UTF-16 code units (32 bit). For ASCII text equal to the byte-wise FNV-1a of `cases/`. */
export function fnv1a32(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    h ^= text.charCodeAt(i);
    h = Math.imul(h, 0x01000193);
  }
  return h >>> 0;
}

/** MurmurHash3's 32-bit finaliser: a bijection that mixes all bits. */
export function fmix32(x: number): number {
  let h = x | 0;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 16;
  return h >>> 0;
}

/** Mixes any mix of numbers and strings into one 32-bit key. */
export function hashKey(...parts: readonly (number | string)[]): number {
  let h = 0x9e3779b9;
  for (const part of parts) {
    const k =
      typeof part === 'string' ? fnv1a32(part) : fmix32(part >>> 0) ^ fmix32(Math.floor(part / 2 ** 32) | 0);
    h = fmix32(Math.imul(h ^ k, 0x9e3779b1) + 0x7f4a7c15);
  }
  return h >>> 0;
}

/** A small sequential generator (sfc32) seeded from a key. Same key, same numbers, on every platform. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d = 1;

  constructor(...key: readonly (number | string)[]) {
    this.a = hashKey('a', ...key);
    this.b = hashKey('b', ...key);
    this.c = hashKey('c', ...key);
    for (let i = 0; i < 12; i++) this.uint32();
  }

  uint32(): number {
    const t = (((this.a + this.b) | 0) + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + t) | 0;
    return t >>> 0;
  }

  /** Uniform in [0, 1) with 32 random bits. */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.uint32() / 2 ** 32);
  }

  /** Integer in [low, high] (both included). */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  /** Standard normal (Box-Muller, one of the pair). */
  normal(): number {
    const u = 1 - this.uniform();
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * this.uniform());
  }

  bool(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** Fisher-Yates, returns a new array. */
  shuffled<T>(items: readonly T[]): T[] {
    const out = items.slice();
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.integer(0, i);
      const t = out[i] as T;
      out[i] = out[j] as T;
      out[j] = t;
    }
    return out;
  }
}
