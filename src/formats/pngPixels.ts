/**
 * @file From PNG's filtered scanlines to samples: unfiltering, bit depths, Adam7. Imports nothing.
 * Reference: PNG specification, third edition, §7.2, §8, §9.
 */

export interface PngHeader {
  readonly width: number;
  readonly height: number;
  readonly depth: 1 | 2 | 4 | 8 | 16;
  readonly colorType: 0 | 2 | 3 | 4 | 6;
  readonly interlaced: boolean;
}

const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 } as const;

export function channelsOf(h: PngHeader): number {
  return CHANNELS[h.colorType];
}

interface Pass {
  readonly width: number;
  readonly height: number;
  readonly x0: number;
  readonly y0: number;
  readonly dx: number;
  readonly dy: number;
}

const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

function passesOf(h: PngHeader): Pass[] {
  if (!h.interlaced) return [{ width: h.width, height: h.height, x0: 0, y0: 0, dx: 1, dy: 1 }];
  return ADAM7.map(([x0, y0, dx, dy]) => ({
    width: Math.ceil((h.width - x0) / dx),
    height: Math.ceil((h.height - y0) / dy),
    x0,
    y0,
    dx,
    dy,
  })).filter((p) => p.width > 0 && p.height > 0);
}

function rowBytes(h: PngHeader, width: number): number {
  return Math.ceil((width * channelsOf(h) * h.depth) / 8);
}

/** Bytes of the inflated image: a filter byte and the samples for each row of each pass. */
export function inflatedSize(h: PngHeader): number {
  return passesOf(h).reduce((sum, p) => sum + p.height * (1 + rowBytes(h, p.width)), 0);
}

function paeth(a: number, b: number, c: number): number {
  const p = a + b - c;
  const pa = Math.abs(p - a);
  const pb = Math.abs(p - b);
  const pc = Math.abs(p - c);
  if (pa <= pb && pa <= pc) return a;
  return pb <= pc ? b : c;
}

/** Undoes a row's filter in place. `up` is the row above, unfiltered (zeros for the first). @returns false for an unknown filter. */
function unfilterRow(filter: number, row: Uint8Array, up: Uint8Array, bpp: number): boolean {
  const n = row.length;
  switch (filter) {
    case 0:
      return true;
    case 1:
      for (let i = bpp; i < n; i++) row[i] = (row[i] as number) + (row[i - bpp] as number);
      return true;
    case 2:
      for (let i = 0; i < n; i++) row[i] = (row[i] as number) + (up[i] as number);
      return true;
    case 3:
      for (let i = 0; i < n; i++) {
        const left = i < bpp ? 0 : (row[i - bpp] as number);
        row[i] = (row[i] as number) + ((left + (up[i] as number)) >> 1);
      }
      return true;
    case 4:
      for (let i = 0; i < n; i++) {
        const left = i < bpp ? 0 : (row[i - bpp] as number);
        const corner = i < bpp ? 0 : (up[i - bpp] as number);
        row[i] = (row[i] as number) + paeth(left, up[i] as number, corner);
      }
      return true;
    default:
      return false;
  }
}

/** Reads `count` samples of `depth` bits from a row into `out` at `at`, `step` apart per pixel of `channels`. */
function unpackRow(row: Uint8Array, h: PngHeader, p: Pass, y: number, out: Uint8Array | Uint16Array): void {
  const channels = channelsOf(h);
  const base = ((p.y0 + y * p.dy) * h.width + p.x0) * channels;
  const step = p.dx * channels;
  if (h.depth === 8 && p.dx === 1) {
    out.set(row, base);
    return;
  }
  if (h.depth < 8) {
    const mask = (1 << h.depth) - 1;
    for (let x = 0; x < p.width; x++) {
      const bit = x * h.depth;
      out[base + x * step] = ((row[bit >> 3] as number) >> (8 - h.depth - (bit & 7))) & mask;
    }
    return;
  }
  const wide = h.depth === 16;
  for (let x = 0; x < p.width; x++) {
    for (let c = 0; c < channels; c++) {
      const i = x * channels + c;
      out[base + x * step + c] = wide
        ? ((row[2 * i] as number) << 8) | (row[2 * i + 1] as number)
        : (row[i] as number);
    }
  }
}

/** Samples as the file has them (not scaled), channels interleaved; undefined if a filter is unknown. Changes `raw`. */
export function decodeScanlines(raw: Uint8Array, h: PngHeader): Uint8Array | Uint16Array | undefined {
  const count = h.width * h.height * channelsOf(h);
  const out = h.depth === 16 ? new Uint16Array(count) : new Uint8Array(count);
  const bpp = Math.max(1, (channelsOf(h) * h.depth) >> 3);
  let at = 0;
  for (const p of passesOf(h)) {
    const length = rowBytes(h, p.width);
    let up: Uint8Array = new Uint8Array(length);
    for (let y = 0; y < p.height; y++) {
      const row = raw.subarray(at + 1, at + 1 + length);
      if (!unfilterRow(raw[at] as number, row, up, bpp)) return undefined;
      unpackRow(row, h, p, y, out);
      up = row;
      at += 1 + length;
    }
  }
  return out;
}
