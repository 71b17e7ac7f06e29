/**
 * @file Large values in IndexedDB: rows of at most 16 MB under [owner, index], each with its SHA-256. Used by checkpoints and weights.
 * A single 1 GB value fails in Chromium ("Failed to write blobs"), small rows do not (reference/reliability.md section 1a).
 */
import { sha256 } from '../lib/bytes';
import { UserError } from '../lib/errors';
import { ownedBy, readOne } from './database';

export const PART_BYTES = 16 * 1024 * 1024;

export interface PartInfo {
  readonly bytes: number;
  readonly sha256: string;
}

/** Cuts bytes into rows of at most `size` bytes; an empty input gives one empty row. */
export function cutParts(bytes: Uint8Array, size = PART_BYTES): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length || at === 0; at += size) out.push(bytes.subarray(at, at + size));
  return out;
}

/** SHA-256 of each part, one after the other (bounded memory). */
export async function describeParts(parts: readonly Uint8Array[]): Promise<PartInfo[]> {
  const out: PartInfo[] = [];
  for (const part of parts) out.push({ bytes: part.length, sha256: await sha256(part) });
  return out;
}

/** Puts parts inside an open transaction that covers 'parts'. */
export function putParts(tx: IDBTransaction, owner: string, parts: readonly Uint8Array[]): void {
  const store = tx.objectStore('parts');
  parts.forEach((part, index) => store.put(exactBuffer(part), [owner, index]));
}

/** Deletes an owner's parts inside an open transaction. */
export function deleteParts(tx: IDBTransaction, owner: string): void {
  tx.objectStore('parts').delete(ownedBy(owner));
}

/** Structured clone copies the whole buffer behind a view: hand over exactly the part. */
function exactBuffer(part: Uint8Array): ArrayBuffer {
  const { buffer } = part;
  if (buffer instanceof ArrayBuffer && part.byteOffset === 0 && buffer.byteLength === part.length)
    return buffer;
  return new Uint8Array(part).buffer;
}

/**
 * Reads parts back one by one and compares length and hash.
 * Throws UserError `code` naming `subject` when one is missing or differs.
 */
export async function readParts(
  owner: string,
  list: readonly PartInfo[],
  problem: { readonly code: string; readonly subject: string },
): Promise<Uint8Array<ArrayBuffer>[]> {
  const out: Uint8Array<ArrayBuffer>[] = [];
  for (const [index, expected] of list.entries()) out.push(await readPart(owner, index, expected, problem));
  return out;
}

/** As `readParts`, but keeps nothing: the check after a write. */
export async function verifyParts(
  owner: string,
  list: readonly PartInfo[],
  problem: { readonly code: string; readonly subject: string },
): Promise<void> {
  for (const [index, expected] of list.entries()) await readPart(owner, index, expected, problem);
}

async function readPart(
  owner: string,
  index: number,
  expected: PartInfo,
  problem: { readonly code: string; readonly subject: string },
): Promise<Uint8Array<ArrayBuffer>> {
  const stored = await readOne<ArrayBuffer>('parts', [owner, index]);
  const bytes = stored instanceof ArrayBuffer ? new Uint8Array(stored) : null;
  if (bytes === null || bytes.length !== expected.bytes || (await sha256(bytes)) !== expected.sha256) {
    const what = bytes === null ? 'is missing' : 'does not match its SHA-256';
    throw new UserError(problem.code, `${problem.subject}: part ${index + 1} of what was saved ${what}`, {
      subject: problem.subject,
    });
  }
  return bytes;
}
