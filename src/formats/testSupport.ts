/**
 * @file Test support: fixture access and seeded mutation fuzzing. Imported by tests only (Node).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../lib/errors';
import { Random } from '../lib/random';

/** Small fixtures carried by the project. */
export const OWN_FIXTURES = 'e2e/fixtures/formats';
/** The full sets, where the checkout has them beside it. */
export const SHARED_FIXTURES = '../shared/fixtures';
export const hasSharedFixtures = existsSync(SHARED_FIXTURES);

export function readBytes(path: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(path));
}

export function filesIn(folder: string, pattern: RegExp): string[] {
  return readdirSync(folder)
    .filter((f) => pattern.test(f))
    .sort()
    .map((f) => join(folder, f));
}

export function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8')) as T;
}

/** The UserError that `run` throws. Fails if it throws nothing or anything else, or takes over `limitMs`. */
export async function refusal(run: () => unknown, limitMs = 1000): Promise<UserError> {
  const start = performance.now();
  try {
    await run();
  } catch (error) {
    const ms = performance.now() - start;
    if (!(error instanceof UserError)) throw error;
    if (ms > limitMs) throw new Error(`refused only after ${ms} ms`, { cause: error });
    return error;
  }
  throw new Error('was accepted');
}

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff];
const WORDS = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xffff, 0x10000];

/** A damaged copy: some bytes changed, a part removed, repeated or the end cut off. */
export function mutate(bytes: Uint8Array, random: Random): Uint8Array<ArrayBuffer> {
  let out = bytes.slice() as Uint8Array<ArrayBuffer>;
  const times = random.integer(1, 6);
  for (let n = 0; n < times && out.length > 0; n++) {
    // Headers and directories are at the ends: half of the changes go there.
    const span = random.bool(0.5) ? Math.min(out.length, 64) : out.length;
    const at = random.bool(0.2) ? out.length - random.integer(1, span) : random.integer(0, span - 1);
    const kind = random.integer(0, 6);
    if (kind <= 1) out[at] = (out[at] as number) ^ (1 << random.integer(0, 7));
    else if (kind === 2) out[at] = random.integer(0, 255);
    else if (kind === 3) out[at] = INTERESTING[random.integer(0, INTERESTING.length - 1)] as number;
    else if (kind === 4 && at + 4 <= out.length) {
      const word = WORDS[random.integer(0, WORDS.length - 1)] as number;
      new DataView(out.buffer).setUint32(at, word, random.bool(0.5));
    } else if (kind === 5) {
      const end = Math.min(out.length, at + random.integer(1, 16));
      const repeat = random.bool(0.5);
      const tail = out.slice(repeat ? at : end);
      const joined = new Uint8Array((repeat ? end : at) + tail.length);
      joined.set(out.subarray(0, repeat ? end : at));
      joined.set(tail, repeat ? end : at);
      out = joined;
    } else if (random.bool(0.3)) out = out.slice(0, at);
  }
  return out;
}

export interface FuzzResult {
  readonly accepted: number;
  readonly refused: number;
  readonly slowestMs: number;
}

/**
 * Feeds `count` damaged copies of the seeds to a parser. Fails on any error that is no UserError, on an input that takes
 * over a second, and if `Object.prototype` changed.
 */
export async function fuzz(
  name: string,
  seeds: readonly Uint8Array[],
  parse: (bytes: Uint8Array<ArrayBuffer>) => unknown,
  count = 2000,
): Promise<FuzzResult> {
  const random = new Random('fuzz', name);
  let accepted = 0;
  let slowestMs = 0;
  for (let i = 0; i < count; i++) {
    const input = mutate(seeds[i % seeds.length] as Uint8Array, random);
    const start = performance.now();
    try {
      await parse(input);
      accepted++;
    } catch (error) {
      if (!(error instanceof UserError)) {
        throw new Error(`${name}: input ${i} of the seeded sequence let ${String(error)} escape`, {
          cause: error,
        });
      }
    }
    const ms = performance.now() - start;
    slowestMs = Math.max(slowestMs, ms);
    if (ms > 1000) throw new Error(`${name}: input ${i} took ${ms} ms`);
  }
  if (({} as { polluted?: unknown }).polluted !== undefined || Object.keys(Object.prototype).length > 0) {
    throw new Error(`${name}: Object.prototype was changed`);
  }
  return { accepted, refused: count - accepted, slowestMs };
}
