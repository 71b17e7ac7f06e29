/**
 * @file The studio's one IndexedDB database, used from the page and from workers. Imports lib and idb-keyval.
 * Two rules (reference/reliability.md section 0, findings 1, 8, 9): a write counts only after `transaction.oncomplete`, never after
 * a request's `success`; what must survive a power cut asks for `durability: 'strict'`, since Chrome's default is relaxed.
 */
import type { UseStore } from 'idb-keyval';
import { UserError } from '../lib/errors';

export const DATABASE_NAME = 'tinyusfm-studio';
export const DATABASE_VERSION = 1;

/** Object stores; all with explicit keys. Compound keys start with the owner's id, so that one range covers an owner. */
export const STORE_NAMES = [
  'keyval', // name -> small value: folder handles, exclusions, overrides
  'runs', // run id -> RunRecord
  'history', // [run id, 'step' | 'epoch' | 'log' | 'panels', number] -> rows
  'checkpoints', // checkpoint id -> StoredCheckpoint (the manifest: a checkpoint exists if and only if this row does)
  'weights', // weights id -> StoredWeights
  'parts', // [checkpoint or weights id, index] -> ArrayBuffer of 4..16 MB
  'evaluations', // evaluation id -> result without its cases
  'cases', // [evaluation id, index] -> CaseResult
  'facts', // [dataset id, row] -> SampleFacts[] of an inspected dataset
] as const;
export type StoreName = (typeof STORE_NAMES)[number];

const BLOCKED_AFTER_MS = 5000;
let connection: Promise<IDBDatabase> | null = null;
const outdatedListeners = new Set<() => void>();

/** Called when another tab upgrades the database: this page must be reloaded before it can save again. */
export function onDatabaseOutdated(listener: () => void): () => void {
  outdatedListeners.add(listener);
  return () => outdatedListeners.delete(listener);
}

/** Opens (or reuses) the connection. Throws UserError 'storage-blocked', 'storage-outdated' or 'storage-unavailable'. */
export function openDatabase(): Promise<IDBDatabase> {
  if (connection) return connection;
  const opening = connect();
  connection = opening;
  opening.catch(() => {
    if (connection === opening) connection = null;
  });
  return opening;
}

function connect(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    if (typeof indexedDB === 'undefined') {
      reject(
        new UserError(
          'storage-unavailable',
          'This browser offers no IndexedDB here, so nothing can be saved',
        ),
      );
      return;
    }
    const request = indexedDB.open(DATABASE_NAME, DATABASE_VERSION);
    let timer: ReturnType<typeof setTimeout> | undefined;
    request.addEventListener('blocked', () => {
      timer = setTimeout(() => {
        reject(
          new UserError('storage-blocked', 'Another tab holds an older version of the saved data', {
            hint: 'Close or reload the other tabs of the studio.',
          }),
        );
      }, BLOCKED_AFTER_MS);
    });
    request.addEventListener('upgradeneeded', () => {
      for (const name of STORE_NAMES) {
        if (!request.result.objectStoreNames.contains(name)) request.result.createObjectStore(name);
      }
    });
    request.addEventListener('error', () => {
      clearTimeout(timer);
      reject(openError(request.error));
    });
    request.addEventListener('success', () => {
      clearTimeout(timer);
      watch(request.result);
      resolve(request.result);
    });
  });
}

function watch(db: IDBDatabase): void {
  db.addEventListener('versionchange', () => {
    db.close(); // never block the newer tab
    connection = null;
    for (const listener of outdatedListeners) listener();
  });
  db.addEventListener('close', () => {
    connection = null; // storage was cleared under us: the next use opens afresh
  });
}

function openError(cause: DOMException | null): UserError {
  if (cause?.name === 'VersionError') {
    return new UserError('storage-outdated', 'A newer version of the studio has saved data in this browser', {
      hint: 'Reload this page.',
      cause,
    });
  }
  if (cause?.name === 'QuotaExceededError') return storageError(cause);
  return new UserError('storage-unavailable', 'The browser refused to open its storage for this page', {
    hint: 'Private windows and strict privacy settings may forbid it. Runs are lost when the tab closes.',
    cause,
  });
}

/** Turns what IndexedDB throws into what a user can act on. */
export function storageError(cause: unknown, subject?: string): UserError {
  const name = cause instanceof DOMException ? cause.name : '';
  const about = subject === undefined ? {} : { subject };
  if (name === 'QuotaExceededError') {
    return new UserError('storage-full', 'The browser has no room left for this page; nothing was saved', {
      hint: 'Delete runs or weights that are no longer needed, or export them first.',
      cause,
      ...about,
    });
  }
  if (cause instanceof UserError) return cause;
  return new UserError('storage-failed', `Saving failed: ${describe(cause)}`, { cause, ...about });
}

function describe(cause: unknown): string {
  if (cause instanceof Error || cause instanceof DOMException) return `${cause.name}: ${cause.message}`;
  return cause === null || cause === undefined ? 'the transaction was aborted' : String(cause);
}

export interface TransactOptions {
  /** Flush to disk before `oncomplete` (3-30 times slower): for checkpoints and weights. */
  readonly strict?: boolean;
  readonly subject?: string;
}

/**
 * Runs `work` in one transaction; resolves on `oncomplete` with what `work`'s returned function gives then.
 * `work` must issue its requests synchronously (or from request callbacks). Rejects with 'storage-full' or 'storage-failed'.
 */
export async function transact<T>(
  stores: readonly StoreName[],
  mode: 'readonly' | 'readwrite',
  work: (tx: IDBTransaction) => () => T,
  options: TransactOptions = {},
): Promise<T> {
  const tx = await begin(stores, mode, options.strict === true ? 'strict' : 'default');
  return new Promise<T>((resolve, reject) => {
    let finish: (() => T) | null = null;
    let thrown: unknown;
    tx.addEventListener('complete', () => {
      if (finish) resolve(finish());
    });
    tx.addEventListener('abort', () => reject(storageError(thrown ?? tx.error, options.subject)));
    try {
      finish = work(tx);
    } catch (error) {
      thrown = error;
      abort(tx);
      reject(storageError(error, options.subject));
    }
  });
}

async function begin(
  stores: readonly StoreName[],
  mode: 'readonly' | 'readwrite',
  durability: IDBTransactionDurability,
): Promise<IDBTransaction> {
  const db = await openDatabase();
  try {
    return db.transaction([...stores], mode, { durability });
  } catch (error) {
    // The connection was closed between the two lines (storage cleared, version change): open again once.
    if (!(error instanceof DOMException) || error.name !== 'InvalidStateError') throw storageError(error);
    connection = null;
    return (await openDatabase()).transaction([...stores], mode, { durability });
  }
}

function abort(tx: IDBTransaction): void {
  try {
    tx.abort();
  } catch {
    // Already finished or aborting: the listeners above report it.
  }
}

/** A store of this database as idb-keyval's `customStore`: `get(key, keyval('runs'))`. */
export function keyval(name: StoreName): UseStore {
  return async (mode, callback) => {
    const tx = await begin([name], mode === 'readonly' ? 'readonly' : 'readwrite', 'default');
    return callback(tx.objectStore(name));
  };
}

/** All keys `[owner, ...]` of a compound-key store. */
export function ownedBy(...owner: readonly (string | number)[]): IDBKeyRange {
  return IDBKeyRange.bound([...owner], [...owner, []]); // an array sorts after every string and number
}

/** One value, or undefined. */
export function readOne<T>(store: StoreName, key: IDBValidKey): Promise<T | undefined> {
  return transact([store], 'readonly', (tx) => {
    const request = tx.objectStore(store).get(key) as IDBRequest<T | undefined>;
    return () => request.result;
  });
}

/** All values (of a key range), in key order. */
export function readAll<T>(store: StoreName, range?: IDBKeyRange): Promise<T[]> {
  return transact([store], 'readonly', (tx) => {
    const request = tx.objectStore(store).getAll(range) as IDBRequest<T[]>;
    return () => request.result;
  });
}

/** Closes the connection, so that the database can be deleted or a test can reopen it. */
export async function closeDatabase(): Promise<void> {
  const open = connection;
  connection = null;
  if (open) (await open.catch(() => null))?.close();
}

/** Deletes the whole database. Other tabs close theirs on `versionchange`; a tab that does not is reported as 'storage-blocked'. */
export async function deleteDatabase(): Promise<void> {
  await closeDatabase();
  await new Promise<void>((resolve, reject) => {
    const request = indexedDB.deleteDatabase(DATABASE_NAME);
    let timer: ReturnType<typeof setTimeout> | undefined;
    request.addEventListener('blocked', () => {
      timer = setTimeout(
        () =>
          reject(
            new UserError('storage-blocked', 'Another tab still uses the saved data, so it was not erased', {
              hint: 'Close the other tabs of the studio and erase again.',
            }),
          ),
        BLOCKED_AFTER_MS,
      );
    });
    request.addEventListener('success', () => {
      clearTimeout(timer);
      resolve();
    });
    request.addEventListener('error', () => {
      clearTimeout(timer);
      reject(storageError(request.error));
    });
  });
}
