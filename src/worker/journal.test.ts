import { describe, expect, it } from 'vitest';
import type { RunRecord } from '../storage/runs';
import type { TrainEvent } from '../training/types';
import { historyRows, recordPatch } from './journal';

const run = { best: { epoch: 1, dice: 0.6 }, step: 5 } as RunRecord;
const epoch = (isBest: boolean): TrainEvent => ({
  type: 'epochEnded',
  epoch: 2,
  epochs: 4,
  step: 20,
  metrics: { 'val/dice': 0.7 },
  isBest,
  etaSeconds: 1,
  memory: { tensors: 0, bytes: 0, poolBytes: 0 },
});

describe('recordPatch', () => {
  it('follows progress and the best epoch', () => {
    expect(recordPatch(epoch(true))?.(run)).toMatchObject({
      epoch: 2,
      step: 20,
      best: { epoch: 2, dice: 0.7 },
    });
    expect(recordPatch(epoch(false))?.(run)).toMatchObject({ best: { epoch: 1, dice: 0.6 } });
  });

  it('knows how a run ended', () => {
    const ended: TrainEvent = {
      type: 'ended',
      reason: 'early-stopped',
      bestEpoch: null,
      bestDice: null,
      epoch: 3,
    };
    expect(recordPatch(ended)?.(run)).toMatchObject({ status: 'early-stopped', epoch: 3, best: run.best });
    const error = { code: 'loss-not-finite', message: 'NaN' };
    const failed: TrainEvent = { type: 'failed', error, lastCheckpoint: null };
    expect(recordPatch(failed)?.(run)).toEqual({ status: 'failed', error });
    expect(historyRows(failed).log?.[0]).toMatchObject({ level: 'error', message: 'NaN' });
  });

  it('leaves the record alone for steps and pictures', () => {
    expect(recordPatch({ type: 'stepsEnded', records: [] })).toBeNull();
    expect(recordPatch({ type: 'panelsDrawn', epoch: 1, panels: [] })).toBeNull();
  });
});
