/**
 * @file Contracts of the training core with the outside: what it is handed (reader, checkpoint sink, event sink) and what it
 * tells (events). Plain data, structured-cloneable. No DOM, no Node.
 */
import type { PlainError } from '../lib/errors';
import type { StudioConfig } from '../config/types';
import type { LabelSpec, Split } from '../data/types';
import type { TensorMap } from '../formats/tensor';
import type { DeviceInfo, MemoryUse } from '../gpu/device';
import type { MemoryPlan } from './memoryParts';

export type { DeviceInfo, MemoryUse };

/** Per-epoch numbers. Keys as in metrics.csv: "train/loss", "val/loss", "val/dice", "val/iou", "lr", "time/epoch_s". */
export type EpochMetrics = Readonly<Record<string, number>>;

export interface StepRecord {
  readonly step: number; // optimiser steps done, from 1
  readonly epoch: number; // from 1
  readonly batch: number; // in the epoch, from 1
  readonly batches: number;
  readonly loss: number;
  readonly terms: Readonly<Record<string, number>>; // "bce", "dice", ...
  readonly lr: number;
  readonly gradNorm: number;
  readonly stepMs: number;
  readonly imagesPerSecond: number;
}

export interface PredictionPanel {
  readonly id: string; // sample id
  readonly size: number;
  /** Binary: probability x 255. Multi-class: label index. size*size. */
  readonly prediction: Uint8Array;
  readonly kind: 'probability' | 'labels';
  readonly dice: number;
}

export interface CheckpointInfo {
  readonly id: string;
  readonly runId: string;
  readonly kind: 'last' | 'best' | 'interrupt';
  readonly epoch: number; // epochs completed
  readonly step: number;
  readonly batchInEpoch: number; // batches of the current epoch already done
  readonly valDice: number | null;
  readonly bytes: number;
  readonly savedAt: number; // ms since 1970
}

export type TrainEvent =
  | {
      readonly type: 'prepared';
      readonly device: DeviceInfo;
      readonly parameters: number;
      readonly trainable: number;
      readonly trainCases: number;
      readonly valCases: number;
      /** GPU memory of the run, known from its recordings (memoryPlan.ts); null where steps are not recorded. */
      readonly planned: MemoryPlan | null;
      readonly resumedFrom: CheckpointInfo | null;
    }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warning';
      readonly message: string;
      readonly at: number;
    }
  | { readonly type: 'stepsEnded'; readonly records: readonly StepRecord[] } // batched: at most 4 a second
  | {
      readonly type: 'epochEnded';
      readonly epoch: number;
      readonly epochs: number;
      readonly step: number;
      readonly metrics: EpochMetrics;
      readonly isBest: boolean;
      readonly etaSeconds: number;
      readonly memory: MemoryUse;
    }
  | { readonly type: 'panelsDrawn'; readonly epoch: number; readonly panels: readonly PredictionPanel[] }
  | { readonly type: 'validating'; readonly done: number; readonly total: number }
  | { readonly type: 'checkpointSaved'; readonly info: CheckpointInfo }
  | { readonly type: 'checkpointFailed'; readonly error: PlainError }
  | { readonly type: 'paused'; readonly step: number }
  | { readonly type: 'continued'; readonly step: number }
  | {
      readonly type: 'ended';
      readonly reason: 'completed' | 'early-stopped' | 'stopped';
      readonly bestEpoch: number | null;
      readonly bestDice: number | null;
      readonly epoch: number;
    }
  | { readonly type: 'failed'; readonly error: PlainError; readonly lastCheckpoint: CheckpointInfo | null };

/** All that decides the future of a run, besides the tensors. JSON. */
export interface TrainState {
  readonly schema: 1;
  readonly runId: string;
  readonly epoch: number; // epochs completed
  readonly batchInEpoch: number; // batches of epoch `epoch + 1` done
  readonly step: number; // optimiser steps done
  readonly epochLossSum: number; // of the running epoch
  readonly epochTermSums: Readonly<Record<string, number>>;
  readonly epochImages: number; // images behind those sums
  readonly best: { readonly epoch: number; readonly dice: number } | null;
  readonly earlyStopping: { readonly best: number | null; readonly counter: number };
  readonly plateau: {
    readonly best: number | null;
    readonly bad: number;
    readonly cooldown: number;
    readonly lr: number;
  } | null;
  readonly counters: Readonly<Record<string, number>>; // num_batches_tracked by name
  readonly history: readonly {
    readonly epoch: number;
    readonly step: number;
    readonly metrics: EpochMetrics;
  }[];
  readonly device: DeviceInfo;
}

/** Tensors are named "weights.<name>", "optimizer.exp_avg.<name>", "optimizer.exp_avg_sq.<name>", "optimizer.momentum.<name>". */
export interface Checkpoint {
  readonly kind: CheckpointInfo['kind'];
  readonly state: TrainState;
  readonly config: StudioConfig;
  readonly labels: LabelSpec;
  readonly split: Split;
  readonly tensors: TensorMap;
}

/** Stores checkpoints. `save` resolves only when the bytes are committed, read back and verified; otherwise it rejects. */
export interface CheckpointSink {
  save(checkpoint: Checkpoint): Promise<CheckpointInfo>;
}

export interface EventSink {
  emit(event: TrainEvent): void;
}
