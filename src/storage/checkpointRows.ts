/**
 * @file The rows of stored checkpoints: list, choose, delete, tidy up. No codec here, so that the page can use it without
 * loading the training core. Imports lib.
 */
import type { CheckpointInfo } from '../training/types';
import { readAll, transact } from './database';
import type { PartInfo } from './parts';
import { deleteParts } from './parts';

/** The manifest row. A checkpoint exists if and only if this row does. */
export interface StoredCheckpoint {
  readonly schema: 1;
  readonly info: CheckpointInfo;
  readonly manifest: unknown; // the codec's own

  readonly parts: readonly PartInfo[];
}

/** "checkpoint of epoch 3, step 120". */
export function checkpointTitle(info: CheckpointInfo): string {
  return `checkpoint of epoch ${info.epoch}, step ${info.step}`;
}

/** Newest first. */
export async function listCheckpoints(runId?: string): Promise<CheckpointInfo[]> {
  const rows = await readAll<StoredCheckpoint>('checkpoints');
  return rows
    .map((row) => row.info)
    .filter((info) => runId === undefined || info.runId === runId)
    .sort(newestFirst);
}

/** By the clock, not by progress: a run resumed from an older checkpoint leaves later steps behind. */
export function newestFirst(a: CheckpointInfo, b: CheckpointInfo): number {
  return b.savedAt - a.savedAt || b.step - a.step;
}

/** Ids to delete once the newest is safe: all but the `keepLast` newest and the newest best one. */
export function superseded(checkpoints: readonly CheckpointInfo[], keepLast: number): string[] {
  const sorted = [...checkpoints].sort(newestFirst);
  const keep = new Set<string>();
  const best = sorted.find((c) => c.kind === 'best');
  if (best) keep.add(best.id);
  for (const c of sorted.slice(0, Math.max(1, keepLast))) keep.add(c.id);
  return sorted.filter((c) => !keep.has(c.id)).map((c) => c.id);
}

/** Deletes checkpoints with their parts, in one transaction. */
export async function deleteCheckpoints(ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await transact(['checkpoints', 'parts'], 'readwrite', (tx) => {
    for (const id of ids) {
      tx.objectStore('checkpoints').delete(id);
      deleteParts(tx, id);
    }
    return () => undefined;
  });
}

/**
 * Deletes parts that no manifest owns and checkpoints whose run is gone. One transaction, so that a save in another tab is
 * either wholly seen or not at all. Returns how many rows went.
 */
export function collectGarbage(): Promise<{ readonly parts: number; readonly checkpoints: number }> {
  return transact(['checkpoints', 'weights', 'runs', 'parts'], 'readwrite', (tx) => {
    const runs = tx.objectStore('runs').getAllKeys();
    const rows = tx.objectStore('checkpoints').getAll() as IDBRequest<StoredCheckpoint[]>;
    const weights = tx.objectStore('weights').getAllKeys();
    const parts = tx.objectStore('parts').getAllKeys();
    const removed = { parts: 0, checkpoints: 0 };
    parts.addEventListener('success', () => {
      const known = new Set<IDBValidKey>(runs.result);
      const owners = new Set<IDBValidKey>(weights.result);
      for (const row of rows.result) {
        if (known.has(row.info.runId)) owners.add(row.info.id);
        else {
          tx.objectStore('checkpoints').delete(row.info.id);
          removed.checkpoints++;
        }
      }
      for (const key of parts.result) {
        const owner = Array.isArray(key) ? key[0] : undefined;
        if (owner !== undefined && owners.has(owner)) continue;
        tx.objectStore('parts').delete(key);
        removed.parts++;
      }
    });
    return () => removed;
  });
}
