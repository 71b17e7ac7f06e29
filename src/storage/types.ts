/**
 * @file What the browser keeps besides runs: how folders are reached and the results of evaluations. Types only.
 */
import type { MetricConvention } from '../config/types';
import type { LabelSpec } from '../data/types';
import type { SummaryRow } from '../metrics/summary';

/** How a folder's bytes are reached; structured-cloneable, so that a worker can read without the page. */
export type FolderAccess = { readonly id: string; readonly name: string; readonly testOnly: boolean } & (
  | { readonly kind: 'handle'; readonly handle: FileSystemDirectoryHandle }
  | { readonly kind: 'files'; readonly files: readonly { readonly path: string; readonly file: File }[] }
  | { readonly kind: 'zip'; readonly file: File }
  | { readonly kind: 'phantom'; readonly count: number; readonly size: number; readonly seed: number }
);

/** Metric values of one case and label; NaN = not defined under the convention. */
export interface CaseResult {
  readonly id: string;
  readonly folderName: string;
  readonly className: string | null;
  readonly perLabel: readonly {
    readonly label: number;
    readonly name: string;
    readonly metrics: Readonly<Record<string, number>>;
  }[];
  /** Foreground mean of Dice over labels: the sort key. */
  readonly dice: number;
  /** At evaluation resolution, width x height. Binary: probability x 255; multi-class: argmax labels. */
  readonly prediction: Uint8Array;
  readonly kind: 'probability' | 'labels';
  readonly width: number;
  readonly height: number;
}

/** Means over cases: label (or "foreground mean"), metric, mean, population std, n. */
export type MetricSummaryRow = SummaryRow;

export interface EvaluationResult {
  readonly id: string;
  readonly runId: string | null;
  readonly checkpointId: string | null;
  readonly title: string; // "test split, 20 cases"
  readonly convention: MetricConvention;
  readonly resolution: 'model' | 'original';
  readonly threshold: number;
  readonly cases: readonly CaseResult[];
  readonly summary: readonly MetricSummaryRow[];
  readonly labels: LabelSpec;
  readonly createdAt: number;
}

/** Where weights come from. */
export type WeightsSource =
  | { readonly kind: 'checkpoint'; readonly checkpointId: string }
  | { readonly kind: 'library'; readonly weightsId: string }; // a dropped file kept in IndexedDB
