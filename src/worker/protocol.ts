/**
 * @file Messages between the page and its workers. Types only: no runtime code.
 * One train worker owns the GPU; one or two data workers scan, decode and inspect. Requests carry an id; the worker answers
 * with exactly one `done` or `error` of that id, and with any number of `progress` before it. Events are in the past tense.
 */
import type { PlainError } from '../lib/errors';
import type { BackendChoice, StudioConfig } from '../config/types';
import type { Dataset, LabelSpec, OriginalSample, SampleFacts, Split } from '../data/types';
import type { LoadReport } from '../models/types';
import type { CaseResult, EvaluationResult, FolderAccess, WeightsSource } from '../storage/types';
import type { DeviceInfo } from '../gpu/device';
import type { MemoryPlan } from '../training/memoryParts';
import type { TrainEvent } from '../training/types';

export type {
  CaseResult,
  EvaluationResult,
  FolderAccess,
  MetricSummaryRow,
  WeightsSource,
} from '../storage/types';

/** What a run trains on or is tested on. */
export interface DataRequest {
  /** Handed over before by `openFolders` and `addFiles`. */
  readonly folderIds: readonly string[];
  readonly dataset: Dataset;
  readonly labels: LabelSpec;
}

/** Sent over the BroadcastChannel `studio`, so that other tabs show a run live and see the run table change. */
export type TabMessage =
  { readonly kind: 'train'; readonly runId: string; readonly event: TrainEvent } | { readonly kind: 'runs' };

export interface Estimate {
  readonly stepMs: number;
  readonly evalMs: number; // per image
  readonly peakBytes: number; // measured after one step
  readonly planned: MemoryPlan | null; // known before it; null where steps are not recorded
  readonly recomputedBytes: number | null; // planned, with training.recompute=blocks
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

/** Every worker that reads files: folders are handed over once and kept under their ids. */
export interface FolderRequests {
  /** A folder of many dropped files arrives in several messages (`addFiles`), none of them long. */
  openFolders: [{ readonly folders: readonly FolderAccess[] }, never, null];
  addFiles: [
    { readonly folderId: string; readonly files: readonly { readonly path: string; readonly file: File }[] },
    never,
    null,
  ];
}

/** request type -> [payload, progress, result] of the train worker. */
export interface TrainRequests extends FolderRequests {
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
  /** An exported run zip, a .safetensors or a .pth becomes an 'imported' run. `fallback`: for files that carry no config. */
  importRun: [{ readonly file: File; readonly fallback: StudioConfig }, never, { readonly runId: string }];
  /** `baseUrl`: the page's, under which `cases/` lies. */
  selfTest: [{ readonly baseUrl: string }, SelfTestRow, { readonly passed: number; readonly failed: number }];
}

/** New numbers of a stored evaluation under another threshold. */
export interface Rescored {
  readonly cases: readonly Pick<CaseResult, 'id' | 'perLabel' | 'dice'>[];
  readonly summary: EvaluationResult['summary'];
}

export interface Thumbnail {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
  readonly mask: Uint8Array;
}

/**
 * Requests of a data worker. Folders and the data set are handed over once and kept under ids: a thumbnail of one sample must
 * not clone 10,000 samples.
 */
export interface DataRequests extends FolderRequests {
  /** Enumerates and pairs. Progress: files seen so far. */
  scan: [{ readonly folderIds: readonly string[] }, { readonly files: number }, Dataset];
  /** Remembers a data set under its id, for the requests below. */
  attach: [{ readonly dataset: Dataset }, never, null];
  setLabels: [{ readonly datasetId: string; readonly labels: LabelSpec }, never, null];
  inspect: [
    { readonly datasetId: string; readonly ids: readonly string[] },
    { readonly facts: readonly SampleFacts[] },
    null,
  ];
  /** RGBA pixels of the image scaled to fit `edge`, and the label map at the same size, for the preview grid. */
  thumbnail: [{ readonly datasetId: string; readonly id: string; readonly edge: number }, never, Thumbnail];
  original: [{ readonly datasetId: string; readonly id: string }, never, OriginalSample];
  /** At the square size a model sees, as OriginalSample: for evaluations at model resolution. */
  atSize: [{ readonly datasetId: string; readonly id: string; readonly size: number }, never, OriginalSample];
  /** Metrics of a stored evaluation's probability maps under another threshold; ground truth is read again. */
  rescore: [
    { readonly evaluationId: string; readonly datasetId: string; readonly threshold: number },
    { readonly done: number; readonly total: number },
    Rescored,
  ];
}

/** What an export gives back: a Blob to download, or null when it was written into the chosen directory. */
export interface Exported {
  readonly name: string;
  readonly blob: Blob | null;
}

/** Requests of the file worker: what must not block the page, made for one job and ended after it. */
export interface FileRequests {
  /** The run folder of the design, as a zip or straight into a directory. */
  exportRun: [
    { readonly runId: string; readonly directory: FileSystemDirectoryHandle | null },
    { readonly message: string },
    Exported,
  ];
  exportWeights: [{ readonly checkpointId: string; readonly format: 'safetensors' | 'pth' }, never, Exported];
  /** 8-bit PNG label maps, named as the images. `threshold` for binary results. */
  exportPredictions: [
    {
      readonly evaluationId: string;
      readonly threshold: number;
      readonly directory: FileSystemDirectoryHandle | null;
    },
    { readonly message: string },
    Exported,
  ];
  exportCases: [
    {
      readonly result: Omit<EvaluationResult, 'cases'>;
      readonly cases: readonly Pick<CaseResult, 'id' | 'folderName' | 'className' | 'perLabel'>[];
    },
    never,
    Exported,
  ];
}

export type RequestName<R> = keyof R & string;
export type PayloadOf<R, K extends keyof R> = R[K] extends [infer P, unknown, unknown] ? P : never;
export type ProgressOf<R, K extends keyof R> = R[K] extends [unknown, infer P, unknown] ? P : never;
export type ResultOf<R, K extends keyof R> = R[K] extends [unknown, unknown, infer P] ? P : never;

export type RequestMessage =
  | { readonly id: number; readonly type: 'request'; readonly name: string; readonly payload: unknown }
  | { readonly id: number; readonly type: 'abort' };

export type ReplyMessage =
  | { readonly id: number; readonly type: 'progress'; readonly value: unknown }
  | { readonly id: number; readonly type: 'done'; readonly value: unknown }
  | { readonly id: number; readonly type: 'error'; readonly error: PlainError }
  | { readonly id: -1; readonly type: 'heartbeat'; readonly at: number }
  | { readonly id: -1; readonly type: 'deviceLost'; readonly error: PlainError };
