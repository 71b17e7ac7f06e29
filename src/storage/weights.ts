/**
 * @file The library of dropped weight files (.pth, .safetensors, .bin): the bytes as they came, by content hash, so that the same
 * file dropped twice is kept once. Imports lib.
 */
import { concatBytes, sha256 } from '../lib/bytes';
import { UserError } from '../lib/errors';
import { readAll, readOne, transact } from './database';
import type { PartInfo } from './parts';
import { cutParts, deleteParts, describeParts, putParts, readParts, verifyParts } from './parts';

export interface StoredWeights {
  /** "w-" + the first 32 hex digits of the file's SHA-256. */
  readonly id: string;
  readonly fileName: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly addedAt: number;
  readonly parts: readonly PartInfo[];
}

/** Keeps a file; an identical one already there is returned as it is. Rejects with 'storage-full' or 'weights-not-saved'. */
export async function addWeights(file: File): Promise<StoredWeights> {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch (cause) {
    throw new UserError('file-unreadable', `${file.name} could not be read`, {
      subject: file.name,
      hint: 'It may have been moved, changed or be too large for this browser. Choose it again.',
      cause,
    });
  }
  const hash = await sha256(bytes);
  const id = `w-${hash.slice(0, 32)}`;
  const existing = await readOne<StoredWeights>('weights', id);
  if (existing) return existing;
  const cut = cutParts(bytes);
  const parts = await describeParts(cut);
  const record: StoredWeights = {
    id,
    fileName: file.name,
    bytes: bytes.length,
    sha256: hash,
    addedAt: Date.now(),
    parts,
  };
  await transact(
    ['weights', 'parts'],
    'readwrite',
    (tx) => {
      putParts(tx, id, cut);
      tx.objectStore('weights').put(record, id);
      return () => undefined;
    },
    { strict: true, subject: file.name },
  );
  await verifyParts(id, parts, { code: 'weights-not-saved', subject: file.name });
  return record;
}

/** Bytes and name of a kept file. Throws 'weights-missing' or 'weights-corrupt'. */
export async function readWeights(
  id: string,
): Promise<{ readonly fileName: string; readonly bytes: Uint8Array<ArrayBuffer> }> {
  const record = await readOne<StoredWeights>('weights', id);
  if (!record) {
    throw new UserError('weights-missing', 'These weights are no longer in this browser', {
      subject: id,
      hint: 'Drop the file again.',
    });
  }
  const parts = await readParts(id, record.parts, { code: 'weights-corrupt', subject: record.fileName });
  return { fileName: record.fileName, bytes: parts.length === 1 && parts[0] ? parts[0] : concatBytes(parts) };
}

/** Newest first. */
export async function listWeights(): Promise<StoredWeights[]> {
  return (await readAll<StoredWeights>('weights')).sort((a, b) => b.addedAt - a.addedAt);
}

export async function deleteWeights(id: string): Promise<void> {
  await transact(['weights', 'parts'], 'readwrite', (tx) => {
    tx.objectStore('weights').delete(id);
    deleteParts(tx, id);
    return () => undefined;
  });
}
