/**
 * @file Zip archives: reading with limits, and reading one entry at a time. Imports lib, formats and fflate.
 * Writing is in zipWriter. Limits: reliability.md C7 (ratio 200:1, size cap), D4 (nothing beyond the declared size).
 */
import { UserError } from '../lib/errors';
import { inflateBounded } from './boundedInflate';
import { crc32 } from './checksums';
import { readZipDirectory, zipCorrupt, type ZipEntry } from './zipDirectory';

export interface ZipLimits {
  /** Largest allowed uncompressed / compressed size of an entry over 1 MB. */
  readonly maxRatio?: number;
  /** Largest sum of uncompressed sizes, bytes. */
  readonly maxTotalBytes?: number;
}

export interface ZipArchive {
  readonly name: string;
  /** Files only (folders are left out), with paths made safe; unsafe ones are listed in `skipped`. */
  readonly entries: readonly ZipEntry[];
  /** Names that were left out: leading outside the archive ("../"), absolute, or repeated. */
  readonly skipped: readonly string[];
  /** The entry's bytes, checked against its size and CRC-32. @throws UserError 'file-corrupt', 'zip-encrypted', 'zip-unsupported'. */
  read(entry: ZipEntry): Uint8Array<ArrayBuffer>;
}

const DEFAULT_RATIO = 200;
const DEFAULT_TOTAL = 16e9;
/** Small entries may compress better than any ratio without harm. */
const RATIO_FREE_BYTES = 1_000_000;
const MAX_ENTRY_BYTES = 2 ** 31;

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) return true;
  return false;
}

/** The path with forward slashes, or undefined if it leads outside its folder, is absolute or has control characters. */
export function safeZipPath(path: string): string | undefined {
  const parts = path.replaceAll('\\', '/').split('/');
  if (parts.length > 32 || parts.some((p) => p === '' || p === '..' || p === '.' || hasControl(p)))
    return undefined;
  return /^[a-zA-Z]:/.test(path) ? undefined : parts.join('/');
}

/** The bytes of one entry, within its declared size. */
export function readZipEntry(bytes: Uint8Array, entry: ZipEntry, archive: string): Uint8Array<ArrayBuffer> {
  const path = `${archive}/${entry.name}`;
  if (entry.encrypted) {
    throw new UserError('zip-encrypted', `"${path}" is protected by a password`, {
      subject: path,
      hint: 'Unpack the archive with its password and choose the folder instead.',
    });
  }
  const data = bytes.subarray(entry.dataStart, entry.dataStart + entry.compressedSize);
  let out: Uint8Array<ArrayBuffer>;
  if (entry.method === 0) {
    if (entry.size !== entry.compressedSize) throw zipCorrupt(path, 'its sizes disagree');
    out = data.slice();
  } else if (entry.method === 8) {
    if (entry.size > MAX_ENTRY_BYTES || entry.size > entry.compressedSize * 1100 + 64) {
      throw zipCorrupt(path, 'it claims to be larger than its data can be');
    }
    const inflated = inflateBounded(data, entry.size);
    if (inflated.status !== 'complete' || inflated.bytes.length !== entry.size)
      throw zipCorrupt(path, 'its data is damaged');
    out = inflated.bytes;
  } else {
    throw new UserError('zip-unsupported', `"${path}" uses zip compression method ${entry.method}`, {
      subject: path,
      hint: 'Create the archive again with the usual "deflate" compression.',
    });
  }
  if (crc32(out) !== entry.crc) throw zipCorrupt(path, 'its checksum is wrong');
  return out;
}

/** Refuses bombs and encrypted archives by what the directory says. */
export function checkZipLimits(entries: readonly ZipEntry[], name: string, limits: ZipLimits): void {
  const ratio = limits.maxRatio ?? DEFAULT_RATIO;
  const cap = limits.maxTotalBytes ?? DEFAULT_TOTAL;
  let total = 0;
  for (const e of entries) {
    total += e.size;
    if ((e.size > RATIO_FREE_BYTES && e.size > e.compressedSize * ratio) || total > cap) {
      throw new UserError('zip-too-large', `"${name}" would unpack to an unreasonable size ("${e.name}")`, {
        subject: name,
        hint: 'Unpack the archive yourself and choose the folder instead.',
      });
    }
    if (e.encrypted) {
      throw new UserError('zip-encrypted', `"${name}" is protected by a password`, {
        subject: name,
        hint: 'Unpack the archive with its password and choose the folder instead.',
      });
    }
  }
}

/**
 * Opens an archive: reads and checks its directory, no data. An archive inside the archive is an ordinary file here.
 * @throws UserError 'file-empty', 'file-corrupt', 'zip-too-large', 'zip-encrypted', each naming the archive.
 */
export function openZip(bytes: Uint8Array, name: string, limits: ZipLimits = {}): ZipArchive {
  const all = readZipDirectory(bytes, name).filter((e) => !e.isFolder);
  checkZipLimits(all, name, limits);
  const byPath = new Map<string, ZipEntry>();
  const skipped: string[] = [];
  for (const e of all) {
    const path = safeZipPath(e.name);
    if (path === undefined || byPath.has(path)) skipped.push(e.name);
    else byPath.set(path, { ...e, name: path });
  }
  const read = (entry: ZipEntry): Uint8Array<ArrayBuffer> => readZipEntry(bytes, entry, name);
  return { name, entries: [...byPath.values()], skipped, read };
}
