/**
 * @file Checkpoints in IndexedDB: complete and verified, or invisible. Imports lib and the training core's codec.
 * Parts and manifest go into one strict transaction; after `oncomplete` everything is read back and hashed; only then is the
 * checkpoint announced, and only then are older ones deleted (the last n and the best stay).
 */
import type { Checkpoint, CheckpointInfo, CheckpointSink } from '../training/types';
import { decodeCheckpoint, encodeCheckpoint } from '../training/checkpoint';
import type { CheckpointManifest } from '../training/checkpoint';
import { UserError } from '../lib/errors';
import { readAll, readOne, transact } from './database';
import type { PartInfo } from './parts';
import { deleteParts, describeParts, putParts, readParts, verifyParts } from './parts';

/** The manifest row. A checkpoint exists if and only if this row does. */
export interface StoredCheckpoint {
  readonly schema: 1;
  readonly info: CheckpointInfo;
  readonly manifest: CheckpointManifest;
  readonly parts: readonly PartInfo[];
}

/** A checkpoint as loaded, with the newer ones that had to be passed over because their bytes no longer match. */
export interface LoadedCheckpoint {
  readonly info: CheckpointInfo;
  readonly checkpoint: Checkpoint;
  readonly passedOver: readonly string[];
}

/** Saves one checkpoint. Rejects with 'storage-full', 'storage-failed' or 'checkpoint-not-saved'; then the older ones are untouched. */
export async function saveCheckpoint(checkpoint: Checkpoint, keepLast: number): Promise<CheckpointInfo> {
  const { manifest, parts } = await encodeCheckpoint(checkpoint);
  const described = await describeParts(parts);
  const info = checkpointInfo(checkpoint, described);
  const record: StoredCheckpoint = { schema: 1, info, manifest, parts: described };
  const subject = checkpointTitle(info);
  await transact(
    ['checkpoints', 'parts'],
    'readwrite',
    (tx) => {
      putParts(tx, info.id, parts);
      tx.objectStore('checkpoints').put(record, info.id);
      return () => undefined;
    },
    { strict: true, subject },
  );
  try {
    await verifyParts(info.id, described, { code: 'checkpoint-not-saved', subject });
    if ((await readOne<StoredCheckpoint>('checkpoints', info.id))?.info.id !== info.id) {
      throw new UserError('checkpoint-not-saved', `${subject} is not there after saving`, { subject });
    }
  } catch (error) {
    await deleteCheckpoints([info.id]).catch(() => undefined); // what cannot be read back must not be offered
    throw error;
  }
  const all = await listCheckpoints(info.runId);
  // A failure to tidy up does not make the new checkpoint less saved; garbage collection tries again at the next start.
  await deleteCheckpoints(superseded(all, keepLast)).catch(() => undefined);
  return info;
}

/** The training core's sink, writing into this browser. */
export function checkpointSink(keepLast: number): CheckpointSink {
  return { save: (checkpoint) => saveCheckpoint(checkpoint, keepLast) };
}

function checkpointInfo(checkpoint: Checkpoint, parts: readonly PartInfo[]): CheckpointInfo {
  const { state, kind } = checkpoint;
  const last = state.history.at(-1);
  return {
    id: crypto.randomUUID(),
    runId: state.runId,
    kind,
    epoch: state.epoch,
    step: state.step,
    batchInEpoch: state.batchInEpoch,
    valDice: (kind === 'best' ? state.best?.dice : last?.metrics['val/dice']) ?? null,
    bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
    savedAt: Date.now(),
  };
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

/** Ids to delete once the newest is safe: all but the `keepLast` newest resumable ones and the newest best one. */
export function superseded(checkpoints: readonly CheckpointInfo[], keepLast: number): string[] {
  const sorted = [...checkpoints].sort(newestFirst);
  const keep = new Set<string>();
  const best = sorted.find((c) => c.kind === 'best');
  if (best) keep.add(best.id);
  for (const c of sorted.filter((c) => c.kind !== 'best').slice(0, Math.max(1, keepLast))) keep.add(c.id);
  return sorted.filter((c) => !keep.has(c.id)).map((c) => c.id);
}

/** Loads and verifies one checkpoint. Throws 'checkpoint-missing', 'checkpoint-corrupt' or 'checkpoint-schema'. */
export async function loadCheckpoint(id: string): Promise<LoadedCheckpoint> {
  const record = await readOne<StoredCheckpoint>('checkpoints', id);
  if (!record)
    throw new UserError('checkpoint-missing', 'This checkpoint is no longer in this browser', {
      subject: id,
    });
  if (record.schema !== 1) {
    throw new UserError('checkpoint-schema', 'This checkpoint was saved by a newer version of the studio', {
      subject: id,
      hint: 'Reload the page.',
    });
  }
  const parts = await readParts(id, record.parts, {
    code: 'checkpoint-corrupt',
    subject: checkpointTitle(record.info),
  });
  return {
    info: record.info,
    checkpoint: await decodeCheckpoint({ manifest: record.manifest, parts }),
    passedOver: [],
  };
}

/**
 * Loads `id`, or the newest of the run when null; when bytes no longer match their hash, the next older one, and says so
 * in `passedOver`. Throws 'checkpoint-corrupt' when none of the run's checkpoints can be read, 'checkpoint-missing' when it has none.
 */
export async function loadNewest(runId: string, id: string | null): Promise<LoadedCheckpoint> {
  const all = await listCheckpoints(runId);
  const start = id === null ? 0 : all.findIndex((c) => c.id === id);
  if (id !== null && start < 0) return loadCheckpoint(id);
  const passedOver: string[] = [];
  for (const info of all.slice(start)) {
    try {
      return { ...(await loadCheckpoint(info.id)), passedOver };
    } catch (error) {
      if (!(error instanceof UserError) || error.code !== 'checkpoint-corrupt') throw error;
      passedOver.push(error.message);
    }
  }
  if (passedOver.length === 0) {
    throw new UserError('checkpoint-missing', 'This run has no checkpoint', { subject: runId });
  }
  throw new UserError(
    'checkpoint-corrupt',
    `No checkpoint of this run can be read: ${passedOver.join('; ')}`,
    {
      subject: runId,
    },
  );
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

/** Reads every checkpoint and compares every hash: the integrity check a user can run. Returns one sentence per problem. */
export async function checkIntegrity(): Promise<string[]> {
  const problems: string[] = [];
  for (const info of await listCheckpoints()) {
    try {
      await loadCheckpoint(info.id);
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  return problems;
}
