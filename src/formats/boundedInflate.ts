/**
 * @file Raw DEFLATE with a hard limit on what comes out. Imports fflate only.
 * Input goes in by small pieces, so that at most `PIECE * 1032` bytes are produced beyond the limit before it stops.
 */
import { Inflate } from 'fflate';

const PIECE = 8192;

export interface Inflated {
  /** The first `limit` bytes at most. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** `complete`: the stream ended in time; `short`: the input ended first; `long`: there was more than `limit`. */
  readonly status: 'complete' | 'short' | 'long' | 'invalid';
}

/** Thrown inside fflate's callback to leave its loop. */
class LimitReached extends Error {}

/** Inflates raw DEFLATE data (no zlib header) into at most `limit` bytes. Never throws for bad data. */
export function inflateBounded(data: Uint8Array, limit: number): Inflated {
  const out = new Uint8Array(limit);
  let at = 0;
  let ended = false;
  const stream = new Inflate((chunk, final) => {
    const room = limit - at;
    out.set(chunk.length > room ? chunk.subarray(0, room) : chunk, at);
    at += Math.min(chunk.length, room);
    if (chunk.length > room) throw new LimitReached();
    ended ||= final;
  });
  try {
    for (let i = 0; i < data.length; i += PIECE) {
      stream.push(data.subarray(i, i + PIECE), i + PIECE >= data.length);
    }
  } catch (error) {
    if (error instanceof LimitReached) return { bytes: out, status: 'long' };
    const short = error instanceof Error && /unexpected EOF/i.test(error.message);
    return { bytes: out.subarray(0, at), status: short ? 'short' : 'invalid' };
  }
  return { bytes: at === limit ? out : out.subarray(0, at), status: ended ? 'complete' : 'short' };
}
