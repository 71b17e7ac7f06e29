/**
 * @file The central directory of a zip archive, checked before anything is read. Imports lib only.
 * Reference: PKWARE APPNOTE 6.3.10 (sections 4.3.7, 4.3.12-4.3.16, 4.4.4, 4.5.3, 4.6.9).
 */
import { UserError } from '../lib/errors';
import { crc32 } from './checksums';

export interface ZipEntry {
  /** As stored, with "/" between folders; may be hostile ("../"): see `safeZipPath`. */
  readonly name: string;
  readonly isFolder: boolean;
  /** 0 stored, 8 deflated; others are refused when read. */
  readonly method: number;
  readonly crc: number;
  readonly compressedSize: number;
  readonly size: number;
  readonly encrypted: boolean;
  /** Where the entry's (compressed) bytes begin in the archive. */
  readonly dataStart: number;
}

/** 22 bytes plus the longest comment. */
const EOCD_WINDOW = 22 + 65535;
const MAX_ENTRIES = 200_000;

export function zipCorrupt(name: string, what: string): UserError {
  return new UserError('file-corrupt', `"${name}" is not a valid zip archive: ${what}`, {
    subject: name,
    hint: 'The file may be damaged or cut off: create or download it again.',
  });
}

interface Directory {
  readonly count: number;
  readonly size: number;
  readonly offset: number;
  /** Where the directory has to end: at the (zip64) end record. */
  readonly end: number;
}

/** Finds the end record whose comment reaches exactly to the end of the file. */
function findEnd(view: DataView, name: string): Directory {
  const length = view.byteLength;
  for (let at = length - 22; at >= Math.max(0, length - EOCD_WINDOW); at--) {
    if (view.getUint32(at, true) !== 0x06054b50) continue;
    if (at + 22 + view.getUint16(at + 20, true) !== length) continue;
    const count = view.getUint16(at + 10, true);
    const size = view.getUint32(at + 12, true);
    const offset = view.getUint32(at + 16, true);
    if (view.getUint16(at + 4, true) !== 0 && view.getUint16(at + 4, true) !== 0xffff) {
      throw zipCorrupt(name, 'it is one part of a split archive');
    }
    if (at >= 20 && view.getUint32(at - 20, true) === 0x07064b50) return findZip64End(view, at - 20, name);
    return { count, size, offset, end: at };
  }
  throw zipCorrupt(name, 'its directory is missing (the file is cut off, or has something appended)');
}

function safeNumber(value: bigint, limit: number, name: string): number {
  if (value > BigInt(limit)) throw zipCorrupt(name, 'a size or position lies outside the file');
  return Number(value);
}

function findZip64End(view: DataView, locator: number, name: string): Directory {
  const at = safeNumber(view.getBigUint64(locator + 8, true), view.byteLength - 56, name);
  if (view.getUint32(at, true) !== 0x06064b50) throw zipCorrupt(name, 'its zip64 directory is missing');
  return {
    count: safeNumber(view.getBigUint64(at + 32, true), MAX_ENTRIES, name),
    size: safeNumber(view.getBigUint64(at + 40, true), view.byteLength, name),
    offset: safeNumber(view.getBigUint64(at + 48, true), view.byteLength, name),
    end: at,
  };
}

/** Sizes and position of one entry, from the zip64 extra field where the 32-bit ones say 0xffffffff. */
function readSizes(view: DataView, at: number, extra: DataView, name: string): [number, number, number] {
  const fields: [number, number][] = [
    [view.getUint32(at + 24, true), 0xffffffff],
    [view.getUint32(at + 20, true), 0xffffffff],
    [view.getUint32(at + 42, true), 0xffffffff],
  ];
  let next = -1;
  let end = 0;
  for (let p = 0; p + 4 <= extra.byteLength; p += 4 + extra.getUint16(p + 2, true)) {
    if (extra.getUint16(p, true) === 1) {
      next = p + 4;
      end = Math.min(extra.byteLength, next + extra.getUint16(p + 2, true));
    }
  }
  return fields.map(([value, marker]) => {
    if (value !== marker) return value;
    if (next < 0 || next + 8 > end) throw zipCorrupt(name, 'an entry claims 4 GB or more');
    next += 8;
    return safeNumber(extra.getBigUint64(next - 8, true), Number.MAX_SAFE_INTEGER, name);
  }) as [number, number, number];
}

const DECODERS = {
  utf8: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }),
  // The Encoding Standard's "euc-kr" is Windows code page 949.
  cp949: new TextDecoder('euc-kr', { fatal: true }),
};

function decodeWith(encoding: keyof typeof DECODERS, bytes: Uint8Array): string | undefined {
  try {
    return DECODERS[encoding].decode(bytes);
  } catch {
    return undefined;
  }
}

/** Info-ZIP's Unicode path field (0x7075), valid only for the name it was made for. */
function unicodePath(extra: DataView, rawName: Uint8Array): string | undefined {
  for (let p = 0; p + 4 <= extra.byteLength; p += 4 + extra.getUint16(p + 2, true)) {
    const size = extra.getUint16(p + 2, true);
    if (extra.getUint16(p, true) !== 0x7075 || size < 6 || p + 4 + size > extra.byteLength) continue;
    if (extra.getUint32(p + 5, true) !== crc32(rawName)) continue;
    return decodeWith('utf8', new Uint8Array(extra.buffer, extra.byteOffset + p + 9, size - 5));
  }
  return undefined;
}

/** UTF-8 where it is valid (flagged or not: macOS does not flag), else CP949 as Korean Windows writes, else Latin. */
function decodeName(raw: Uint8Array, extra: DataView): string {
  const text =
    unicodePath(extra, raw) ??
    decodeWith('utf8', raw) ??
    decodeWith('cp949', raw) ??
    new TextDecoder('windows-1252').decode(raw);
  return text.replaceAll('\\', '/');
}

function checkLocal(view: DataView, at: number, central: number, name: string): number {
  if (at + 30 > view.byteLength || view.getUint32(at, true) !== 0x04034b50) {
    throw zipCorrupt(name, 'an entry is not where the directory says');
  }
  const nameLength = view.getUint16(at + 26, true);
  if (
    nameLength !== view.getUint16(central + 28, true) ||
    view.getUint16(at + 8, true) !== view.getUint16(central + 10, true)
  ) {
    throw zipCorrupt(name, 'an entry and the directory disagree');
  }
  const start = at + 30 + nameLength + view.getUint16(at + 28, true);
  if (start > view.byteLength) throw zipCorrupt(name, 'an entry reaches past the end of the file');
  for (let i = 0; i < nameLength; i++) {
    if (view.getUint8(at + 30 + i) !== view.getUint8(central + 46 + i)) {
      throw zipCorrupt(name, 'an entry and the directory disagree about a name');
    }
  }
  return start;
}

function readEntry(view: DataView, at: number, name: string): { entry: ZipEntry; next: number } {
  if (at + 46 > view.byteLength || view.getUint32(at, true) !== 0x02014b50) {
    throw zipCorrupt(name, 'its directory is damaged');
  }
  const nameLength = view.getUint16(at + 28, true);
  const extraLength = view.getUint16(at + 30, true);
  const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true);
  if (next > view.byteLength) throw zipCorrupt(name, 'its directory is damaged');
  const extra = new DataView(view.buffer, view.byteOffset + at + 46 + nameLength, extraLength);
  const rawName = new Uint8Array(view.buffer, view.byteOffset + at + 46, nameLength);
  const [size, compressedSize, local] = readSizes(view, at, extra, name);
  const dataStart = checkLocal(view, local, at, name);
  if (dataStart + compressedSize > view.byteLength)
    throw zipCorrupt(name, 'an entry reaches past the end of the file');
  const text = decodeName(rawName, extra);
  const flags = view.getUint16(at + 8, true);
  const entry: ZipEntry = {
    name: text,
    isFolder: text.endsWith('/'),
    method: view.getUint16(at + 10, true),
    crc: view.getUint32(at + 16, true),
    compressedSize,
    size,
    encrypted: (flags & 0x2041) !== 0,
    dataStart,
  };
  return { entry, next };
}

/** No two entries share bytes (overlapping entries are how small archives expand without end). */
function checkOverlap(entries: readonly ZipEntry[], directory: number, name: string): void {
  let at = 0;
  for (const e of entries.toSorted((a, b) => a.dataStart - b.dataStart)) {
    if (e.dataStart < at || e.dataStart + e.compressedSize > directory)
      throw zipCorrupt(name, 'its entries overlap');
    at = e.dataStart + e.compressedSize;
  }
}

/** True if the bytes begin like a zip archive (also an empty one). */
export function looksLikeZip(bytes: Uint8Array): boolean {
  const [a, b, c, d] = bytes;
  return a === 0x50 && b === 0x4b && ((c === 3 && d === 4) || (c === 5 && d === 6));
}

/** Reads and checks the directory; touches no entry's data. @throws UserError 'file-empty', 'file-corrupt'. */
export function readZipDirectory(bytes: Uint8Array, name: string): ZipEntry[] {
  if (bytes.length === 0) throw new UserError('file-empty', `"${name}" is empty`, { subject: name });
  if (bytes.length < 22 || !looksLikeZip(bytes)) throw zipCorrupt(name, 'it does not begin like one');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const directory = findEnd(view, name);
  if (directory.offset + directory.size !== directory.end)
    throw zipCorrupt(name, 'its directory is not where it should be');
  if (directory.count > MAX_ENTRIES) throw zipCorrupt(name, `it has more than ${MAX_ENTRIES} entries`);
  const entries: ZipEntry[] = [];
  let at = directory.offset;
  while (at < directory.end && entries.length <= directory.count) {
    const { entry, next } = readEntry(view, at, name);
    entries.push(entry);
    at = next;
  }
  if (at !== directory.end || entries.length !== directory.count)
    throw zipCorrupt(name, 'its directory has a wrong number of entries');
  checkOverlap(entries, directory.offset, name);
  return entries;
}
