/**
 * @file Runs in IndexedDB: the record, the history (step, epoch, log and panel rows, appended with relaxed durability) and the
 * evaluations. Written by the train worker, so that a killed page loses nothing. Imports lib and types of the layers above
 * its own contract (types only).
 */
import { get } from 'idb-keyval';
import type { StudioConfig } from '../config/types';
import type { LabelSpec, Split } from '../data/types';
import type { DeviceInfo } from '../gpu/device';
import type { PlainError } from '../lib/errors';
import type { EpochMetrics, PredictionPanel, StepRecord } from '../training/types';
import type { CaseResult, EvaluationResult, WeightsSource } from './types';
import type { StoredCheckpoint } from './checkpointRows';
import { keyval, ownedBy, readAll, transact } from './database';
import { deleteParts } from './parts';

export interface RunRecord {
  readonly id: string;
  readonly name: string;
  readonly model: string;
  readonly datasetId: string;
  readonly datasetName: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly status:
    'running' | 'paused' | 'interrupted' | 'completed' | 'early-stopped' | 'stopped' | 'failed';
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly best: { readonly epoch: number; readonly dice: number } | null;
  readonly last: EpochMetrics | null;
  readonly config: StudioConfig;
  readonly labels: LabelSpec;
  readonly split: Split;
  readonly device: DeviceInfo | null;
  readonly error: PlainError | null;
  readonly bytes: number;
  /** "imported": weights dropped in, no training history. */
  readonly origin: 'trained' | 'imported';
  /** Weights the run started from; null: the model's initial values. */
  readonly initial: WeightsSource | null;
}

export interface EpochRow {
  readonly epoch: number;
  readonly step: number;
  readonly metrics: EpochMetrics;
}

export interface LogRow {
  readonly level: 'info' | 'warning' | 'error';
  readonly message: string;
  readonly at: number;
}

export interface PanelRow {
  readonly epoch: number;
  readonly panels: readonly PredictionPanel[];
}

export interface RunHistory {
  readonly steps: readonly StepRecord[];
  readonly epochs: readonly EpochRow[];
  readonly log: readonly LogRow[];
  readonly panels: readonly PanelRow[];
}

/** Panels are pictures: only the newest epochs' stay. */
const PANEL_EPOCHS = 20;

export function readRun(id: string): Promise<RunRecord | undefined> {
  return get<RunRecord>(id, keyval('runs'));
}

/** Newest first. */
export async function listRuns(): Promise<RunRecord[]> {
  return (await readAll<RunRecord>('runs')).sort((a, b) => b.createdAt - a.createdAt);
}

export async function writeRun(record: RunRecord): Promise<void> {
  await transact(['runs'], 'readwrite', (tx) => {
    tx.objectStore('runs').put(record, record.id);
    return () => undefined;
  });
}

/** Changes some fields of a run in one transaction. A run deleted meanwhile stays deleted (returns null). */
export function patchRun(
  id: string,
  patch: Partial<RunRecord> | ((run: RunRecord) => Partial<RunRecord>),
): Promise<RunRecord | null> {
  return transact(['runs'], 'readwrite', (tx) => {
    const store = tx.objectStore('runs');
    const request = store.get(id) as IDBRequest<RunRecord | undefined>;
    let next: RunRecord | null = null;
    request.addEventListener('success', () => {
      if (!request.result) return;
      const changes = typeof patch === 'function' ? patch(request.result) : patch;
      next = { ...request.result, ...changes, updatedAt: Date.now() };
      store.put(next, id);
    });
    return () => next;
  });
}

/** Deletes a run with its history, checkpoints and evaluations, in one transaction. */
export async function deleteRun(id: string): Promise<void> {
  await transact(['runs', 'history', 'checkpoints', 'parts', 'evaluations', 'cases'], 'readwrite', (tx) => {
    tx.objectStore('runs').delete(id);
    tx.objectStore('history').delete(ownedBy(id));
    const checkpoints = tx.objectStore('checkpoints').getAll() as IDBRequest<StoredCheckpoint[]>;
    checkpoints.addEventListener('success', () => {
      for (const row of checkpoints.result) {
        if (row.info.runId !== id) continue;
        tx.objectStore('checkpoints').delete(row.info.id);
        deleteParts(tx, row.info.id);
      }
    });
    const evaluations = tx.objectStore('evaluations').getAll() as IDBRequest<StoredEvaluation[]>;
    evaluations.addEventListener('success', () => {
      for (const row of evaluations.result) {
        if (row.runId !== id) continue;
        tx.objectStore('evaluations').delete(row.id);
        tx.objectStore('cases').delete(ownedBy(row.id));
      }
    });
    return () => undefined;
  });
}

/** What one flush adds to a run's history. */
export interface HistoryRows {
  readonly steps?: readonly StepRecord[];
  readonly epochs?: readonly EpochRow[];
  readonly log?: readonly LogRow[];
  readonly panels?: readonly PanelRow[];
}

/** Appends rows, relaxed durability. A row of the same step or epoch (a resumed run) replaces the older one on reading. */
export async function appendHistory(runId: string, rows: HistoryRows): Promise<void> {
  await transact(['history'], 'readwrite', (tx) => {
    const store = tx.objectStore('history');
    const first = rows.steps?.[0];
    if (first) store.put(rows.steps, [runId, 'step', first.step]);
    for (const row of rows.epochs ?? []) store.put(row, [runId, 'epoch', row.epoch]);
    for (const row of rows.log ?? []) store.put(row, [runId, 'log', nextLogKey(row.at)]);
    for (const row of rows.panels ?? []) {
      store.put(row, [runId, 'panels', row.epoch]);
      if (row.epoch > PANEL_EPOCHS) {
        store.delete(IDBKeyRange.bound([runId, 'panels', 0], [runId, 'panels', row.epoch - PANEL_EPOCHS]));
      }
    }
    return () => undefined;
  });
}

let lastLogKey = 0;
/** Time as a key, made unique within a millisecond. */
function nextLogKey(at: number): number {
  lastLogKey = Math.max(at, lastLogKey + 0.001);
  return lastLogKey;
}

/** Deletes what lies after a step and epoch: the run goes on from an earlier checkpoint. */
export async function truncateHistory(runId: string, step: number, epoch: number): Promise<void> {
  await transact(['history'], 'readwrite', (tx) => {
    const store = tx.objectStore('history');
    for (const kind of ['epoch', 'panels']) {
      store.delete(IDBKeyRange.bound([runId, kind, epoch], [runId, kind, []], true));
    }
    store.delete(IDBKeyRange.bound([runId, 'step', step], [runId, 'step', []], true));
    const rest = ownedBy(runId, 'step');
    const cursor = store.openCursor(rest, 'prev');
    cursor.addEventListener('success', () => {
      // Only the newest remaining chunk can reach past `step`.
      const at = cursor.result;
      if (!at) return;
      const kept = (at.value as StepRecord[]).filter((record) => record.step <= step);
      at.update(kept);
    });
    return () => undefined;
  });
}

/** Everything recorded of a run, in order. */
export async function readHistory(runId: string): Promise<RunHistory> {
  const [steps, epochs, log, panels] = await transact(['history'], 'readonly', (tx) => {
    const store = tx.objectStore('history');
    const all = ['step', 'epoch', 'log', 'panels'].map((kind) => store.getAll(ownedBy(runId, kind)));
    return () => all.map((request) => request.result as unknown[]);
  });
  return {
    steps: mergeSteps((steps ?? []) as StepRecord[][]),
    epochs: (epochs ?? []) as EpochRow[],
    log: (log ?? []) as LogRow[],
    panels: (panels ?? []) as PanelRow[],
  };
}

/** Joins chunks; where two carry the same step, the chunk that starts later wins. */
export function mergeSteps(chunks: readonly (readonly StepRecord[])[]): StepRecord[] {
  const out: StepRecord[] = [];
  for (const chunk of chunks) {
    const first = chunk[0];
    if (!first) continue;
    while (out.length > 0 && (out[out.length - 1] as StepRecord).step >= first.step) out.pop();
    for (const record of chunk) out.push(record);
  }
  return out;
}

export type StoredEvaluation = Omit<EvaluationResult, 'cases'> & { readonly caseCount: number };

/** Stores an evaluation: one row per case, so that no row grows with the data set. */
export async function writeEvaluation(result: EvaluationResult): Promise<void> {
  const { cases, ...rest } = result;
  const row: StoredEvaluation = { ...rest, caseCount: cases.length };
  await transact(
    ['evaluations', 'cases'],
    'readwrite',
    (tx) => {
      tx.objectStore('evaluations').put(row, result.id);
      cases.forEach((value, index) => tx.objectStore('cases').put(value, [result.id, index]));
      return () => undefined;
    },
    { subject: result.title },
  );
}

/** Newest first, without cases. */
export async function listEvaluations(): Promise<StoredEvaluation[]> {
  return (await readAll<StoredEvaluation>('evaluations')).sort((a, b) => b.createdAt - a.createdAt);
}

/** A stored evaluation with its cases, or null when it was deleted. */
export async function readEvaluation(id: string): Promise<EvaluationResult | null> {
  const { row, cases } = await transact(['evaluations', 'cases'], 'readonly', (tx) => {
    const meta = tx.objectStore('evaluations').get(id) as IDBRequest<StoredEvaluation | undefined>;
    const all = tx.objectStore('cases').getAll(ownedBy(id)) as IDBRequest<CaseResult[]>;
    return () => ({ row: meta.result, cases: all.result });
  });
  if (!row) return null;
  const { caseCount: _caseCount, ...rest } = row;
  return { ...rest, cases };
}

/** Bytes of a run's checkpoints. */
export async function runBytes(runId: string): Promise<number> {
  const rows = await readAll<StoredCheckpoint>('checkpoints');
  return rows.reduce((sum, row) => sum + (row.info.runId === runId ? row.info.bytes : 0), 0);
}
