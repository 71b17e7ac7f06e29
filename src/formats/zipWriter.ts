/**
 * @file Writing zip archives, whole or in parts. Imports formats and fflate.
 * Own writer because fflate's writes no zip64 and cannot align data (torch maps storages at 64-byte boundaries).
 * Reference: PKWARE APPNOTE 6.3.10; names are UTF-8 (flag bit 11).
 */
import { deflateSync } from 'fflate';
import { concatBytes } from '../lib/bytes';
import { crc32 } from './checksums';

export interface ZipFile {
  readonly name: string;
  readonly data: Uint8Array;
  /** Deflate it (text); leave out for data that is compressed already. */
  readonly compress?: boolean;
}

const LIMIT32 = 0xffffffff;
/** 1 January 1980: archives of the same content are the same bytes. */
const DOS_DATE = 0x0021;

interface Written {
  readonly name: Uint8Array;
  readonly method: number;
  readonly crc: number;
  readonly compressedSize: number;
  readonly size: number;
  readonly offset: number;
}

/** Little-endian record from [bytes, value] pairs. */
function record(fields: readonly (readonly [1 | 2 | 4 | 8, number])[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(fields.reduce((sum, [width]) => sum + width, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 1) view.setUint8(at, value);
    else if (width === 2) view.setUint16(at, value, true);
    else if (width === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += width;
  }
  return out;
}

function localHeader(w: Written, align: number): Uint8Array<ArrayBuffer> {
  const big = w.size >= LIMIT32 || w.compressedSize >= LIMIT32;
  const zip64 = big
    ? record([
        [2, 1],
        [2, 16],
        [8, w.size],
        [8, w.compressedSize],
      ])
    : new Uint8Array();
  const start = w.offset + 30 + w.name.length + zip64.length;
  let padding: Uint8Array = new Uint8Array();
  if (align > 1 && start % align !== 0) {
    // The padding is itself an extra field ("FB" as torch names it), at least 4 bytes long.
    const length = align - ((start + 4) % align || align);
    padding = concatBytes([
      record([
        [2, 0x4246],
        [2, length],
      ]),
      new Uint8Array(length),
    ]);
  }
  const head = record([
    [4, 0x04034b50],
    [2, big ? 45 : 20],
    [2, 0x0800],
    [2, w.method],
    [2, 0],
    [2, DOS_DATE],
    [4, w.crc],
    [4, big ? LIMIT32 : w.compressedSize],
    [4, big ? LIMIT32 : w.size],
    [2, w.name.length],
    [2, zip64.length + padding.length],
  ]);
  return concatBytes([head, w.name, zip64, padding]);
}

function centralHeader(w: Written): Uint8Array<ArrayBuffer> {
  const values: (readonly [8, number])[] = [];
  const clip = (value: number): number => {
    if (value < LIMIT32) return value;
    values.push([8, value]);
    return LIMIT32;
  };
  const size = clip(w.size);
  const compressed = clip(w.compressedSize);
  const offset = clip(w.offset);
  const extra = values.length === 0 ? new Uint8Array() : record([[2, 1], [2, values.length * 8], ...values]);
  const head = record([
    [4, 0x02014b50],
    [2, 45],
    [2, values.length === 0 ? 20 : 45],
    [2, 0x0800],
    [2, w.method],
    [2, 0],
    [2, DOS_DATE],
    [4, w.crc],
    [4, compressed],
    [4, size],
    [2, w.name.length],
    [2, extra.length],
    [2, 0],
    [2, 0],
    [2, 0],
    [4, 0],
    [4, offset],
  ]);
  return concatBytes([head, w.name, extra]);
}

/** Writes an archive part by part: each call returns the bytes to append to the output. */
export class ZipWriter {
  private readonly written: Written[] = [];
  private offset = 0;

  /** @param align data of stored entries begin at a multiple of this (power of two). */
  constructor(private readonly align = 1) {}

  /** Adds one file; returns the parts to append. `data` is not copied when it is stored. */
  add(file: ZipFile): Uint8Array[] {
    const body = file.compress ? deflateSync(file.data) : file.data;
    const entry: Written = {
      name: new TextEncoder().encode(file.name),
      method: file.compress ? 8 : 0,
      crc: crc32(file.data),
      compressedSize: body.length,
      size: file.data.length,
      offset: this.offset,
    };
    const head = localHeader(entry, this.align);
    this.written.push(entry);
    this.offset += head.length + body.length;
    return [head, body];
  }

  /** The directory: the last bytes of the archive. */
  finish(): Uint8Array {
    const directory = concatBytes(this.written.map(centralHeader));
    const count = this.written.length;
    const parts = [directory];
    const end = this.offset + directory.length;
    if (count >= 0xffff || this.offset >= LIMIT32 || directory.length >= LIMIT32) {
      const sizes = [
        [8, count],
        [8, count],
        [8, directory.length],
        [8, this.offset],
      ] as const;
      parts.push(record([[4, 0x06064b50], [8, 44], [2, 45], [2, 45], [4, 0], [4, 0], ...sizes]));
      parts.push(
        record([
          [4, 0x07064b50],
          [4, 0],
          [8, end],
          [4, 1],
        ]),
      );
    }
    const shortCount = Math.min(count, 0xffff);
    const directorySize = Math.min(directory.length, LIMIT32);
    const directoryOffset = Math.min(this.offset, LIMIT32);
    parts.push(
      record([
        [4, 0x06054b50],
        [2, 0],
        [2, 0],
        [2, shortCount],
        [2, shortCount],
        [4, directorySize],
        [4, directoryOffset],
        [2, 0],
      ]),
    );
    return concatBytes(parts);
  }
}

/** A whole archive in memory. */
export function writeZip(files: readonly ZipFile[], align = 1): Uint8Array<ArrayBuffer> {
  const writer = new ZipWriter(align);
  const parts = files.flatMap((f) => writer.add(f));
  return concatBytes([...parts, writer.finish()]);
}
