/**
 * @file PNG reading and writing with the file's own values: palettes, 1 to 16 bit, transparency, no colour management.
 * Imports lib, formats and fflate. Own decoder: fast-png inflates without a limit and takes checksums, critical chunks
 * and cut-off files lightly (reliability.md C3, C4). Reference: PNG specification, third edition (W3C).
 */
import { zlibSync } from 'fflate';
import { concatBytes } from '../lib/bytes';
import { UserError } from '../lib/errors';
import { inflateBounded } from './boundedInflate';
import { adler32, crc32 } from './checksums';
import { exifOrientation } from './exif';
import { checkSize, imageCorrupt, imageTruncated, imageUnsupported } from './imageErrors';
import type { ImageMode, RasterImage } from './image.types';
import { channelsOf, decodeScanlines, inflatedSize, type PngHeader } from './pngPixels';

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const DEPTHS: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

interface Chunks {
  readonly header: PngHeader;
  readonly data: Uint8Array;
  readonly palette: Uint8Array | undefined;
  readonly transparency: Uint8Array | undefined;
  readonly orientation: number | undefined;
}

/** True if the bytes begin with PNG's signature. */
export function looksLikePng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((b, i) => bytes[i] === b);
}

function readHeader(body: Uint8Array, name: string): PngHeader {
  if (body.length !== 13) throw imageCorrupt(name, 'its header has the wrong length');
  const view = new DataView(body.buffer, body.byteOffset, 13);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  checkSize(width, height, name);
  const depth = view.getUint8(8);
  const colorType = view.getUint8(9);
  const interlace = view.getUint8(12);
  if (!DEPTHS[colorType]?.includes(depth))
    throw imageCorrupt(name, `it has no valid pixel format (type ${colorType}, ${depth} bit)`);
  if (view.getUint8(10) !== 0 || view.getUint8(11) !== 0 || interlace > 1)
    throw imageCorrupt(name, 'it uses an unknown method');
  return { width, height, depth, colorType, interlaced: interlace === 1 } as PngHeader;
}

/** Walks the chunks up to IEND; checksums of the chunks that matter are checked. */
function readChunks(bytes: Uint8Array, name: string): Chunks {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data: Uint8Array[] = [];
  let header: PngHeader | undefined;
  let palette: Uint8Array | undefined;
  let transparency: Uint8Array | undefined;
  let orientation: number | undefined;
  for (let at = 8; ;) {
    if (at + 12 > bytes.length) throw imageTruncated(name);
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (!/^[A-Za-z]{4}$/.test(type)) throw imageCorrupt(name, 'it has an invalid chunk');
    if (length > bytes.length - at - 12) throw imageTruncated(name);
    const body = bytes.subarray(at + 8, at + 8 + length);
    const sound = crc32(bytes.subarray(at + 4, at + 8 + length)) === view.getUint32(at + 8 + length);
    const critical = type.charCodeAt(0) < 0x60;
    if (!sound && (critical || type === 'tRNS')) throw imageCorrupt(name, `the checksum of ${type} is wrong`);
    if ((header === undefined) !== (type === 'IHDR'))
      throw imageCorrupt(name, 'its header is missing or repeated');
    if (type === 'IHDR') header = readHeader(body, name);
    else if (type === 'PLTE') palette = body;
    else if (type === 'tRNS') transparency = body;
    else if (type === 'IDAT') data.push(body);
    else if (type === 'eXIf' && sound) orientation = exifOrientation(body);
    else if (type === 'IEND') break;
    else if (critical) throw imageUnsupported(name, `it has the unknown critical chunk ${type}`);
    at += 12 + length;
  }
  if (data.length === 0) throw imageCorrupt(name, 'it has no image data');
  return {
    header: header as PngHeader,
    data: data.length === 1 ? (data[0] as Uint8Array) : concatBytes(data),
    palette,
    transparency,
    orientation,
  };
}

/** Inflates the zlib stream to exactly the size that the header implies. */
function inflateImage(c: Chunks, name: string): Uint8Array {
  const size = inflatedSize(c.header);
  const [cmf, flg] = c.data;
  if (cmf === undefined || flg === undefined) throw imageTruncated(name);
  if ((cmf & 15) !== 8 || (cmf * 256 + flg) % 31 !== 0 || (flg & 32) !== 0)
    throw imageCorrupt(name, 'its data has no valid zlib header');
  if (c.data.length < 6) throw imageTruncated(name);
  // DEFLATE reaches 1032:1 at most, so a header that claims more is refused before memory is taken for it.
  if (size > c.data.length * 1032 + 64) throw imageCorrupt(name, 'its data is too short for its size');
  const { bytes, status } = inflateBounded(c.data.subarray(2, -4), size);
  if (status === 'long') throw imageCorrupt(name, 'its data is longer than its size allows');
  if (status === 'short') throw imageTruncated(name);
  if (status === 'invalid' || bytes.length !== size)
    throw imageCorrupt(name, 'its data cannot be decompressed');
  const tail = c.data.subarray(-4);
  if (adler32(bytes) !== new DataView(tail.buffer, tail.byteOffset, 4).getUint32(0))
    throw imageCorrupt(name, 'the checksum of its data is wrong');
  return bytes;
}

/** Palette entries as RGBA. */
function fullPalette(c: Chunks, name: string): Uint8Array {
  const { palette, transparency } = c;
  if (palette === undefined || palette.length === 0 || palette.length % 3 !== 0 || palette.length > 768) {
    throw imageCorrupt(name, 'its palette is missing or invalid');
  }
  const out = new Uint8Array((palette.length / 3) * 4);
  for (let i = 0; i * 4 < out.length; i++) {
    out.set(palette.subarray(i * 3, i * 3 + 3), i * 4);
    out[i * 4 + 3] = transparency?.[i] ?? 255;
  }
  return out;
}

/** Scales 2- and 4-bit grey to 8 bit; 1 bit to 0 and 255. */
function scaleGrey(samples: Uint8Array, depth: number): Uint8Array {
  const factor = 255 / ((1 << depth) - 1);
  for (let i = 0; i < samples.length; i++) samples[i] = (samples[i] as number) * factor;
  return samples;
}

/** Adds an alpha channel that is 0 where a pixel equals the key (in the file's own depth). */
function keyToAlpha(
  samples: Uint8Array | Uint16Array,
  channels: number,
  key: readonly number[],
): Uint8Array | Uint16Array {
  const count = samples.length / channels;
  const wide = samples instanceof Uint16Array;
  const out = wide ? new Uint16Array(count * (channels + 1)) : new Uint8Array(count * (channels + 1));
  for (let i = 0; i < count; i++) {
    let same = true;
    for (let ch = 0; ch < channels; ch++) {
      const v = samples[i * channels + ch] as number;
      out[i * (channels + 1) + ch] = v;
      same &&= v === key[ch];
    }
    out[i * (channels + 1) + channels] = same ? 0 : wide ? 65535 : 255;
  }
  return out;
}

const MODES: Readonly<Record<number, readonly [ImageMode, ImageMode]>> = {
  1: ['L', 'I;16'],
  2: ['LA', 'LA;16'],
  3: ['RGB', 'RGB;16'],
  4: ['RGBA', 'RGBA;16'],
};

function toImage(c: Chunks, samples: Uint8Array | Uint16Array, name: string): RasterImage {
  const { width, height, depth, colorType } = c.header;
  const common = {
    width,
    height,
    format: 'png' as const,
    ...(c.orientation === undefined ? {} : { exifOrientation: c.orientation }),
  };
  if (colorType === 3) return { ...common, mode: 'P', data: samples, palette: fullPalette(c, name) };
  let channels = channelsOf(c.header);
  let data = samples;
  const scaled = depth < 8;
  const trns = colorType === 4 || colorType === 6 ? undefined : c.transparency;
  let key: number[] | undefined;
  if (trns !== undefined) {
    if (trns.length !== 2 * channels) throw imageCorrupt(name, 'its transparent colour is invalid');
    key = Array.from(
      { length: channels },
      (_, i) => ((trns[2 * i] as number) << 8) | (trns[2 * i + 1] as number),
    );
  }
  if (scaled) {
    scaleGrey(data as Uint8Array, depth);
    key = key?.map((k) => k * (255 / ((1 << depth) - 1)));
  }
  if (key !== undefined) {
    data = keyToAlpha(data, channels, key);
    channels++;
  }
  const mode = depth === 1 && channels === 1 ? '1' : (MODES[channels]?.[depth === 16 ? 1 : 0] as ImageMode);
  return { ...common, mode, data };
}

/**
 * Decodes a PNG to its own values: no gamma, no profile, no premultiplication; a single transparent colour (tRNS) becomes
 * an alpha channel. Only the first picture of an animated PNG.
 * @throws UserError 'file-empty', 'file-truncated', 'file-corrupt', 'image-unsupported', 'image-too-large'.
 */
export function decodePng(bytes: Uint8Array, name: string): RasterImage {
  if (bytes.length === 0) throw new UserError('file-empty', `"${name}" is empty`, { subject: name });
  if (!looksLikePng(bytes)) throw imageCorrupt(name, 'it does not begin like a PNG');
  const chunks = readChunks(bytes, name);
  const samples = decodeScanlines(inflateImage(chunks, name), chunks.header);
  if (samples === undefined) throw imageCorrupt(name, 'a row has an unknown filter');
  return toImage(chunks, samples, name);
}

function chunk(type: string, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(12 + body.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, body.length);
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
  out.set(body, 8);
  view.setUint32(8 + body.length, crc32(out.subarray(4, 8 + body.length)));
  return out;
}

export interface PngInput {
  readonly width: number;
  readonly height: number;
  readonly mode: 'L' | 'P' | 'RGB' | 'RGBA';
  readonly data: Uint8Array | Uint8ClampedArray;
  /** Mode P: RGBA per entry, as in `RasterImage`; the grey ramp if left out. */
  readonly palette?: Uint8Array;
}

const COLOR_TYPES = { L: 0, RGB: 2, P: 3, RGBA: 6 } as const;

function greyRamp(): Uint8Array {
  return Uint8Array.from({ length: 1024 }, (_, i) => (i % 4 === 3 ? 255 : i >> 2));
}

function paletteChunks(palette: Uint8Array): Uint8Array[] {
  const count = Math.min(256, palette.length >> 2);
  const colours = new Uint8Array(count * 3);
  const alpha = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    colours.set(palette.subarray(i * 4, i * 4 + 3), i * 3);
    alpha[i] = palette[i * 4 + 3] as number;
  }
  const parts = [chunk('PLTE', colours)];
  if (alpha.some((a) => a !== 255)) parts.push(chunk('tRNS', alpha));
  return parts;
}

/** Subtracts the row above (filter 2) where it makes the row flatter, else leaves it (filter 0). */
function filterRows(image: PngInput, channels: number): Uint8Array {
  const length = image.width * channels;
  const out = new Uint8Array(image.height * (length + 1));
  for (let y = 0; y < image.height; y++) {
    const row = image.data.subarray(y * length, (y + 1) * length);
    const at = y * (length + 1);
    // Palette indices and label maps compress best unfiltered (PNG specification, §12.7).
    if (image.mode === 'P' || y === 0) out.set(row, at + 1);
    else {
      out[at] = 2;
      const up = (y - 1) * length;
      for (let i = 0; i < length; i++) out[at + 1 + i] = (row[i] as number) - (image.data[up + i] as number);
    }
  }
  return out;
}

/** An 8-bit PNG with exactly these samples. @throws UserError 'image-size' if the array does not fill the picture. */
export function writePng(image: PngInput): Uint8Array<ArrayBuffer> {
  const channels = { L: 1, P: 1, RGB: 3, RGBA: 4 }[image.mode];
  if (image.data.length !== image.width * image.height * channels || image.data.length === 0) {
    throw new UserError(
      'image-size',
      `${image.data.length} values do not make a ${image.width} x ${image.height} ${image.mode} picture`,
    );
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, image.width);
  view.setUint32(4, image.height);
  header[8] = 8;
  header[9] = COLOR_TYPES[image.mode];
  const parts = [Uint8Array.from(SIGNATURE), chunk('IHDR', header)];
  if (image.mode === 'P') parts.push(...paletteChunks(image.palette ?? greyRamp()));
  parts.push(
    chunk('IDAT', zlibSync(filterRows(image, channels), { level: 6 })),
    chunk('IEND', new Uint8Array()),
  );
  return concatBytes(parts);
}
