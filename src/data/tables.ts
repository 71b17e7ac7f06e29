/**
 * @file Tables that come with data sets: classes, patients, official folds. Imports formats/csv.
 * Known: BUS-BRA's bus_data.csv and k-fold-cv.csv, BUS-UCLM's INFO.csv; any csv with an image column and a patient or class column;
 * nnU-Net's dataset.json (label names); TN3K's fold files.
 */
import { csvRecords, parseCsv } from '../formats/csv';
import { UserError } from '../lib/errors';
import type { SplitName } from './types';

export interface TableFacts {
  /** By image stem (NFC). */
  readonly classes: Map<string, string>;
  readonly groups: Map<string, string>;
  readonly folds: {
    readonly file: string;
    readonly count: number;
    readonly byStem: Map<string, readonly (SplitName | null)[]>;
  } | null;
}

const ID = ['id', 'image', 'image_id', 'filename', 'file', 'name', 'file_name'];
const PATIENT = ['case', 'patient', 'patient_id', 'case_id', 'subject'];
const CLASS = ['pathology', 'class', 'diagnosis', 'label', 'type'];

/** A column with more different values than this holds text, not classes. */
const MAX_CLASSES = 32;

/** Reads one csv; null when it says nothing about images. */
export function readTable(bytes: Uint8Array, fileName: string): TableFacts | null {
  const first = new TextDecoder().decode(bytes.subarray(0, 2000)).split(/\r?\n/)[0] ?? '';
  const delimiter = first.split(';').length > first.split(',').length ? ';' : ',';
  const rows = parseCsv(bytes, fileName, delimiter);
  const header = rows[0]?.map((h) => h.trim().toLowerCase()) ?? [];
  const find = (names: readonly string[]): string | null => {
    const at = header.findIndex((h) => names.includes(h));
    return at < 0 ? null : (rows[0]?.[at] as string);
  };
  const id = find(ID);
  if (id === null) return null;
  const records = csvRecords(rows);
  const stemOf = (r: Map<string, string>): string =>
    (r.get(id) ?? '')
      .trim()
      .normalize('NFC')
      .replace(/\.[a-z]{3,4}$/i, '');
  const column = (name: string | null): Map<string, string> => {
    const out = new Map<string, string>();
    if (name === null) return out;
    for (const r of records) {
      const value = (r.get(name) ?? '').trim();
      if (stemOf(r) !== '' && value !== '') out.set(stemOf(r), value);
    }
    return out;
  };
  const classes = new Map([...column(find(CLASS))].map(([k, v]) => [k, v.toLowerCase()]));
  return {
    classes: new Set(classes.values()).size > MAX_CLASSES ? new Map() : classes,
    groups: column(find(PATIENT)),
    folds: readFolds(records, header, rows[0] ?? [], stemOf, fileName),
  };
}

/** valid_k: empty or NaN = test of fold k, 0 = validation, 1 = training (BUS-BRA's k-fold-cv.csv). */
function readFolds(
  records: readonly Map<string, string>[],
  header: readonly string[],
  names: readonly string[],
  stemOf: (r: Map<string, string>) => string,
  fileName: string,
): TableFacts['folds'] {
  const columns = header
    .map((h, i) => [/^valid_(\d+)$/.exec(h), names[i] as string] as const)
    .filter(([m]) => m !== null);
  if (columns.length === 0) return null;
  const byStem = new Map<string, (SplitName | null)[]>();
  for (const r of records) {
    byStem.set(
      stemOf(r),
      columns.map(([, name]) => {
        const text = (r.get(name) ?? '').trim();
        if (text === '' || /^nan$/i.test(text)) return 'test';
        const value = Number(text);
        return value === 0 ? 'val' : value === 1 ? 'train' : null;
      }),
    );
  }
  return { file: fileName.split('/').at(-1) as string, count: columns.length, byStem };
}

function parseJson(bytes: Uint8Array, fileName: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
  } catch (cause) {
    throw new UserError('file-corrupt', `"${fileName}" is not valid JSON`, { subject: fileName, cause });
  }
}

/** nnU-Net's dataset.json: label names by mask value, from {"lesion": 1} (version 2) or {"1": "lesion"} (version 1); null when it has none. */
export function readLabelNames(bytes: Uint8Array, fileName: string): Map<string, string> | null {
  const labels = Object(parseJson(bytes, fileName))['labels'] as unknown;
  if (typeof labels !== 'object' || labels === null) return null;
  const out = new Map<string, string>();
  for (const [a, b] of Object.entries(labels as Record<string, unknown>)) {
    const [value, name] = typeof b === 'string' ? [a, b] : [String(b), a];
    // Regions ("whole tumour": [1, 2]) and "ignore" above 255 are not label values.
    if (/^\d{1,3}$/.test(value) && Number(value) < 256) out.set(String(Number(value)), name);
  }
  return out.has('0') && out.size >= 2 ? out : null;
}

/** One fold of TN3K: {"train": [17, ...], "val": [3, ...]}, numbers of pictures in trainval-image; null when it is something else. */
export function readNumberedFold(bytes: Uint8Array, fileName: string): Map<number, SplitName> | null {
  const content = Object(parseJson(bytes, fileName)) as Record<string, unknown>;
  const out = new Map<number, SplitName>();
  for (const name of ['train', 'val'] as const) {
    const list = content[name];
    if (!Array.isArray(list)) return null;
    for (const n of list as readonly unknown[]) {
      if (typeof n !== 'number') return null;
      out.set(n, name);
    }
  }
  return out;
}
