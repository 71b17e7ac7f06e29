/**
 * @file What a recording does, as text: two recordings of the same step must agree, or something that changes from step to step was
 * frozen into the plan (a random mask made on the host, a number computed in JavaScript).
 */
import type { RecordedDispatch } from './recording';
import { VirtualBuffer } from './recording';

/** FNV-1a over bytes. */
function hash(bytes: Uint8Array): number {
  let h = 0x811c9dc5;
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
}

/** One line per dispatch: kernel, workgroups, bindings; uniforms and constants by content. */
export function signature(dispatches: readonly RecordedDispatch[]): string[] {
  const numbers = new Map<unknown, number>();
  const number = (target: unknown): number => {
    let n = numbers.get(target);
    if (n === undefined) numbers.set(target, (n = numbers.size));
    return n;
  };
  return dispatches.map(({ pipeline, bindings, groups }) => {
    const parts = bindings.map(({ binding, access, target }) => {
      if (!(target instanceof VirtualBuffer)) return `${binding} ${access} @${target.offset}+${target.size}`;
      if (target.data !== null) return `${binding} ${target.kind} ${target.size} ${hash(target.data)}`;
      return `${binding} ${access} #${number(target)} ${target.size}`;
    });
    return `${pipeline.label} ${groups.join('x')} | ${parts.join(' | ')}`;
  });
}

/** The first difference of two recordings in words, or null when they are the same. */
export function difference(a: readonly RecordedDispatch[], b: readonly RecordedDispatch[]): string | null {
  const [first, second] = [signature(a), signature(b)];
  if (first.length !== second.length) return `${first.length} dispatches, then ${second.length}`;
  const at = first.findIndex((line, i) => line !== second[i]);
  return at < 0 ? null : `dispatch ${at}: "${first[at]}", then "${second[at]}"`;
}
