/**
 * @file Test page: the real storage modules under `window.studioStorage`, for e2e/storage.spec.ts. Checkpoints are made here, with
 * real tensors of a given size and every value derived from the step, so that a torn or stale one is recognised.
 */
import type { StudioConfig } from '../../src/config/types';
import { UserError } from '../../src/lib/errors';
import { checkIntegrity, loadNewest, saveCheckpoint } from '../../src/storage/checkpoints';
import { collectGarbage, listCheckpoints } from '../../src/storage/checkpointRows';
import { readAll, transact } from '../../src/storage/database';
import { appendHistory, deleteRun, listRuns, patchRun, readHistory, writeRun } from '../../src/storage/runs';
import type { RunRecord } from '../../src/storage/runs';
import { eraseEverything, storageUse } from '../../src/storage/session';
import { addWeights, listWeights, readWeights } from '../../src/storage/weights';
import type { Checkpoint, StepRecord } from '../../src/training/types';

const config = { training: { num_epochs: 3 } } as unknown as StudioConfig; // storage passes it through

/** Values a reader can check: tensor t of step s holds s + t + i / n. */
function values(step: number, tensor: number, length: number): Float32Array {
  const out = new Float32Array(length);
  for (let i = 0; i < length; i++) out[i] = step + tensor + i / length;
  return out;
}

function makeCheckpoint(
  runId: string,
  step: number,
  bytes: number,
  kind: Checkpoint['kind'] = 'last',
): Checkpoint {
  const length = Math.max(1, Math.floor(bytes / 4 / 4));
  const tensors: Checkpoint['tensors'] = new Map();
  for (let t = 0; t < 4; t++) {
    tensors.set(`weights.layer${t}.weight`, {
      dtype: 'float32',
      shape: [length],
      data: values(step, t, length),
    });
  }
  return {
    kind,
    config,
    labels: { names: ['background', 'lesion'], encoding: { kind: 'threshold', threshold: 127 } },
    split: { method: 'ratio', seed: 0, train: [], val: [], test: [], notes: [] },
    tensors,
    state: {
      schema: 1,
      runId,
      epoch: step,
      batchInEpoch: 0,
      step,
      epochLossSum: 0,
      epochTermSums: {},
      epochImages: 0,
      best: null,
      earlyStopping: { best: null, counter: 0 },
      plateau: null,
      counters: {},
      history: [{ epoch: step, step, metrics: { 'val/dice': step / 100 } }],
      device: { backend: 'wasm', name: 'test', software: true, reason: 'test' },
    },
  };
}

function makeRun(id: string): RunRecord {
  return {
    id,
    name: id,
    model: 'test',
    datasetId: 'd',
    datasetName: 'd',
    createdAt: 1,
    updatedAt: 1,
    status: 'running',
    epoch: 0,
    epochs: 3,
    step: 0,
    best: null,
    last: null,
    config,
    labels: { names: ['background', 'lesion'], encoding: { kind: 'threshold', threshold: 127 } },
    split: { method: 'ratio', seed: 0, train: [], val: [], test: [], notes: [] },
    device: null,
    error: null,
    bytes: 0,
    origin: 'trained',
    initial: null,
  };
}

/** "saved <step>" or the code of the error: what a page would have told its user. */
async function save(
  runId: string,
  step: number,
  bytes: number,
  kind?: Checkpoint['kind'],
  keep = 2,
): Promise<string> {
  try {
    const info = await saveCheckpoint(makeCheckpoint(runId, step, bytes, kind), keep);
    return `saved ${info.step}`;
  } catch (error) {
    return error instanceof UserError ? error.code : `unexpected ${String(error)}`;
  }
}

/** Loads the newest readable checkpoint and checks every value in it. */
async function load(
  runId: string,
): Promise<{ step: number | null; intact: boolean; passedOver: number; code: string }> {
  try {
    const { checkpoint, info, passedOver } = await loadNewest(runId, null);
    let intact = checkpoint.state.step === info.step && checkpoint.tensors.size === 4;
    let t = 0;
    for (const tensor of checkpoint.tensors.values()) {
      const expected = values(info.step, t++, tensor.data.length);
      intact &&= tensor.data.every((value, i) => value === expected[i]);
    }
    return { step: info.step, intact, passedOver: passedOver.length, code: 'ok' };
  } catch (error) {
    const code = error instanceof UserError ? error.code : String(error);
    return { step: null, intact: false, passedOver: 0, code };
  }
}

/** Flips one bit of one stored part of the newest checkpoint. */
async function flipBit(runId: string, seed: number): Promise<void> {
  const newest = (await listCheckpoints(runId))[0];
  if (!newest) throw new Error('no checkpoint');
  await transact(['parts'], 'readwrite', (tx) => {
    const cursor = tx.objectStore('parts').openCursor(IDBKeyRange.bound([newest.id], [newest.id, []]));
    cursor.addEventListener('success', () => {
      const at = cursor.result;
      if (!at) return;
      const bytes = new Uint8Array(at.value as ArrayBuffer);
      const index = Math.imul(seed, 2654435761) >>> 0;
      const place = index % bytes.length;
      bytes[place] = (bytes[place] ?? 0) ^ (1 << (index % 8));
      at.update(bytes.buffer);
    });
    return () => undefined;
  });
}

function pattern(length: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i++) out[i] = i % 251;
  return out;
}

/** Parts whose owner has no manifest. */
async function orphans(): Promise<number> {
  const owners = new Set((await listCheckpoints()).map((checkpoint) => checkpoint.id));
  const keys = await transact(['parts'], 'readonly', (tx) => {
    const request = tx.objectStore('parts').getAllKeys();
    return () => request.result;
  });
  return keys.filter((key) => !owners.has(Array.isArray(key) ? String(key[0]) : '')).length;
}

const step = (n: number): StepRecord => ({
  step: n,
  epoch: 1,
  batch: n,
  batches: 10,
  loss: 1 / n,
  terms: {},
  lr: 0.1,
  gradNorm: 1,
  stepMs: 1,
  imagesPerSecond: 1,
});

const api = {
  save,
  load,
  flipBit,
  orphans,
  listCheckpoints,
  collectGarbage,
  checkIntegrity,
  storageUse,
  eraseEverything,
  createRun: (id: string) => writeRun(makeRun(id)),
  deleteRun,
  listRuns,
  patchRun,
  appendSteps: (runId: string, from: number, to: number) =>
    appendHistory(runId, { steps: Array.from({ length: to - from + 1 }, (_, i) => step(from + i)) }),
  historySteps: async (runId: string) => (await readHistory(runId)).steps.map((record) => record.step),
  countRows: async (store: Parameters<typeof readAll>[0]) => (await readAll(store)).length,
  addWeights: async (name: string, length: number) => addWeights(new File([pattern(length)], name)),
  readWeights: async (id: string) => {
    const { fileName, bytes } = await readWeights(id);
    return { fileName, length: bytes.length, intact: bytes.every((value, i) => value === i % 251) };
  },
  listWeights,
};

export type StudioStorage = typeof api;
declare global {
  var studioStorage: StudioStorage;
}
globalThis.studioStorage = api;
