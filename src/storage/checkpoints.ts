/**
 * @file Checkpoints in IndexedDB: complete and verified, or invisible. Imports lib and the training core's codec.
 * Parts and manifest go into one strict transaction; after `oncomplete` everything is read back and hashed; only then is the
 * checkpoint announced, and only then are older ones deleted (the last n and the best stay).
 */
import type { Checkpoint, CheckpointInfo, CheckpointSink } from '../training/types';
import { decodeCheckpoint, encodeCheckpoint } from '../training/checkpoint';
import type { CheckpointManifest } from '../training/checkpoint';
import { UserError } from '../lib/errors';
import { checkpointTitle, deleteCheckpoints, listCheckpoints, superseded } from './checkpointRows';
import type { StoredCheckpoint } from './checkpointRows';
import { readOne, transact } from './database';
import type { PartInfo } from './parts';
import { describeParts, putParts, readParts, verifyParts } from './parts';

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
    checkpoint: await decodeCheckpoint({ manifest: record.manifest as CheckpointManifest, parts }),
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
