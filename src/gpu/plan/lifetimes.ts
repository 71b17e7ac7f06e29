/**
 * @file Which virtual buffers of a recording are alive when, and how few real buffers they need. Pure.
 *
 * A slot is one GPU buffer used by several virtual buffers one after the other. Two buffers of the same dispatch never share a slot,
 * so WebGPU's rule (a buffer is either read or written in a dispatch) holds by construction. Largest first, each into the smallest slot that
 * is free for its whole life (greedy by size; Pisarchyk and Lee, arXiv 2001.03288).
 */
import type { RecordedDispatch } from './recording';
import { VirtualBuffer } from './recording';

export interface Lifetime {
  readonly buffer: VirtualBuffer;
  readonly first: number; // index of the first dispatch that touches it
  readonly last: number; // of the last; Infinity when it is a result
}

export interface Slot {
  readonly size: number; // bytes
  readonly lives: readonly Lifetime[];
}

/** Lifetimes of the temporaries, results until the end. Throws Error when one is read before it is written. */
export function lifetimes(
  dispatches: readonly RecordedDispatch[],
  results: ReadonlySet<VirtualBuffer>,
): Lifetime[] {
  const lives = new Map<VirtualBuffer, { first: number; last: number }>();
  dispatches.forEach(({ bindings, pipeline }, i) => {
    for (const { target, access } of bindings) {
      if (!(target instanceof VirtualBuffer) || target.kind !== 'temporary') continue;
      const life = lives.get(target);
      if (life !== undefined) life.last = i;
      else if (access === 'read_write') lives.set(target, { first: i, last: i });
      else throw new Error(`Dispatch ${i} (${pipeline.label}) reads a buffer that nothing has written`);
    }
  });
  return [...lives].map(([buffer, { first, last }]) => ({
    buffer,
    first,
    last: results.has(buffer) ? Number.POSITIVE_INFINITY : last,
  }));
}

/** Bytes alive at once at the worst moment: no plan can do with less. */
export function largestLiveSet(lives: readonly Lifetime[]): number {
  const changes = lives
    .flatMap(({ buffer, first, last }) => [
      { at: first, bytes: buffer.size },
      { at: last + 0.5, bytes: -buffer.size },
    ])
    .toSorted((a, b) => a.at - b.at);
  let alive = 0;
  let most = 0;
  for (const { bytes } of changes) {
    alive += bytes;
    most = Math.max(most, alive);
  }
  return most;
}

/** Assigns every lifetime to a slot; slots come largest first. */
export function planSlots(lives: readonly Lifetime[]): Slot[] {
  const slots: { size: number; lives: Lifetime[] }[] = [];
  const order = lives.toSorted((a, b) => b.buffer.size - a.buffer.size || a.first - b.first);
  for (const life of order) {
    const free = slots.filter((slot) =>
      slot.lives.every((other) => other.last < life.first || life.last < other.first),
    );
    // All slots are at least as large as this buffer. The tightest in time leaves the others for longer lives.
    let best: { size: number; lives: Lifetime[] } | null = null;
    for (const slot of free) {
      if (best === null || slot.size < best.size) best = slot;
    }
    if (best === null) slots.push({ size: life.buffer.size, lives: [life] });
    else best.lives.push(life);
  }
  return slots;
}
