/**
 * @file Messages between the page and its workers. Types only: no runtime code.
 * One train worker owns the GPU; one or two data workers scan, decode and inspect. Requests carry an id; the worker answers
 * with exactly one `done` or `error` of that id, and with any number of `progress` before it. Events are in the past tense.
 */
import type { PlainError } from '../lib/errors';
import type { BackendChoice, StudioConfig } from '../config/types';
import type { Dataset, LabelSpec, OriginalSample, SampleFacts, Split } from '../data/types';
import type { LoadReport } from '../models/types';
import type { CaseResult, EvaluationResult, FolderAccess } from '../storage/types';
import type { DeviceInfo, TrainEvent } from '../training/types';

export type { CaseResult, EvaluationResult, FolderAccess, MetricSummaryRow } from '../storage/types';

/** What a run trains on or is tested on. */
export interface DataRequest {
  readonly folders: readonly FolderAccess[];
  readonly dataset: Dataset;
  readonly labels: LabelSpec;
}

/** Where weights come from. */
export type WeightsSource =
  | { readonly kind: 'checkpoint'; readonly checkpointId: string }
  | { readonly kind: 'library'; readonly weightsId: string }; // a dropped file kept in IndexedDB

export interface Estimate {
  readonly stepMs: number;
  readonly evalMs: number; // per image
  readonly peakBytes: number;
  readonly perEpochSeconds: number;
  readonly totalSeconds: number;
  readonly parameterCount: number;
  readonly checkpointBytes: number;
  /** Set when the asked batch size did not fit: the largest that does (0: none). */
  readonly fittingBatchSize: number | null;
}

export interface SelfTestRow {
  readonly case: string;
  readonly quantity: string;
  readonly relativeError: number;
  readonly bound: number;
  readonly pass: boolean;
}

/** request type -> [payload, progress, result] of the train worker. */
export interface TrainRequests {
  start: [{ readonly backend: BackendChoice; readonly threads: number | 'auto' }, never, DeviceInfo];
  loadWeights: [{ readonly source: WeightsSource; readonly config: StudioConfig }, never, LoadReport];
  estimate: [
    { readonly config: StudioConfig; readonly trainCases: number; readonly valCases: number },
    { readonly message: string },
    Estimate,
  ];
  /** Ends when the run ends (completed, stopped, failed). Progress carries TrainEvents. */
  train: [
    {
      readonly runId: string;
      readonly config: StudioConfig;
      readonly data: DataRequest;
      readonly split: Split;
      readonly resume: string | null; // checkpoint id
      readonly initial: WeightsSource | null;
    },
    TrainEvent,
    { readonly reason: 'completed' | 'early-stopped' | 'stopped' },
  ];
  pause: [Record<string, never>, never, null];
  continue: [Record<string, never>, never, null];
  stop: [Record<string, never>, never, null];
  evaluate: [
    {
      readonly source: WeightsSource;
      readonly config: StudioConfig;
      readonly data: DataRequest;
      readonly ids: readonly string[];
      readonly title: string;
      readonly runId: string | null;
    },
    { readonly done: number; readonly total: number; readonly latest: CaseResult | null },
    EvaluationResult,
  ];
  selfTest: [
    { readonly cases: readonly string[] },
    SelfTestRow,
    { readonly passed: number; readonly failed: number },
  ];
}

/** Requests of a data worker. */
export interface DataRequests {
  /** Enumerates and pairs. Progress: files seen so far. */
  scan: [{ readonly folders: readonly FolderAccess[] }, { readonly files: number }, Dataset];
  inspect: [
    { readonly folders: readonly FolderAccess[]; readonly dataset: Dataset; readonly ids: readonly string[] },
    { readonly facts: readonly SampleFacts[] },
    null,
  ];
  /** RGBA pixels of the image scaled to fit `edge`, and the label map at the same size, for the preview grid. */
  thumbnail: [
    { readonly data: DataRequest; readonly id: string; readonly edge: number },
    never,
    {
      readonly width: number;
      readonly height: number;
      readonly rgba: Uint8ClampedArray<ArrayBuffer>;
      readonly mask: Uint8Array;
    },
  ];
  original: [{ readonly data: DataRequest; readonly id: string }, never, OriginalSample];
}

export type RequestMessage<R> =
  | {
      [K in keyof R]: R[K] extends [infer P, unknown, unknown]
        ? { readonly id: number; readonly type: K; readonly payload: P }
        : never;
    }[keyof R]
  | { readonly id: number; readonly type: 'abort' };

export type ReplyMessage =
  | { readonly id: number; readonly type: 'progress'; readonly value: unknown }
  | { readonly id: number; readonly type: 'done'; readonly value: unknown }
  | { readonly id: number; readonly type: 'error'; readonly error: PlainError }
  | { readonly id: -1; readonly type: 'heartbeat'; readonly at: number }
  | { readonly id: -1; readonly type: 'deviceLost'; readonly error: PlainError };
