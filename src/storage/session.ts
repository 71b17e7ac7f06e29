/**
 * @file Small things that bring the page back as it was: folders, exclusions, overrides, cached facts; and the storage's size,
 * persistence and erasure. Imports lib and idb-keyval.
 */
import { del, get, set } from 'idb-keyval';
import type { LabelSpec, SampleFacts } from '../data/types';
import type { FolderAccess } from './types';
import { deleteDatabase, keyval, ownedBy, readOne, transact } from './database';

/** A remembered folder. Dropped files and zips cannot be reopened after a reload: only their name stays, to be linked again. */
export type SavedFolder =
  | { readonly state: 'access'; readonly access: FolderAccess }
  | {
      readonly state: 'name';
      readonly id: string;
      readonly name: string;
      readonly testOnly: boolean;
      readonly kind: FolderAccess['kind'];
    };

export interface SavedSession {
  readonly folders: readonly SavedFolder[];
  readonly excluded: readonly string[];
  readonly labels: LabelSpec | null;
}

export function readSession(): Promise<SavedSession | undefined> {
  return get<SavedSession>('session', keyval('keyval'));
}

export function writeSession(session: SavedSession): Promise<void> {
  return set('session', session, keyval('keyval'));
}

export function readOverrides(): Promise<readonly string[] | undefined> {
  return get<readonly string[]>('overrides', keyval('keyval'));
}

export function writeOverrides(overrides: readonly string[]): Promise<void> {
  return set('overrides', [...overrides], keyval('keyval'));
}

/** The dropped weights chosen as a start for the next run. */
export function readPretrained(): Promise<string | undefined> {
  return get<string>('pretrained', keyval('keyval'));
}

export function writePretrained(weightsId: string | null): Promise<void> {
  return weightsId === null
    ? del('pretrained', keyval('keyval'))
    : set('pretrained', weightsId, keyval('keyval'));
}

/** Facts per row: short clones, so that the page stays awake. */
const FACTS_PER_ROW = 250;

/** Facts of an inspected data set: its id covers names, sizes and dates, so that unchanged files are not decoded again. */
export async function readFacts(datasetId: string): Promise<SampleFacts[]> {
  const out: SampleFacts[] = [];
  for (let row = 0; ; row++) {
    const facts = await readOne<readonly SampleFacts[]>('facts', [datasetId, row]);
    if (!facts) return out;
    for (const fact of facts) out.push(fact);
  }
}

/** Keeps the facts of one data set; of others only the newest few stay. */
export async function writeFacts(datasetId: string, facts: readonly SampleFacts[]): Promise<void> {
  await transact(['facts'], 'readwrite', (tx) => {
    const store = tx.objectStore('facts');
    store.delete(ownedBy(datasetId));
    const keys = store.getAllKeys();
    keys.addEventListener('success', () => {
      const others = new Set(keys.result.map((key) => String((key as unknown[])[0])));
      for (const id of [...others].slice(0, Math.max(0, others.size - 3))) store.delete(ownedBy(id));
    });
    return () => undefined;
  });
  for (let row = 0; row * FACTS_PER_ROW < facts.length; row++) {
    const part = facts.slice(row * FACTS_PER_ROW, (row + 1) * FACTS_PER_ROW);
    await transact(['facts'], 'readwrite', (tx) => {
      tx.objectStore('facts').put(part, [datasetId, row]);
      return () => undefined;
    });
  }
}

export interface StorageUse {
  readonly usage: number;
  readonly quota: number;
  readonly persisted: boolean;
}

/** What the browser reports. The quota is an estimate, not a promise: writes can fail earlier (reliability.md finding 9). */
export async function storageUse(): Promise<StorageUse | null> {
  const storage = (globalThis.navigator as Navigator | undefined)?.storage;
  if (!storage?.estimate) return null;
  const { usage = 0, quota = 0 } = await storage.estimate();
  return { usage, quota, persisted: (await storage.persisted?.()) ?? false };
}

/** Asks the browser not to evict this page's data under pressure. True when granted. Page only. */
export async function askToPersist(): Promise<boolean> {
  const storage = (globalThis.navigator as Navigator | undefined)?.storage;
  if (!storage?.persist) return false;
  return (await storage.persisted()) || (await storage.persist());
}

/** Empties everything this origin keeps: IndexedDB, local and session storage, caches, the private file system. */
export async function eraseEverything(): Promise<void> {
  await deleteDatabase();
  globalThis.localStorage?.clear();
  globalThis.sessionStorage?.clear();
  if (globalThis.caches) for (const key of await caches.keys()) await caches.delete(key);
  const root = await (globalThis.navigator as Navigator | undefined)?.storage
    ?.getDirectory?.()
    .catch(() => null);
  if (root) for await (const name of root.keys()) await root.removeEntry(name, { recursive: true });
}
