/**
 * @file The report before training: counts, sizes, values, and every problem with its file. Imports types.
 */
import type { Dataset, LabelSpec, Problem, Sample, SampleFacts, Split, SplitName } from './types';

export interface CountRow {
  readonly className: string; // "all" or a class; "unknown" where none is known
  readonly total: number;
  readonly train: number;
  readonly val: number;
  readonly test: number;
  readonly unused: number;
}

export interface Report {
  readonly inspected: number;
  readonly total: number;
  readonly counts: readonly CountRow[];
  readonly patients: number | null; // null when unknown
  readonly width: readonly [min: number, mean: number, max: number] | null;
  readonly height: readonly [min: number, mean: number, max: number] | null;
  readonly foreground: {
    readonly mean: number;
    readonly median: number;
    readonly min: number;
    readonly max: number;
    /** Ten bins of equal width from 0 to the largest fraction. */
    readonly histogram: readonly number[];
    readonly binWidth: number;
  } | null;
  readonly modes: readonly (readonly [mode: string, count: number])[];
  /** Mask values over all samples with pixel counts, most frequent first, and the label each is read as (null: unexpected). */
  readonly values: readonly {
    readonly value: string;
    readonly pixels: number;
    readonly label: string | null;
  }[];
  readonly softMasks: number;
  readonly problems: readonly Problem[];
}

/** @param facts by sample id; may be partial while inspection runs. */
export function buildReport(
  dataset: Dataset,
  facts: ReadonlyMap<string, SampleFacts>,
  labels: LabelSpec | null,
  split: Split | null,
): Report {
  const known = dataset.samples.flatMap((s) => {
    const f = facts.get(s.id);
    return f === undefined ? [] : [f];
  });
  const usable = known.filter((f) => f.width > 0);
  const groups = new Set(
    dataset.samples.flatMap((s) => (s.group === null ? [] : [`${s.folderName}/${s.group}`])),
  );
  return {
    inspected: known.length,
    total: dataset.samples.length,
    counts: countRows(dataset.samples, split),
    patients: groups.size === 0 ? null : groups.size,
    width: range(usable.map((f) => f.width)),
    height: range(usable.map((f) => f.height)),
    foreground: foregroundOf(usable),
    modes: tally(known.map((f) => f.mode)),
    values: valueRows(known, labels),
    softMasks: known.filter((f) => f.soft).length,
    problems: [
      ...dataset.problems,
      ...known.flatMap((f) => f.problems),
      ...labelProblems(dataset.samples, facts, labels),
      ...duplicates(dataset.samples, facts, split),
      ...patientsAcross(dataset.samples, split),
    ],
  };
}

function splitLookup(split: Split | null): Map<string, SplitName> {
  const out = new Map<string, SplitName>();
  if (split === null) return out;
  for (const name of ['train', 'val', 'test'] as const) for (const id of split[name]) out.set(id, name);
  return out;
}

function countRows(samples: readonly Sample[], split: Split | null): CountRow[] {
  const where = splitLookup(split);
  const names = [...new Set(samples.map((s) => s.className ?? 'unknown'))].sort();
  const row = (className: string, of: readonly Sample[]): CountRow => {
    const n = { train: 0, val: 0, test: 0, unused: 0 };
    for (const s of of) n[where.get(s.id) ?? 'unused']++;
    return { className, total: of.length, ...n };
  };
  const rows =
    names.length === 1 && names[0] === 'unknown'
      ? []
      : names.map((name) =>
          row(
            name,
            samples.filter((s) => (s.className ?? 'unknown') === name),
          ),
        );
  return [...rows, row('all', samples)];
}

function range(values: readonly number[]): [number, number, number] | null {
  if (values.length === 0) return null;
  const sum = values.reduce((a, b) => a + b, 0);
  return [
    values.reduce((a, b) => Math.min(a, b)),
    sum / values.length,
    values.reduce((a, b) => Math.max(a, b)),
  ];
}

function foregroundOf(facts: readonly SampleFacts[]): Report['foreground'] {
  const values = facts.map((f) => f.foreground).sort((a, b) => a - b);
  const r = range(values);
  if (r === null) return null;
  const bins = 10;
  const binWidth = Math.max(r[2], 1e-6) / bins;
  const histogram = Array.from({ length: bins }, () => 0);
  for (const v of values) {
    const b = Math.min(bins - 1, Math.floor(v / binWidth));
    histogram[b] = (histogram[b] as number) + 1;
  }
  const middle = values.length / 2;
  const median =
    ((values[Math.ceil(middle) - 1] as number) + (values[Math.floor(middle)] ?? (values.at(-1) as number))) /
    2;
  return { mean: r[1], median, min: r[0], max: r[2], histogram, binWidth };
}

function tally(items: readonly string[]): (readonly [string, number])[] {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** Label name a mask value is read as; null when the encoding does not know it. */
export function labelOfValue(value: string, labels: LabelSpec): string | null {
  const { encoding, names } = labels;
  const grey = value.includes(',') ? greyOf(value) : Number(value);
  switch (encoding.kind) {
    case 'threshold':
      return names[grey > encoding.threshold ? 1 : 0] as string;
    case 'class':
      return grey > encoding.threshold ? 'the class of its image' : (names[0] as string);
    case 'values':
      return names[encoding.values[value] ?? -1] ?? null;
    case 'colors': {
      const color = value.includes(',') ? value : `${value},${value},${value}`;
      return names[encoding.colors[color] ?? -1] ?? null;
    }
  }
}

function greyOf(color: string): number {
  const [r, g, b] = color.split(',').map(Number) as [number, number, number];
  return (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16;
}

function valueRows(facts: readonly SampleFacts[], labels: LabelSpec | null): Report['values'] {
  const totals = new Map<string, number>();
  for (const f of facts) for (const [v, n] of f.maskValues) totals.set(v, (totals.get(v) ?? 0) + n);
  return [...totals]
    .sort((a, b) => b[1] - a[1])
    .slice(0, 256)
    .map(([value, pixels]) => ({
      value,
      pixels,
      label: labels === null ? null : labelOfValue(value, labels),
    }));
}

/** Masks that the chosen reading does not fit: unknown values, foreground lost to a threshold, a class without a label. */
export function labelProblems(
  samples: readonly Sample[],
  facts: ReadonlyMap<string, SampleFacts>,
  labels: LabelSpec | null,
): Problem[] {
  if (labels === null) return [];
  const out: Problem[] = [];
  // In a folder of soft masks the few-valued ones are soft as well: crops that hold a sliver of an edge.
  const softFolders = new Set(samples.filter((s) => facts.get(s.id)?.soft === true).map((s) => s.folder));
  for (const s of samples) {
    const own = facts.get(s.id);
    if (own === undefined) continue;
    const note = (severity: Problem['severity'], files: readonly string[], message: string): void => {
      out.push({ kind: 'unexpected-values', severity, files, sampleIds: [s.id], message });
    };
    const masks = s.masks.map((m) => `${s.folderName}/${m.path}`);
    const bad = own.maskValues.filter(([v]) => labelOfValue(v, labels) === null);
    const pixels = bad.reduce((n, [, count]) => n + count, 0);
    if (pixels > 0) {
      const values = bad.slice(0, 5).map(([v]) => v);
      note(
        'warning',
        masks,
        `${pixels} pixels with values the mask reading does not know (${values.join('; ')}): read as background`,
      );
    }
    const lost = lostForeground(own, labels, softFolders.has(s.folder));
    if (lost !== null) note(lost.severity, masks, lost.message);
    const { encoding } = labels;
    if (encoding.kind === 'class' && !encoding.classes.includes(s.className ?? '') && own.foreground > 0) {
      note(
        'error',
        [`${s.folderName}/${s.image.path}`],
        `foreground, but its class (${s.className ?? 'unknown'}) has no label`,
      );
    }
  }
  return out;
}

/**
 * What a threshold does to a mask of several values: all of it background is an error (a 0/1 folder among 0/255 ones would train as
 * empty), part of it worth a look. Soft and JPEG masks are meant to be cut.
 */
function lostForeground(
  own: SampleFacts,
  labels: LabelSpec,
  softFolder: boolean,
): { readonly severity: Problem['severity']; readonly message: string } | null {
  const { encoding } = labels;
  if (own.soft || own.foreground === 0 || own.problems.some((p) => p.kind === 'lossy-mask')) return null;
  if (encoding.kind !== 'threshold' && encoding.kind !== 'class') return null;
  const set = own.maskValues
    .map(([v, n]) => [v.includes(',') ? greyOf(v) : Number(v), n] as const)
    .filter(([v]) => v > 0);
  const below = set.filter(([v]) => v <= encoding.threshold);
  if (below.length === 0) return null;
  const values = below
    .slice(0, 5)
    .map(([v]) => v)
    .sort((a, b) => a - b)
    .join(', ');
  const pixels = below.reduce((n, [, count]) => n + count, 0);
  const all = below.length === set.length;
  if (softFolder && !all) return null;
  return all
    ? {
        severity: softFolder ? 'warning' : 'error',
        message: `the mask holds only values up to the threshold ${encoding.threshold} (${values}): all of it would be background`,
      }
    : {
        severity: 'warning',
        message: `${pixels} pixels of value ${values} are not above the threshold ${encoding.threshold}: read as background`,
      };
}

function append<T>(into: Map<string, T[]>, key: string, item: T): void {
  const own = into.get(key);
  if (own === undefined) into.set(key, [item]);
  else own.push(item);
}

/** Images with equal pixels. Across classes or splits it is worse: a contradiction, a leak. */
function duplicates(
  samples: readonly Sample[],
  facts: ReadonlyMap<string, SampleFacts>,
  split: Split | null,
): Problem[] {
  const byHash = new Map<string, Sample[]>();
  for (const s of samples) {
    const hash = facts.get(s.id)?.imageHash ?? '';
    if (hash !== '') append(byHash, hash, s);
  }
  const where = splitLookup(split);
  const out: Problem[] = [];
  for (const same of byHash.values()) {
    if (same.length < 2) continue;
    const files = same.map((s) => `${s.folderName}/${s.image.path}`);
    const sampleIds = same.map((s) => s.id);
    const classes = new Set(same.map((s) => s.className ?? 'unknown'));
    const splits = new Set(sampleIds.flatMap((id) => where.get(id) ?? []));
    if (splits.size > 1)
      out.push({
        kind: 'duplicate-across-splits',
        severity: 'error',
        files,
        sampleIds,
        message: `the same picture is in ${[...splits].join(' and ')}`,
      });
    else if (classes.size > 1)
      out.push({
        kind: 'duplicate-across-classes',
        severity: 'warning',
        files,
        sampleIds,
        message: `the same picture is ${[...classes].join(' and ')}`,
      });
    else
      out.push({
        kind: 'duplicate',
        severity: 'warning',
        files,
        sampleIds,
        message: `the same picture ${same.length} times`,
      });
  }
  return out;
}

function patientsAcross(samples: readonly Sample[], split: Split | null): Problem[] {
  const where = splitLookup(split);
  const byPatient = new Map<string, Sample[]>();
  for (const s of samples) {
    if (s.group === null || !where.has(s.id)) continue;
    const key = `${s.folderName}/${s.group}`;
    append(byPatient, key, s);
  }
  const out: Problem[] = [];
  for (const [patient, own] of byPatient) {
    const splits = new Set(own.map((s) => where.get(s.id) as SplitName));
    if (splits.size < 2) continue;
    out.push({
      kind: 'patient-across-splits',
      severity: 'warning',
      files: own.map((s) => `${s.folderName}/${s.image.path}`),
      sampleIds: own.map((s) => s.id),
      message: `patient ${patient} is in ${[...splits].join(' and ')}`,
    });
  }
  return out;
}

/** Error-level problems whose samples are still in use: training must not start. */
export function blockingProblems(report: Report, excluded: ReadonlySet<string>): Problem[] {
  return report.problems.filter((p) => p.severity === 'error' && p.sampleIds.some((id) => !excluded.has(id)));
}
