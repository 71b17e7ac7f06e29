import { describe, expect, it } from 'vitest';
import type { CheckpointInfo, StepRecord, TrainEvent } from '../../training/types';
import { applyEvents, emptyLive, liveFromHistory } from './live';

const step = (n: number, epoch: number): StepRecord => ({
  step: n,
  epoch,
  batch: 1,
  batches: 2,
  loss: 1 / n,
  terms: {},
  lr: 0.1,
  gradNorm: 1,
  stepMs: 10,
  imagesPerSecond: 5,
});
const steps = (...records: StepRecord[]): TrainEvent => ({ type: 'stepsEnded', records });
const epochEnded = (epoch: number, dice: number, isBest: boolean): TrainEvent => ({
  type: 'epochEnded',
  epoch,
  epochs: 4,
  step: epoch * 2,
  metrics: { 'val/dice': dice },
  isBest,
  etaSeconds: 12,
  memory: { tensors: 1, bytes: 2, poolBytes: 3 },
});
const checkpoint: CheckpointInfo = {
  id: 'c1',
  runId: 'r',
  kind: 'last',
  epoch: 1,
  step: 2,
  batchInEpoch: 0,
  valDice: 0.5,
  bytes: 1,
  savedAt: 1,
};
const prepared = (resumedFrom: CheckpointInfo | null): TrainEvent => ({
  type: 'prepared',
  device: { backend: 'wasm', name: 'WASM', software: true, reason: 'test' },
  parameters: 1,
  trainable: 1,
  trainCases: 1,
  valCases: 1,
  planned: null,
  resumedFrom,
});

describe('applyEvents', () => {
  it('follows a run from start to end', () => {
    let view = applyEvents(emptyLive(), [prepared(null), steps(step(1, 1), step(2, 1))], false);
    expect(view).toMatchObject({ status: 'running', step: 2, epoch: 1 });
    view = applyEvents(view, [epochEnded(1, 0.5, true), epochEnded(2, 0.4, false)], false);
    expect(view.best).toEqual({ epoch: 1, dice: 0.5 });
    expect(view.etaSeconds).toBe(12);
    view = applyEvents(
      view,
      [{ type: 'ended', reason: 'completed', bestEpoch: 1, bestDice: 0.5, epoch: 2 }],
      false,
    );
    expect(view).toMatchObject({ status: 'ended', endReason: 'completed' });
  });

  it('grows the series in place and says so by its version', () => {
    const before = applyEvents(emptyLive(), [steps(step(1, 1))], false);
    const after = applyEvents(before, [steps(step(2, 1))], false);
    expect(after.series.version).toBeGreaterThan(before.series.version);
    expect(after.series.steps).toBe(before.series.steps);
    expect(after.series.steps.map((s) => s.step)).toEqual([1, 2]);
  });

  it('drops the steps after the checkpoint a run goes on from', () => {
    let view = applyEvents(
      emptyLive(),
      [prepared(null), steps(step(1, 1), step(2, 1)), epochEnded(1, 0.5, true), steps(step(3, 2))],
      false,
    );
    view = applyEvents(view, [prepared(checkpoint), steps(step(3, 2))], false);
    expect(view.series.steps.map((s) => s.step)).toEqual([1, 2, 3]);
    expect(view.series.epochs).toHaveLength(1);
    expect(view.lastCheckpoint).toEqual(checkpoint);
  });

  it('never claims a checkpoint that failed, and clears the error with the next that is saved', () => {
    const error = { code: 'storage-full', message: 'no room' };
    let view = applyEvents(emptyLive(), [{ type: 'checkpointFailed', error }], false);
    expect(view.lastCheckpoint).toBeNull();
    expect(view.error).toEqual(error);
    expect(view.log.at(-1)).toMatchObject({ level: 'error', message: 'no room' });
    view = applyEvents(view, [{ type: 'checkpointSaved', info: checkpoint }], false);
    expect(view.error).toBeNull();
  });

  it('stays read-only while watching', () => {
    const view = applyEvents({ ...emptyLive(), status: 'watching' }, [prepared(null)], true);
    expect(view.status).toBe('watching');
  });

  it('begins from a stored history', () => {
    const view = liveFromHistory({
      steps: [step(1, 1), step(2, 1)],
      epochs: [{ epoch: 1, step: 2, metrics: { 'val/dice': 0.5 } }],
      log: [],
      panels: [],
    });
    expect(view).toMatchObject({ step: 2, epoch: 1 });
  });
});
