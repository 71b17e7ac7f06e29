import { describe, expect, it } from 'vitest';
import type { CheckpointInfo, StepRecord } from '../training/types';
import { newestFirst, superseded } from './checkpointRows';
import { storageError } from './database';
import { PART_BYTES, cutParts } from './parts';
import { mergeSteps } from './runs';

const info = (id: string, savedAt: number, kind: CheckpointInfo['kind'] = 'last'): CheckpointInfo => ({
  id,
  runId: 'r',
  kind,
  epoch: savedAt,
  step: savedAt,
  batchInEpoch: 0,
  valDice: null,
  bytes: 1,
  savedAt,
});

describe('superseded', () => {
  it('keeps the last two and the best', () => {
    const all = [info('a', 1), info('b', 2, 'best'), info('c', 3), info('d', 4), info('e', 5)];
    expect(superseded(all, 2).sort()).toEqual(['a', 'c']);
  });

  it('keeps the one before the best too: the newest may turn out damaged', () => {
    const all = [info('a', 1, 'best'), info('b', 2, 'best'), info('c', 3, 'best')];
    expect(superseded(all, 2)).toEqual(['a']);
    expect(superseded(all, 0)).toEqual(['b', 'a']); // never the only one
  });

  it('goes by the clock: a run resumed from an older checkpoint leaves later steps behind', () => {
    const stale = { ...info('stale', 1), step: 900 };
    const fresh = { ...info('fresh', 2), step: 100 };
    expect([stale, fresh].sort(newestFirst)[0]?.id).toBe('fresh');
  });
});

const step = (n: number, loss: number) => ({ step: n, loss }) as StepRecord;

describe('mergeSteps', () => {
  it('lets the steps taken again replace the first ones', () => {
    const merged = mergeSteps([[step(1, 1), step(2, 1), step(3, 1)], [step(3, 2), step(4, 2)], []]);
    expect(merged.map((s) => [s.step, s.loss])).toEqual([
      [1, 1],
      [2, 1],
      [3, 2],
      [4, 2],
    ]);
  });
});

describe('parts and errors', () => {
  it('cuts into rows of at most 16 MB and loses nothing', () => {
    const parts = cutParts(new Uint8Array(PART_BYTES + 5));
    expect(parts.map((part) => part.length)).toEqual([PART_BYTES, 5]);
    expect(cutParts(new Uint8Array()).map((part) => part.length)).toEqual([0]);
  });

  it('calls a full disk what it is', () => {
    const full = storageError(new DOMException('no', 'QuotaExceededError'), 'checkpoint of epoch 1');
    expect(full).toMatchObject({ code: 'storage-full', subject: 'checkpoint of epoch 1' });
    expect(storageError(new DOMException('x', 'UnknownError')).code).toBe('storage-failed');
    expect(storageError(null).message).toContain('aborted');
  });
});
