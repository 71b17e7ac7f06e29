/**
 * @file How the state of a run begins, goes on from a checkpoint and moves past an epoch. Pure. Imports nn/schedules.
 */
import type { StudioConfig } from '../config/types';
import type { LabelSpec } from '../data/types';
import type { DeviceInfo } from '../gpu/device';
import { plateauStart, plateauStep } from '../nn/schedules';
import type { Checkpoint, EpochMetrics, TrainState } from './types';
import type { Validation } from './validate';

export function startState(runId: string, config: StudioConfig, device: DeviceInfo): TrainState {
  return {
    schema: 1,
    runId,
    epoch: 0,
    batchInEpoch: 0,
    step: 0,
    epochLossSum: 0,
    epochTermSums: {},
    epochImages: 0,
    best: null,
    earlyStopping: { best: null, counter: 0 },
    plateau: config.lr_scheduler.name === 'plateau' ? plateauStart(config.training.base_lr) : null,
    counters: {},
    history: [],
    device,
  };
}

/**
 * The checkpoint's state in this run. Asked for more epochs than the checkpoint's run had, early stopping counts anew: a run that it
 * ended would otherwise end again at once.
 */
export function resumedState(
  checkpoint: Checkpoint,
  runId: string,
  config: StudioConfig,
  device: DeviceInfo,
): TrainState {
  const { state } = checkpoint;
  const extended = config.training.num_epochs > checkpoint.config.training.num_epochs;
  const earlyStopping = extended ? { ...state.earlyStopping, counter: 0 } : state.earlyStopping;
  return { ...state, runId, device, earlyStopping };
}

/** What an epoch's end needs besides state and validation. */
export interface EpochEnd {
  readonly config: StudioConfig;
  readonly labels: LabelSpec;
  /** The rate of the epoch's last step. */
  readonly lr: number;
  readonly seconds: number;
}

/** The state past the epoch: history, best (by validation Dice), early stopping (reference/models.md section 7.3), plateau. */
export function closeEpoch(
  state: TrainState,
  result: Validation,
  { config, labels, lr, seconds }: EpochEnd,
): { readonly state: TrainState; readonly metrics: EpochMetrics; readonly isBest: boolean } {
  const images = Math.max(1, state.epochImages);
  const metrics: Record<string, number> = { 'train/loss': state.epochLossSum / images };
  for (const [name, sum] of Object.entries(state.epochTermSums)) metrics[`train/${name}`] = sum / images;
  Object.assign(metrics, definedMetrics(result, labels), { lr, 'time/epoch_s': seconds });
  const epoch = state.epoch + 1;
  // Without validation cases (or none with a defined Dice) the last epoch is the best there is.
  const dice = Number.isFinite(result.dice) ? result.dice : null;
  const isBest = state.best === null || dice === null || dice > state.best.dice;
  const { best: top, counter } = state.earlyStopping;
  const improved = dice !== null && (top === null || dice > top + config.early_stopping.min_delta);
  const next: TrainState = {
    ...state,
    epoch,
    batchInEpoch: 0,
    epochLossSum: 0,
    epochTermSums: {},
    epochImages: 0,
    best: isBest ? { epoch, dice: dice ?? 0 } : state.best,
    earlyStopping: improved ? { best: dice, counter: 0 } : { best: top, counter: counter + 1 },
    plateau: state.plateau === null ? null : plateauStep(state.plateau, dice ?? 0, config.lr_scheduler),
    history: [...state.history, { epoch, step: state.step, metrics }],
  };
  return { state: next, metrics, isBest };
}

/** The validation's numbers that have a value: state and tables hold no NaN (JSON has none). */
function definedMetrics(result: Validation, labels: LabelSpec): Record<string, number> {
  const all: Record<string, number> = {
    'val/loss': result.loss,
    'val/dice': result.dice,
    'val/iou': result.iou,
  };
  if (labels.names.length > 2) {
    result.dicePerLabel.forEach((d, i) => {
      all[`val/dice/${labels.names[i + 1] ?? i + 1}`] = d;
    });
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => Number.isFinite(value)));
}
