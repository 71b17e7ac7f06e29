/**
 * @file The compressions of TIFF strips and tiles, each bounded by the size the strip must have. Imports formats only.
 * Reference: TIFF 6.0 §9 (PackBits), §13 (LZW), §11 (Group 4), TIFF Technical Note 2 supplement (Deflate).
 */
import { inflateBounded } from './boundedInflate';
import { decodeGroup4 } from './ccittFax';

/** Bytes that a strip yields: fewer than `size` if its data ends early or is damaged. */
export type StripDecoder = (data: Uint8Array, size: number, width: number, rows: number) => Uint8Array;

function unpackBits(data: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  let to = 0;
  for (let at = 0; at < data.length && to < size;) {
    const n = data[at++] as number;
    if (n < 128) {
      const literal = data.subarray(at, at + Math.min(n + 1, size - to));
      out.set(literal, to);
      to += literal.length;
      at += n + 1;
    } else if (n > 128) {
      const end = Math.min(to + 257 - n, size);
      if (at >= data.length) break;
      out.fill(data[at++] as number, to, end);
      to = end;
    }
  }
  return out.subarray(0, to);
}

/** LZW, most significant bit first, code width changing one code early, as TIFF has it. */
function unpackLzw(data: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  // Each table entry is a piece of the output: where it begins and how long it is.
  const starts = new Int32Array(4097);
  const lengths = new Int32Array(4097);
  let next = 258;
  let width = 9;
  let to = 0;
  let previous = -1;
  let buffer = 0;
  let held = 0;
  for (let at = 0; to < size;) {
    while (held < width && at < data.length) {
      buffer = ((buffer << 8) | (data[at++] as number)) & 0xffffff;
      held += 8;
    }
    if (held < width) break;
    const code = (buffer >> (held - width)) & ((1 << width) - 1);
    held -= width;
    if (code === 257) break;
    if (code === 256) {
      next = 258;
      width = 9;
      previous = -1;
      continue;
    }
    const begin = to;
    if (code < 256) out[to++] = code;
    else {
      if (previous < 0 || code > next || code >= 4096) break;
      const known = code < next;
      const from = known ? (starts[code] as number) : previous;
      const length = known ? (lengths[code] as number) : begin - previous + 1;
      const end = Math.min(size, to + length);
      for (let i = from; to < end; i++) out[to++] = out[i] as number;
    }
    if (previous >= 0 && next < 4096) {
      // The previous piece and the byte after it, which is the first of this one.
      starts[next] = previous;
      lengths[next] = begin - previous + 1;
      next++;
    }
    previous = begin;
    width = next >= 2047 ? 12 : next >= 1023 ? 11 : next >= 511 ? 10 : 9;
  }
  return out.subarray(0, to);
}

function inflateStrip(data: Uint8Array, size: number): Uint8Array {
  return data.length < 2 ? new Uint8Array() : inflateBounded(data.subarray(2), size).bytes;
}

function unpackGroup4(data: Uint8Array, size: number, width: number, rows: number): Uint8Array {
  const out = new Uint8Array(size);
  return out.subarray(0, decodeGroup4(data, out, width, rows) * ((width + 7) >> 3));
}

export const TIFF_CODECS: ReadonlyMap<number, StripDecoder> = new Map<number, StripDecoder>([
  [1, (data, size) => data.subarray(0, size)],
  [4, unpackGroup4],
  [5, unpackLzw],
  [8, inflateStrip],
  [32946, inflateStrip],
  [32773, unpackBits],
]);

const NAMES = new Map([
  [2, 'CCITT 1-D'],
  [3, 'CCITT Group 3'],
  [6, 'old-style JPEG'],
  [7, 'JPEG'],
  [34712, 'JPEG 2000'],
  [50000, 'Zstandard'],
  [50001, 'WebP'],
  [34925, 'LZMA'],
]);

export function compressionName(id: number): string {
  return NAMES.get(id) ?? String(id);
}

/** Most bytes one byte of compressed data can yield; a header that claims more is refused before memory is taken. */
export function maxExpansion(id: number): number {
  if (id === 1) return 1;
  if (id === 32773) return 64;
  // LZW: 4096-byte pieces per 12-bit code; Group 4: a row per bit.
  return id === 8 || id === 32946 ? 1032 : id === 5 ? 2731 : Infinity;
}
