/**
 * @file What the screens see: the state and actions of each zustand store. Screens read stores and call actions; components
 * get plain props. Implementations: datasetStore.ts, configStore.ts, trainingStore.ts, runsStore.ts, inspectStore.ts,
 * deviceStore.ts, settingsStore.ts, each exporting one hook: useDataset, useConfig, useTraining, useRuns, useInspect, useDevice, useSettings.
 */
import type { PlainError } from '../../lib/errors';
import type { StudioConfig } from '../../config/types';
import type { Dataset, LabelSpec, OriginalSample, SampleFacts, Split } from '../../data/types';
import type { Report } from '../../data/report';
import type { DeviceInfo, MemoryUse } from '../../gpu/device';
import type { LoadReport } from '../../models/types';
import type { RunRecord } from '../../storage/runs';
import type { CheckpointInfo, EpochMetrics, PredictionPanel, StepRecord } from '../../training/types';
import type { MemoryPlan } from '../../training/memoryParts';
import type { Estimate, EvaluationResult, SelfTestRow, WeightsSource } from '../../worker/protocol';

export interface FolderCard {
  readonly id: string;
  readonly name: string;
  readonly testOnly: boolean;
  readonly kind: 'handle' | 'files' | 'zip' | 'phantom';
  /** ok: readable. permission: the browser asks again after a reload (one click). missing: moved or session-only; link again. */
  readonly access: 'ok' | 'permission' | 'missing';
  readonly fileCount: number;
  readonly convention: string | null;
}

export interface DatasetState {
  readonly status: 'empty' | 'scanning' | 'inspecting' | 'ready' | 'error';
  readonly progress: { readonly done: number; readonly total: number | null; readonly label: string } | null;
  readonly folders: readonly FolderCard[];
  readonly dataset: Dataset | null;
  readonly facts: ReadonlyMap<string, SampleFacts>;
  readonly report: Report | null;
  readonly labels: LabelSpec | null;
  readonly labelReason: string; // why this reading of the masks was chosen
  readonly split: Split | null;
  readonly splitError: PlainError | null;
  readonly excluded: ReadonlySet<string>; // sample ids left out explicitly
  readonly error: PlainError | null;
  addDrop(transfer: DataTransfer): Promise<void>;
  addPicked(): Promise<void>; // showDirectoryPicker
  addFiles(files: FileList): Promise<void>; // <input webkitdirectory> or zip files
  addPhantom(): Promise<void>;
  removeFolder(id: string): Promise<void>;
  renameFolder(id: string, name: string): Promise<void>;
  setTestOnly(id: string, testOnly: boolean): Promise<void>;
  /** Asks for permission again (call inside a click). */
  relink(id: string): Promise<void>;
  setExcluded(ids: readonly string[], excluded: boolean): void;
  excludeAllBlocking(): void;
  thumbnail(
    id: string,
    edge: number,
  ): Promise<{
    readonly width: number;
    readonly height: number;
    readonly rgba: Uint8ClampedArray<ArrayBuffer>;
    readonly mask: Uint8Array;
  }>;
  original(id: string): Promise<OriginalSample>;
  /** Reads saved folders at start-up. */
  restore(): Promise<void>;
}

export interface ConfigState {
  /** "model=tinyusfm_nano", "training.num_epochs=20": what differs from the tree's defaults. The one source of truth. */
  readonly overrides: readonly string[];
  readonly config: StudioConfig | null; // null while invalid
  readonly text: string; // YAML of the resolved config: the text view
  readonly error: PlainError | null;
  readonly models: readonly { readonly name: string; readonly title: string }[];
  /** From the form: sets one key; returns false and sets error when refused. */
  setValue(path: string, value: unknown): boolean;
  setModel(name: string): void;
  /** From the text view: edited YAML of the whole config. */
  setText(yaml: string): boolean;
  /** Any override string, as on the command line; several separated by newlines or spaces outside quotes. */
  applyOverrides(text: string): boolean;
  reset(path?: string): void;
  load(config: StudioConfig): void; // from a run
  /** At start-up: the overrides of the last visit. */
  restore(): Promise<void>;
}

export type RunStatus =
  'idle' | 'starting' | 'running' | 'pausing' | 'paused' | 'stopping' | 'ended' | 'failed' | 'watching';

/** Columns kept outside React objects: long runs stay cheap. `version` changes when data was appended. */
export interface LiveSeries {
  readonly version: number;
  readonly steps: readonly StepRecord[];
  readonly epochs: readonly {
    readonly epoch: number;
    readonly step: number;
    readonly metrics: EpochMetrics;
  }[];
}

export interface TrainingState {
  readonly status: RunStatus; // watching: another tab trains this run; read-only
  readonly runId: string | null;
  readonly runName: string | null;
  readonly device: DeviceInfo | null;
  readonly config: StudioConfig | null; // of the run
  readonly epoch: number;
  readonly step: number;
  readonly latest: StepRecord | null;
  readonly validating: { readonly done: number; readonly total: number } | null;
  readonly etaSeconds: number | null;
  readonly memory: MemoryUse | null;
  readonly planned: MemoryPlan | null;
  readonly best: { readonly epoch: number; readonly dice: number } | null;
  readonly endReason: 'completed' | 'early-stopped' | 'stopped' | null;
  readonly series: LiveSeries;
  readonly panels: readonly { readonly epoch: number; readonly panels: readonly PredictionPanel[] }[]; // newest last, at most 50 epochs
  readonly log: readonly {
    readonly level: 'info' | 'warning' | 'error';
    readonly message: string;
    readonly at: number;
  }[];
  readonly lastCheckpoint: CheckpointInfo | null;
  readonly error: PlainError | null;
  readonly estimate: Estimate | null;
  readonly estimating: boolean;
  /** What the running estimate knows already: the planned memory. */
  readonly estimateNote: string | null;
  readonly loadReport: LoadReport | null;
  readonly pretrained: {
    readonly weightsId: string;
    readonly fileName: string;
    readonly bytes: number;
  } | null;
  /** A run that was cut off (reload, killed tab, lost GPU) and can go on. */
  readonly resumable: {
    readonly runId: string;
    readonly name: string;
    readonly checkpoint: CheckpointInfo;
  } | null;
  /** After a lost GPU or a crashed worker: the run goes on by itself; when the next attempt is made (ms since 1970). */
  readonly recovery: {
    readonly attempt: number;
    readonly nextAt: number;
    readonly message: string;
  } | null;
  start(): Promise<void>;
  pause(): Promise<void>;
  continue(): Promise<void>;
  stop(): Promise<void>;
  /** Goes on from a checkpoint; `epochs` more than before continues a finished run (see `continuationNote`). */
  resume(runId: string, checkpointId?: string, epochs?: number): Promise<void>;
  continuationNote(runId: string, epochs: number): Promise<string>;
  runEstimate(): Promise<void>;
  setPretrained(file: File | null): Promise<void>;
  dismissResumable(): void;
  /** At start-up: finds runs cut off by a reload (`resumable`) and runs another tab trains (status 'watching'). */
  restore(): Promise<void>;
}

export type { RunRecord } from '../../storage/runs';

export interface RunsState {
  readonly runs: readonly RunRecord[];
  readonly status: 'loading' | 'ready' | 'error';
  readonly error: PlainError | null;
  refresh(): Promise<void>;
  rename(id: string, name: string): Promise<void>;
  remove(id: string): Promise<void>;
  checkpoints(id: string): Promise<readonly CheckpointInfo[]>;
  history(id: string): Promise<LiveSeries>;
  /** Run folder as a zip download, or straight into a chosen directory. */
  exportRun(id: string, to: 'zip' | 'directory'): Promise<void>;
  exportWeights(checkpointId: string, format: 'safetensors' | 'pth'): Promise<void>;
  /** An exported run zip / weights file dropped back in becomes a run that can be tested and trained on. */
  importFile(file: File): Promise<string>;
  deleteCheckpoint(id: string): Promise<void>;
  eraseEverything(): Promise<void>;
}

export interface InspectState {
  readonly status: 'empty' | 'running' | 'ready' | 'error';
  readonly progress: { readonly done: number; readonly total: number } | null;
  readonly result: EvaluationResult | null;
  readonly previous: readonly { readonly id: string; readonly title: string; readonly createdAt: number }[];
  readonly selected: string | null; // sample id
  readonly threshold: number; // recomputes predictions and metrics for binary results
  readonly error: PlainError | null;
  evaluate(request: {
    readonly runId: string;
    readonly checkpointId: string;
    readonly target:
      | { readonly kind: 'split'; readonly split: 'train' | 'val' | 'test' }
      | { readonly kind: 'folder'; readonly folderId: string };
    readonly convention: 'framework' | 'monai';
    readonly resolution: 'model' | 'original';
  }): Promise<void>;
  cancel(): void;
  open(evaluationId: string): Promise<void>;
  /** Lists stored evaluations (`previous`). */
  refresh(): Promise<void>;
  select(id: string): void;
  setThreshold(threshold: number): void;
  /** Image and ground truth at the evaluation's resolution, for the linked views. */
  pair(id: string): Promise<OriginalSample>;
  exportPredictions(to: 'zip' | 'directory'): Promise<void>;
  exportCasesCsv(): Promise<void>;
  /** For weights that are no run yet. */
  readonly source: WeightsSource | null;
}

export interface DeviceState {
  readonly status: 'starting' | 'ready' | 'error';
  readonly device: DeviceInfo | null;
  readonly error: PlainError | null;
  readonly memory: MemoryUse | null;
  readonly storage: { readonly usage: number; readonly quota: number; readonly persisted: boolean } | null;
  readonly selfTest: { readonly status: 'idle' | 'running' | 'done'; readonly rows: readonly SelfTestRow[] };
  start(): Promise<void>;
  runSelfTest(): Promise<void>;
}

export interface SettingsState {
  readonly theme: 'system' | 'light' | 'dark';
  readonly singleKeys: boolean; // single-letter shortcuts in viewers
  setTheme(theme: 'system' | 'light' | 'dark'): void;
  setSingleKeys(on: boolean): void;
}
