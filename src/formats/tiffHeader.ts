/**
 * @file The tags of a TIFF file's first picture, checked. Imports formats only.
 * Reference: TIFF 6.0 §2, §8; Pillow's TiffImagePlugin for the modes.
 */
import { checkSize, imageCorrupt, imageTruncated, imageUnsupported } from './imageErrors';
import { compressionName, TIFF_CODECS } from './tiffCodecs';

export interface TiffHeader {
  readonly little: boolean;
  readonly width: number;
  readonly height: number;
  /** Bits of every sample: 1, 2, 4, 8, 16 or 32. */
  readonly bits: number;
  readonly channels: number;
  /** 1 unsigned, 2 signed, 3 float. */
  readonly sampleFormat: number;
  readonly compression: number;
  /** 0 white is zero, 1 black is zero, 2 RGB, 3 palette. */
  readonly photometric: number;
  readonly reversedBits: boolean;
  readonly predictor: number;
  readonly separatePlanes: boolean;
  readonly orientation: number;
  /** 16-bit red, green, blue tables of a palette. */
  readonly colorMap: readonly number[];
  /** Strips are blocks as wide as the picture. */
  readonly blockWidth: number;
  readonly blockHeight: number;
  readonly offsets: readonly number[];
  readonly counts: readonly number[];
}

type Tags = ReadonlyMap<number, readonly number[]>;
const TYPE_BYTES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8];
const MAX_VALUES = 4_000_000;

function readValues(view: DataView, at: number, type: number, count: number, little: boolean): number[] {
  const out: number[] = [];
  for (let i = 0; i < count; i++) {
    if (type === 1 || type === 7) out.push(view.getUint8(at + i));
    else if (type === 3) out.push(view.getUint16(at + 2 * i, little));
    else if (type === 4 || type === 13) out.push(view.getUint32(at + 4 * i, little));
  }
  return out;
}

/** Whole-number tags of the first directory. */
function readTags(view: DataView, little: boolean, name: string): Tags {
  const at = view.getUint32(4, little);
  if (at + 2 > view.byteLength) throw imageTruncated(name);
  const count = view.getUint16(at, little);
  const tags = new Map<number, readonly number[]>();
  for (let i = 0; i < count; i++) {
    const entry = at + 2 + i * 12;
    if (entry + 12 > view.byteLength) throw imageTruncated(name);
    const tag = view.getUint16(entry, little);
    const type = view.getUint16(entry + 2, little);
    const values = view.getUint32(entry + 4, little);
    const bytes = (TYPE_BYTES[type] ?? 0) * values;
    if (bytes === 0 || ![1, 3, 4, 7, 13].includes(type) || (bytes > 4 && tag > 400)) continue;
    const where = bytes <= 4 ? entry + 8 : view.getUint32(entry + 8, little);
    if (values > MAX_VALUES || where + bytes > view.byteLength)
      throw imageCorrupt(name, `its tag ${tag} lies outside the file`);
    tags.set(tag, readValues(view, where, type, values, little));
  }
  return tags;
}

interface Layout {
  readonly blockWidth: number;
  readonly blockHeight: number;
  readonly offsets: readonly number[];
  readonly counts: readonly number[];
}

function readLayout(
  tags: Tags,
  width: number,
  height: number,
  planes: number,
  fileBytes: number,
  name: string,
): Layout {
  const tiled = tags.has(324);
  const blockWidth = tiled ? (tags.get(322)?.[0] ?? 0) : width;
  const blockHeight = tiled ? (tags.get(323)?.[0] ?? 0) : Math.min(tags.get(278)?.[0] ?? height, height);
  checkSize(blockWidth, blockHeight, name);
  const offsets = tags.get(tiled ? 324 : 273) ?? [];
  const needed = Math.ceil(width / blockWidth) * Math.ceil(height / blockHeight) * planes;
  if (offsets.length < needed) throw imageCorrupt(name, 'parts of the picture are missing');
  const stated = tags.get(tiled ? 325 : 279);
  if (stated === undefined && needed > 1) throw imageCorrupt(name, 'the sizes of its parts are missing');
  const counts = stated ?? [fileBytes - (offsets[0] ?? 0)];
  return { blockWidth, blockHeight, offsets: offsets.slice(0, needed), counts };
}

function checkSupported(h: TiffHeader, name: string): void {
  if (!TIFF_CODECS.has(h.compression))
    throw imageUnsupported(name, `it uses TIFF compression "${compressionName(h.compression)}"`);
  if (h.compression === 4 && (h.bits !== 1 || h.channels !== 1))
    throw imageCorrupt(name, 'Group 4 needs one bit per pixel');
  if (h.photometric > 3)
    throw imageUnsupported(name, `its colour space (${h.photometric}) is not grey, RGB or palette`);
  const depths = h.photometric === 2 ? [8, 16] : h.photometric === 3 ? [1, 2, 4, 8] : [1, 2, 4, 8, 16, 32];
  if (!depths.includes(h.bits)) throw imageUnsupported(name, `it has ${h.bits} bits per sample`);
  const grey = h.photometric !== 2;
  if (h.channels > 4 || (grey ? h.channels > 2 : h.channels < 3))
    throw imageUnsupported(name, `it has ${h.channels} channels`);
  if (h.channels > 1 && h.bits < 8)
    throw imageUnsupported(name, `it has ${h.channels} channels of ${h.bits} bit`);
  if (h.channels > 1 && (h.bits === 32 || h.sampleFormat !== 1))
    throw imageUnsupported(name, 'it has several channels of signed or floating point numbers');
  if (h.photometric === 3 && h.channels !== 1)
    throw imageUnsupported(name, 'it has a palette and several channels');
  if (h.photometric === 3 && h.colorMap.length !== 3 << h.bits)
    throw imageCorrupt(name, 'its palette has the wrong size');
  if (![1, 2, 3].includes(h.sampleFormat) || (h.sampleFormat === 3 && h.bits !== 32))
    throw imageUnsupported(name, 'its sample format is unknown');
  if (h.predictor === 2 ? h.bits !== 8 && h.bits !== 16 : h.predictor !== 1)
    throw imageUnsupported(name, `it uses predictor ${h.predictor} with ${h.bits} bit`);
}

/** @throws UserError 'file-truncated', 'file-corrupt', 'image-unsupported', 'image-too-large'. */
export function readTiffHeader(bytes: Uint8Array, name: string): TiffHeader {
  if (bytes.length < 8) throw imageTruncated(name);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = bytes[0] === 0x49;
  const tags = readTags(view, little, name);
  const first = (tag: number, fallback: number): number => tags.get(tag)?.[0] ?? fallback;
  const [width, height] = [first(256, 0), first(257, 0)];
  checkSize(width, height, name);
  const bitsPerSample = tags.get(258) ?? [1];
  const bits = bitsPerSample[0] ?? 1;
  if (bitsPerSample.some((b) => b !== bits))
    throw imageUnsupported(name, 'its channels have different depths');
  const channels = first(277, bitsPerSample.length);
  const separatePlanes = first(284, 1) === 2 && channels > 1;
  const layout = readLayout(tags, width, height, separatePlanes ? channels : 1, bytes.length, name);
  const header: TiffHeader = {
    little,
    width,
    height,
    bits,
    channels,
    sampleFormat: first(339, 1),
    compression: first(259, 1),
    photometric: first(262, channels >= 3 ? 2 : 1),
    reversedBits: first(266, 1) === 2,
    predictor: first(317, 1),
    separatePlanes,
    orientation: first(274, 1),
    colorMap: tags.get(320) ?? [],
    ...layout,
  };
  checkSupported(header, name);
  return header;
}
