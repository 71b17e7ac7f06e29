/**
 * @file Windows bitmaps: 1, 4, 8, 16, 24 and 32 bit, palettes, RLE4, RLE8, bit fields, either row order.
 * Imports formats only. Modes follow Pillow: a palette that is the grey ramp gives '1' or 'L', another gives 'P'.
 * Reference: BITMAPINFOHEADER and BITMAPV5HEADER (Microsoft), Pillow's BmpImagePlugin.
 */
import { checkSize, imageCorrupt, imageTruncated, imageUnsupported } from './imageErrors';
import type { RasterImage } from './image.types';

interface BmpHeader {
  readonly width: number;
  readonly height: number;
  readonly topDown: boolean;
  readonly bits: number;
  readonly compression: number;
  /** RGBA per entry. */
  readonly palette: Uint8Array;
  /** Red, green, blue, alpha bit masks of 16- and 32-bit pixels. */
  readonly masks: readonly number[];
  readonly dataStart: number;
}

const RGB = 0;
const RLE8 = 1;
const RLE4 = 2;
const BITFIELDS = 3;
const ALPHABITFIELDS = 6;

function readPalette(
  bytes: Uint8Array,
  at: number,
  count: number,
  entryBytes: number,
  name: string,
): Uint8Array {
  if (at + count * entryBytes > bytes.length) throw imageTruncated(name);
  const out = new Uint8Array(count * 4);
  for (let i = 0; i < count; i++) {
    const p = at + i * entryBytes;
    out.set([bytes[p + 2] as number, bytes[p + 1] as number, bytes[p] as number, 255], i * 4);
  }
  return out;
}

function defaultMasks(bits: number): number[] {
  return bits === 16 ? [0x7c00, 0x03e0, 0x001f, 0] : [0xff0000, 0xff00, 0xff, 0];
}

function readMasks(
  view: DataView,
  compression: number,
  infoSize: number,
  bits: number,
  name: string,
): number[] {
  if (compression !== BITFIELDS && compression !== ALPHABITFIELDS) return defaultMasks(bits);
  const withAlpha = compression === ALPHABITFIELDS || infoSize >= 56;
  if (54 + (withAlpha ? 16 : 12) > view.byteLength) throw imageTruncated(name);
  return [54, 58, 62, 66].map((at, i) => (i < 3 || withAlpha ? view.getUint32(at, true) : 0));
}

function readHeader(bytes: Uint8Array, name: string): BmpHeader {
  if (bytes.length < 30) throw imageTruncated(name);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const dataStart = view.getUint32(10, true);
  const infoSize = view.getUint32(14, true);
  const core = infoSize === 12;
  if (!core && ![16, 40, 52, 56, 64, 108, 124].includes(infoSize))
    throw imageCorrupt(name, 'its header is unknown');
  if (!core && bytes.length < 54) throw imageTruncated(name);
  const width = core ? view.getUint16(18, true) : view.getInt32(18, true);
  const rows = core ? view.getUint16(20, true) : view.getInt32(22, true);
  const bits = view.getUint16(core ? 24 : 28, true);
  const compression = core ? RGB : view.getUint32(30, true);
  checkSize(width, Math.abs(rows), name);
  if (![1, 4, 8, 16, 24, 32].includes(bits)) throw imageUnsupported(name, `it has ${bits} bits per pixel`);
  const known =
    compression === RGB ||
    (compression === RLE8 && bits === 8) ||
    (compression === RLE4 && bits === 4) ||
    ((compression === BITFIELDS || compression === ALPHABITFIELDS) && (bits === 16 || bits === 32));
  if (!known) throw imageUnsupported(name, `it uses BMP compression ${compression}`);
  const used = core ? 0 : view.getUint32(46, true);
  const count = bits > 8 ? 0 : used === 0 ? 1 << bits : used;
  if (count > 256) throw imageCorrupt(name, 'its palette is too large');
  const paletteAt = 14 + infoSize + (infoSize === 40 && compression === BITFIELDS ? 12 : 0);
  const palette = readPalette(bytes, paletteAt, count, core ? 3 : 4, name);
  const masks = readMasks(view, compression, infoSize, bits, name);
  return { width, height: Math.abs(rows), topDown: rows < 0, bits, compression, palette, masks, dataStart };
}

/** Run-length data to one index per pixel, in the file's row order (bottom row first). */
function expandRuns(data: Uint8Array, h: BmpHeader, name: string): Uint8Array {
  const out = new Uint8Array(h.width * h.height);
  const four = h.compression === RLE4;
  let x = 0;
  let y = 0;
  const put = (value: number): void => {
    if (x < h.width && y < h.height) out[y * h.width + x] = value;
    x++;
  };
  const nibble = (byte: number, i: number): number => (four ? (i % 2 === 0 ? byte >> 4 : byte & 15) : byte);
  for (let at = 0; y < h.height;) {
    const count = data[at++];
    const value = data[at++];
    if (count === undefined || value === undefined) throw imageTruncated(name);
    if (count > 0) {
      for (let i = 0; i < count; i++) put(nibble(value, i));
    } else if (value === 0) {
      x = 0;
      y++;
    } else if (value === 1) {
      return out;
    } else if (value === 2) {
      x += data[at] ?? 0;
      y += data[at + 1] ?? 0;
      at += 2;
    } else {
      const length = four ? (value + 1) >> 1 : value;
      if (at + length > data.length) throw imageTruncated(name);
      for (let i = 0; i < value; i++) put(nibble(data[at + (four ? i >> 1 : i)] as number, i));
      at += length + (length & 1);
    }
  }
  return out;
}

/** Uncompressed rows of 1-, 4- or 8-bit indices. */
function unpackIndices(data: Uint8Array, h: BmpHeader, stride: number): Uint8Array {
  const out = new Uint8Array(h.width * h.height);
  const mask = (1 << h.bits) - 1;
  for (let y = 0; y < h.height; y++) {
    for (let x = 0; x < h.width; x++) {
      const bit = x * h.bits;
      out[y * h.width + x] = ((data[y * stride + (bit >> 3)] as number) >> (8 - h.bits - (bit & 7))) & mask;
    }
  }
  return out;
}

interface Field {
  readonly shift: number;
  readonly max: number;
}

function fieldOf(mask: number): Field {
  const m = mask >>> 0;
  if (m === 0) return { shift: 0, max: 0 };
  const shift = 31 - Math.clz32(m & -m);
  return { shift, max: m >>> shift };
}

/** 16- and 32-bit pixels through their bit masks; each field scaled to 0..255 (rounded down, as Pillow). */
function unpackFields(data: Uint8Array, h: BmpHeader, stride: number): Uint8Array {
  const channels = h.masks[3] === 0 ? 3 : 4;
  const fields = h.masks.slice(0, channels).map(fieldOf);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const out = new Uint8Array(h.width * h.height * channels);
  let to = 0;
  for (let y = 0; y < h.height; y++) {
    for (let x = 0; x < h.width; x++) {
      const at = y * stride + (x * h.bits) / 8;
      const v = h.bits === 16 ? view.getUint16(at, true) : view.getUint32(at, true);
      for (const f of fields) out[to++] = f.max === 0 ? 0 : (((v >>> f.shift) & f.max) * 255) / f.max;
    }
  }
  return out;
}

function unpackBgr(data: Uint8Array, h: BmpHeader, stride: number): Uint8Array {
  const out = new Uint8Array(h.width * h.height * 3);
  for (let y = 0; y < h.height; y++) {
    for (let x = 0; x < h.width; x++) {
      const from = y * stride + x * 3;
      const to = (y * h.width + x) * 3;
      out[to] = data[from + 2] as number;
      out[to + 1] = data[from + 1] as number;
      out[to + 2] = data[from] as number;
    }
  }
  return out;
}

function flipRows(data: Uint8Array, height: number): Uint8Array {
  const length = data.length / height;
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++)
    out.set(data.subarray(y * length, (y + 1) * length), (height - 1 - y) * length);
  return out;
}

/** '1' for black and white, 'L' where index i means grey i, else undefined. */
function greyMode(h: BmpHeader): '1' | 'L' | undefined {
  const count = h.palette.length / 4;
  for (let i = 0; i < count; i++) {
    const grey = count === 2 ? i * 255 : i;
    for (let c = 0; c < 3; c++) if (h.palette[i * 4 + c] !== grey) return undefined;
  }
  return count === 2 ? '1' : 'L';
}

/** @throws UserError 'file-truncated', 'file-corrupt', 'image-unsupported', 'image-too-large'. */
export function decodeBmp(bytes: Uint8Array, name: string): RasterImage {
  const h = readHeader(bytes, name);
  const data = bytes.subarray(h.dataStart);
  const stride = ((h.width * h.bits + 31) >> 5) * 4;
  const runs = h.compression === RLE8 || h.compression === RLE4;
  // The padding of the last row may be missing.
  const needed = stride * (h.height - 1) + Math.ceil((h.width * h.bits) / 8);
  if (!runs && data.length < needed) throw imageTruncated(name);
  let pixels: Uint8Array;
  if (runs) pixels = expandRuns(data, h, name);
  else if (h.bits <= 8) pixels = unpackIndices(data, h, stride);
  else if (h.bits === 24) pixels = unpackBgr(data, h, stride);
  else pixels = unpackFields(data, h, stride);
  if (!h.topDown) pixels = flipRows(pixels, h.height);
  const common = { width: h.width, height: h.height, format: 'bmp' as const };
  if (h.bits > 8)
    return { ...common, mode: h.masks[3] === 0 || h.bits === 24 ? 'RGB' : 'RGBA', data: pixels };
  const mode = greyMode(h);
  if (mode === '1') for (let i = 0; i < pixels.length; i++) pixels[i] = pixels[i] === 0 ? 0 : 255;
  return mode === undefined
    ? { ...common, mode: 'P', data: pixels, palette: h.palette }
    : { ...common, mode, data: pixels };
}
