/**
 * @file Train, validation and test: by seeded ratio, by the folder, by official folds. Imports config types, lib.
 */
import type { DataConfig } from '../config/types';
import { Random } from '../lib/random';
import { UserError } from '../lib/errors';
import type { Dataset, Sample, SampleFacts, Split, SplitName } from './types';

type Parts = Record<SplitName, string[]>;

export interface SplitOptions {
  readonly excluded?: ReadonlySet<string>;
  /** With facts, equal pictures stay on one side and filter_empty_masks can be obeyed. */
  readonly facts?: ReadonlyMap<string, SampleFacts>;
}

/**
 * Splits the usable samples; samples of test-only folders always go to test.
 * @throws UserError 'split-impossible' saying why.
 */
export function makeSplit(
  dataset: Dataset,
  config: Pick<DataConfig, 'split' | 'filter_empty_masks'>,
  options: SplitOptions = {},
): Split {
  const { excluded = new Set<string>(), facts } = options;
  const empty = (s: Sample): boolean => config.filter_empty_masks && facts?.get(s.id)?.foreground === 0;
  const usable = dataset.samples.filter((s) => !excluded.has(s.id) && !empty(s));
  const own = usable.filter((s) => !s.testOnly);
  const external = usable.filter((s) => s.testOnly).map((s) => s.id);
  if (own.length === 0) {
    throw impossible(
      'there is no sample to train on',
      external.length > 0 ? 'Every folder is marked as test only.' : undefined,
    );
  }
  const method =
    config.split.method === 'auto'
      ? own.every((s) => s.ownSplit !== null) && own.some((s) => s.ownSplit === 'train')
        ? 'folder'
        : 'ratio'
      : config.split.method;
  const notes: string[] = [];
  const parts =
    method === 'folder'
      ? byFolder(own, config.split, notes, facts)
      : method === 'folds'
        ? byFold(own, dataset, config.split, notes, facts)
        : byRatio(own, config.split, notes, facts);
  const given = own.filter((s) => s.ownSplit !== null).length;
  if (method === 'ratio' && given > 0)
    notes.push(
      `${given} of ${own.length} samples lie in train, val or test folders; their own split is not used`,
    );
  if (external.length > 0) notes.push(`${external.length} samples of test-only folders`);
  if (parts.train.length === 0)
    throw impossible(
      'no sample is left to train on',
      method === 'ratio' ? 'Raise data.split.train.' : 'Use data.split.method=ratio.',
    );
  return {
    method,
    seed: config.split.seed,
    train: parts.train,
    val: parts.val,
    test: [...parts.test, ...external],
    notes,
  };
}

function impossible(what: string, hint?: string): UserError {
  return new UserError('split-impossible', `The data cannot be split: ${what}`, {
    subject: 'data.split',
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Samples that must not be separated: a patient's images, and equal pictures. */
function clusters(samples: readonly Sample[], byPatient: boolean, facts: SplitOptions['facts']): Sample[][] {
  const parent = new Map<string, string>();
  const find = (k: string): string => {
    let root = k;
    while (parent.has(root)) root = parent.get(root) as string;
    // Shorten the way for the next: a patient of a thousand frames must not cost a million steps.
    for (let at = k; at !== root;) {
      const next = parent.get(at) as string;
      parent.set(at, root);
      at = next;
    }
    return root;
  };
  const join = (a: string, b: string): void => {
    const [from, to] = [find(a), find(b)];
    if (from !== to) parent.set(from, to);
  };
  for (const s of samples) {
    if (byPatient && s.group !== null) join(s.id, `patient ${s.folderName}/${s.group}`);
    const hash = facts?.get(s.id)?.imageHash;
    if (hash !== undefined && hash !== '') join(s.id, `picture ${hash}`);
  }
  const out = new Map<string, Sample[]>();
  for (const s of samples) append(out, find(s.id), s);
  return [...out.values()];
}

function append<T>(into: Map<string, T[]>, key: string, item: T): void {
  const own = into.get(key);
  if (own === undefined) into.set(key, [item]);
  else own.push(item);
}

/** Class of a cluster: its most frequent one, so that stratification can place it. */
function clusterClass(cluster: readonly Sample[]): string {
  const counts = new Map<string, number>();
  for (const s of cluster) counts.set(s.className ?? '', (counts.get(s.className ?? '') ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0]?.[0] ?? '';
}

function byRatio(
  samples: readonly Sample[],
  config: DataConfig['split'],
  notes: string[],
  facts: SplitOptions['facts'],
): Parts {
  const grouped = config.group && samples.some((s) => s.group !== null);
  const all = clusters(samples, grouped, facts);
  const strata = new Map<string, Sample[][]>();
  for (const c of all) {
    const key = config.stratify ? clusterClass(c) : '';
    append(strata, key, c);
  }
  notes.push(`ratio ${config.train} / ${config.val} / ${config.test}, seed ${config.seed}`);
  if (grouped) notes.push(`patients kept together (${all.length} groups)`);
  if (config.stratify && strata.size > 1) notes.push('stratified by class');
  const parts: Parts = { train: [], val: [], test: [] };
  for (const [key, list] of [...strata].sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
    // Sorted first: the result must not depend on the order of enumeration.
    const sorted = list.slice().sort((a, b) => ((a[0] as Sample).id < (b[0] as Sample).id ? -1 : 1));
    distribute(new Random('split', config.seed, key).shuffled(sorted), config, parts);
  }
  keepValidation(parts, all, config);
  notes.push(...leftOut(config));
  return parts;
}

const leftOut = (config: DataConfig['split']): string[] =>
  config.val === 0 ? ['no validation: the last epoch counts as best'] : [];

/** Each cluster goes where most samples are missing against the shares. */
function distribute(list: readonly Sample[][], config: DataConfig['split'], parts: Parts): void {
  const total = list.reduce((n, c) => n + c.length, 0);
  const have: Record<SplitName, number> = { train: 0, val: 0, test: 0 };
  for (const cluster of list) {
    const missing = (name: SplitName): number => config[name] * total - have[name];
    const order = (['train', 'val', 'test'] as const)
      .filter((n) => config[n] > 0)
      .sort((a, b) => missing(b) - missing(a));
    const target = order[0] ?? 'train';
    have[target] += cluster.length;
    parts[target].push(...cluster.map((s) => s.id));
  }
}

/** Very small sets: one cluster moves from train to validation rather than having none. */
function keepValidation(parts: Parts, all: readonly Sample[][], config: DataConfig['split']): void {
  if (config.val === 0 || parts.val.length > 0) return;
  const inTrain = new Set(parts.train);
  const movable = all.filter((c) => c.every((s) => inTrain.has(s.id))).sort((a, b) => a.length - b.length);
  const [smallest] = movable;
  if (smallest === undefined || movable.length < 2)
    throw impossible(
      'there are too few samples for a validation split',
      'Add images, or set data.split.val=0 and data.split.train accordingly.',
    );
  const moved = new Set(smallest.map((s) => s.id));
  parts.val.push(...moved);
  parts.train = parts.train.filter((id) => !moved.has(id));
}

function byFolder(
  samples: readonly Sample[],
  config: DataConfig['split'],
  notes: string[],
  facts: SplitOptions['facts'],
): Parts {
  const without = samples.filter((s) => s.ownSplit === null);
  if (without.length > 0)
    throw impossible(
      `${without.length} samples lie in no train, val or test folder (${(without[0] as Sample).id})`,
      'Use data.split.method=ratio.',
    );
  const of = (name: SplitName): string[] => samples.filter((s) => s.ownSplit === name).map((s) => s.id);
  const parts: Parts = { train: of('train'), val: of('val'), test: of('test') };
  notes.push("the folder's own split");
  cutValidation(parts, samples, config, notes, facts, 'no val folder');
  return parts;
}

/** A given split without validation (TN3K, nnU-Net: train and test alone): it is cut from train; the test set stays untouched. */
function cutValidation(
  parts: Parts,
  samples: readonly Sample[],
  config: DataConfig['split'],
  notes: string[],
  facts: SplitOptions['facts'],
  why: string,
): void {
  if (parts.val.length > 0 || config.val === 0 || parts.train.length === 0) return;
  const share = config.val / (config.train + config.val);
  const inTrain = new Set(parts.train);
  const cut = byRatio(
    samples.filter((s) => inTrain.has(s.id)),
    { ...config, train: 1 - share, val: share, test: 0 },
    [],
    facts,
  );
  parts.train = cut.train;
  parts.val = cut.val;
  notes.push(`${why}: ${parts.val.length} of train taken, seed ${config.seed}`);
}

function byFold(
  samples: readonly Sample[],
  dataset: Dataset,
  config: DataConfig['split'],
  notes: string[],
  facts: SplitOptions['facts'],
): Parts {
  const table =
    config.fold_file === null
      ? dataset.foldTables[0]
      : dataset.foldTables.find((t) => t.file === config.fold_file);
  if (table === undefined) {
    const known = dataset.foldTables.map((t) => t.file).join(', ');
    throw impossible(
      `there is no fold file${config.fold_file === null ? '' : ` "${config.fold_file}"`}`,
      known === '' ? 'Use data.split.method=ratio.' : `Found: ${known}.`,
    );
  }
  if (config.fold > table.folds)
    throw impossible(`"${table.file}" has ${table.folds} folds, data.split.fold is ${config.fold}`);
  const parts: Parts = { train: [], val: [], test: [] };
  let unassigned = 0;
  for (const s of samples) {
    const name = table.assignment[s.id]?.[config.fold - 1] ?? null;
    if (name === null) unassigned++;
    else parts[name].push(s.id);
  }
  notes.push(`fold ${config.fold} of ${table.folds} in ${table.file}`);
  if (unassigned > 0) notes.push(`${unassigned} samples are not in the file and are not used`);
  cutValidation(parts, samples, config, notes, facts, 'no validation in this fold');
  return parts;
}
