/**
 * @file The dataset contract: folders of files in, samples with masks, a report and a split out. Plain data that survives
 * structured cloning and JSON; bytes are read only when needed, through a Folder.
 */

/** One file of a folder. `path` is relative to the folder, '/'-separated, exactly as the file system gave it (not normalised). */
export interface FileRef {
  readonly folder: string; // folder id
  readonly path: string;
  readonly size: number;
  readonly modified: number; // ms since 1970
}

/** A folder that can be read, whatever is behind it: a directory handle, dropped files, a zip, the phantom generator, Node's fs. */
export interface Folder {
  readonly id: string;
  /** Shown and stored with every sample: "BUSBRA". */
  readonly name: string;
  /** External test set: its samples are never trained or validated on. */
  readonly testOnly: boolean;
  readonly files: readonly FileRef[];
  /** Bytes of one file. Throws UserError 'file-unreadable' naming the path. */
  read(path: string): Promise<Uint8Array>;
}

export type SplitName = 'train' | 'val' | 'test';

export interface Sample {
  /** Unique in the dataset, stable across sessions: `${folderName}/${image path without extension}` in NFC. */
  readonly id: string;
  readonly folder: string; // folder id
  readonly folderName: string;
  readonly image: FileRef;
  /** One or more masks, joined (OR for binary, later wins never needed: overlaps of different labels are reported). */
  readonly masks: readonly FileRef[];
  /** Image-level class ("benign"), from folder or file name, csv; null when unknown. */
  readonly className: string | null;
  /** Patient or case; null when unknown. */
  readonly group: string | null;
  /** The folder's own split, when its layout has one. */
  readonly ownSplit: SplitName | null;
  readonly testOnly: boolean;
}

/** Official folds found in a csv or json of the folder: per sample id the split of each fold. */
export interface FoldTable {
  readonly file: string; // "5-fold-cv.csv"
  readonly folds: number;
  /** assignment[sampleId][fold] */
  readonly assignment: Readonly<Record<string, readonly (SplitName | null)[]>>;
}

export type ProblemKind =
  | 'image-without-mask'
  | 'mask-without-image'
  | 'ambiguous-pair'
  | 'size-mismatch'
  | 'unreadable'
  | 'unsupported-format'
  | 'empty-mask'
  | 'full-mask'
  | 'soft-mask'
  | 'unexpected-values'
  | 'exif-orientation'
  | 'lossy-mask'
  | 'duplicate'
  | 'duplicate-across-classes'
  | 'duplicate-across-splits'
  | 'patient-across-splits'
  | 'too-large'
  | 'overlapping-labels'
  | 'case-collision';

/** error: the sample cannot be trained on; it blocks until excluded. warning: needs a look. info: stated. */
export type Severity = 'error' | 'warning' | 'info';

export interface Problem {
  readonly kind: ProblemKind;
  readonly severity: Severity;
  /** Paths with the folder's name in front: "BUSI/benign/benign (4)_mask.png". */
  readonly files: readonly string[];
  /** Samples concerned (may be empty: an orphan mask has none). */
  readonly sampleIds: readonly string[];
  /** One plain sentence with the measured values: "image 600 x 420, mask 300 x 210". */
  readonly message: string;
}

export interface Dataset {
  /** Hash over folder names, paths, sizes, dates. */
  readonly id: string;
  readonly name: string;
  readonly folders: readonly {
    readonly id: string;
    readonly name: string;
    readonly testOnly: boolean;
    readonly fileCount: number;
    readonly convention: string;
  }[];
  readonly samples: readonly Sample[];
  readonly classNames: readonly string[];
  readonly foldTables: readonly FoldTable[];
  /** Names of mask values that a folder brings along (nnU-Net's dataset.json); absent where none does, or where folders disagree. */
  readonly labelNames?: Readonly<Record<string, string>>;
  /** From names alone; content problems are in the Report. */
  readonly problems: readonly Problem[];
  readonly ignoredFiles: number;
}

/** How mask pixels become label indices. */
export type LabelEncoding =
  /** Pixel (Pillow convert L) > threshold is foreground. */
  | { readonly kind: 'threshold'; readonly threshold: number }
  /** Stored value (palette index, grey value) to label index; others are unexpected. */
  | { readonly kind: 'values'; readonly values: Readonly<Record<string, number>> }
  /** "r,g,b" to label index; others are unexpected. */
  | { readonly kind: 'colors'; readonly colors: Readonly<Record<string, number>> }
  /** Foreground (threshold) gets the index of the sample's class name: classes[0] is label 1. */
  | { readonly kind: 'class'; readonly threshold: number; readonly classes: readonly string[] };

/** names[0] is "background". Binary: names.length === 2. */
export interface LabelSpec {
  readonly names: readonly string[];
  readonly encoding: LabelEncoding;
}

/** What decoding one sample found. */
export interface SampleFacts {
  readonly id: string;
  readonly width: number;
  readonly height: number;
  readonly mode: string;
  readonly maskSizes: readonly (readonly [number, number])[]; // [width, height] of each mask file
  /** Distinct values over the masks (grey value, or "r,g,b" for colour), most frequent first, at most 64, with pixel counts. */
  readonly maskValues: readonly (readonly [string, number])[];
  /** Foreground fraction 0..1 under a nonzero (or >127 when soft) reading. */
  readonly foreground: number;
  readonly soft: boolean;
  /** sha256 of the decoded image samples and of the joined mask. */
  readonly imageHash: string;
  readonly maskHash: string;
  readonly problems: readonly Problem[];
}

export interface Split {
  readonly method: 'ratio' | 'folder' | 'folds';
  readonly seed: number;
  readonly train: readonly string[]; // sample ids
  readonly val: readonly string[];
  readonly test: readonly string[];
  /** Plain sentences: "grouped by patient (64 patients)", "stratified by class". */
  readonly notes: readonly string[];
}

/** A sample ready for the network: resized once as Pillow does, still bytes. */
export interface PreparedSample {
  readonly id: string;
  /** Side in pixels (square network input). */
  readonly size: number;
  /** RGB, size*size*3, rows from the top. */
  readonly image: Uint8Array;
  /** Label index per pixel, size*size. */
  readonly mask: Uint8Array;
  readonly originalWidth: number;
  readonly originalHeight: number;
}

/** A sample at its own size, for viewers and for metrics at original resolution. */
export interface OriginalSample {
  readonly id: string;
  readonly width: number;
  readonly height: number;
  readonly image: Uint8Array; // RGB
  readonly mask: Uint8Array; // label indices
}

/** What training reads from. Implementations cache prepared bytes. */
export interface SampleReader {
  prepared(id: string, size: number): Promise<PreparedSample>;
  original(id: string): Promise<OriginalSample>;
}
