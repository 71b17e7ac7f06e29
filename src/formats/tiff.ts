/**
 * @file TIFF pictures: the first page; 1 to 16 bit grey, 32-bit and signed grey as float, RGB(A), palette; strips, tiles,
 * planes; none, PackBits, LZW, Deflate, Group 4. Imports formats only. Samples are as stored: the orientation tag is reported.
 * Own decoder: utif trusts sizes and offsets (unbounded loops on damaged files) and yields no samples above 8 bit.
 */
import { imageCorrupt, imageTruncated } from './imageErrors';
import type { ImageMode, RasterImage } from './image.types';
import { maxExpansion, TIFF_CODECS, type StripDecoder } from './tiffCodecs';
import { readTiffHeader, type TiffHeader } from './tiffHeader';

const REVERSED = Uint8Array.from({ length: 256 }, (_, b) => {
  let r = 0;
  for (let i = 0; i < 8; i++) r |= ((b >> i) & 1) << (7 - i);
  return r;
});

type Samples = Uint8Array | Uint16Array | Float32Array;

/** Undoes horizontal differencing of one row of `channels` interleaved samples, in place. */
function undoPredictor(row: Uint8Array, bits: number, channels: number, little: boolean): void {
  if (bits === 8) {
    for (let i = channels; i < row.length; i++) row[i] = (row[i] as number) + (row[i - channels] as number);
    return;
  }
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  for (let i = channels * 2; i + 1 < row.length; i += 2) {
    view.setUint16(i, view.getUint16(i, little) + view.getUint16(i - channels * 2, little), little);
  }
}

/** Reads sample `i` of a row of bytes. */
function sampleReader(h: TiffHeader): (row: DataView, i: number) => number {
  const { bits, little, sampleFormat } = h;
  if (bits === 8) return sampleFormat === 2 ? (row, i) => row.getInt8(i) : (row, i) => row.getUint8(i);
  if (bits === 16)
    return sampleFormat === 2
      ? (row, i) => row.getInt16(2 * i, little)
      : (row, i) => row.getUint16(2 * i, little);
  if (bits === 32) {
    if (sampleFormat === 3) return (row, i) => row.getFloat32(4 * i, little);
    return sampleFormat === 2
      ? (row, i) => row.getInt32(4 * i, little)
      : (row, i) => row.getUint32(4 * i, little);
  }
  const mask = (1 << bits) - 1;
  return (row, i) => (row.getUint8((i * bits) >> 3) >> (8 - bits - ((i * bits) & 7))) & mask;
}

function blockBytes(bytes: Uint8Array, h: TiffHeader, index: number, name: string): Uint8Array {
  const offset = h.offsets[index] as number;
  const count = h.counts[index] ?? 0;
  if (count === 0) throw imageCorrupt(name, 'a part of the picture is empty');
  if (offset + count > bytes.length) throw imageTruncated(name);
  const data = bytes.subarray(offset, offset + count);
  return h.reversedBits ? data.map((b) => REVERSED[b] as number) : data;
}

interface Block {
  readonly x0: number;
  readonly y0: number;
  readonly plane: number;
}

/** The blocks in file order: rows of blocks, plane by plane. */
function* blocksOf(h: TiffHeader): Generator<Block> {
  const planes = h.separatePlanes ? h.channels : 1;
  for (let plane = 0; plane < planes; plane++) {
    for (let y0 = 0; y0 < h.height; y0 += h.blockHeight) {
      for (let x0 = 0; x0 < h.width; x0 += h.blockWidth) yield { x0, y0, plane };
    }
  }
}

function decodeBlocks(bytes: Uint8Array, h: TiffHeader, out: Samples, name: string): void {
  const decode = TIFF_CODECS.get(h.compression) as StripDecoder;
  const read = sampleReader(h);
  const inBlock = h.separatePlanes ? 1 : h.channels;
  const rowLength = Math.ceil((h.blockWidth * inBlock * h.bits) / 8);
  const tiled = h.blockWidth !== h.width;
  let index = 0;
  for (const { x0, y0, plane } of blocksOf(h)) {
    const data = blockBytes(bytes, h, index++, name);
    const rows = Math.min(h.blockHeight, h.height - y0);
    // Tiles are stored whole even where they reach past the picture.
    const storedRows = tiled ? h.blockHeight : rows;
    const size = rowLength * storedRows;
    if (size > data.length * maxExpansion(h.compression) + 64) throw imageTruncated(name);
    const raw = decode(data, size, h.blockWidth, storedRows);
    if (raw.length < rowLength * rows) throw imageCorrupt(name, 'its data ends too early or is damaged');
    const columns = Math.min(h.blockWidth, h.width - x0);
    for (let y = 0; y < rows; y++) {
      let row = raw.subarray(y * rowLength, (y + 1) * rowLength);
      if (h.predictor === 2) {
        row = row.slice();
        undoPredictor(row, h.bits, inBlock, h.little);
      }
      const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
      const to = ((y0 + y) * h.width + x0) * h.channels + plane;
      const step = h.separatePlanes ? h.channels : 1;
      for (let i = 0; i < columns * inBlock; i++) out[to + i * step] = read(view, i);
    }
  }
}

/** 16-bit tables to 8-bit RGBA entries. */
function paletteOf(h: TiffHeader): Uint8Array {
  const count = 1 << h.bits;
  const out = new Uint8Array(count * 4).fill(255);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) out[i * 4 + c] = (h.colorMap[c * count + i] as number) >> 8;
  }
  return out;
}

function modeOf(h: TiffHeader): ImageMode {
  if (h.photometric === 3) return 'P';
  if (h.bits === 32 || h.sampleFormat !== 1) return 'F';
  const wide = h.bits === 16;
  if (h.photometric === 2) {
    if (h.channels === 3) return wide ? 'RGB;16' : 'RGB';
    return wide ? 'RGBA;16' : 'RGBA';
  }
  if (h.channels === 2) return wide ? 'LA;16' : 'LA';
  if (wide) return 'I;16';
  return h.bits === 1 ? '1' : 'L';
}

/** Grey below 8 bit is scaled to 0..255; "white is zero" is turned round. Alpha stays. */
function finishGrey(out: Samples, h: TiffHeader): void {
  if (h.photometric > 1 || out instanceof Float32Array) return;
  const factor = h.bits < 8 ? 255 / ((1 << h.bits) - 1) : 1;
  const top = h.bits === 16 ? 65535 : 255;
  const invert = h.photometric === 0;
  if (factor === 1 && !invert) return;
  for (let i = 0; i < out.length; i += h.channels) {
    const v = (out[i] as number) * factor;
    out[i] = invert ? top - v : v;
  }
}

/** Decodes the first page. @throws UserError 'file-truncated', 'file-corrupt', 'image-unsupported', 'image-too-large'. */
export function decodeTiff(bytes: Uint8Array, name: string): RasterImage {
  const h = readTiffHeader(bytes, name);
  const mode = modeOf(h);
  const count = h.width * h.height * h.channels;
  const compressed = h.counts.reduce((sum, c) => sum + c, 0);
  if ((count * h.bits) / 8 > Math.min(compressed, bytes.length * 4) * maxExpansion(h.compression) + 64)
    throw imageTruncated(name);
  const out =
    mode === 'F' ? new Float32Array(count) : h.bits === 16 ? new Uint16Array(count) : new Uint8Array(count);
  decodeBlocks(bytes, h, out, name);
  finishGrey(out, h);
  return {
    width: h.width,
    height: h.height,
    mode,
    data: out,
    format: 'tiff',
    ...(mode === 'P' ? { palette: paletteOf(h) } : {}),
    ...(h.orientation >= 2 && h.orientation <= 8 ? { exifOrientation: h.orientation } : {}),
  };
}
