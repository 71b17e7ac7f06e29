/**
 * @file The data of a command: folders to data set, inspection, labels, split. Imports data, config.
 */
import type { StudioConfig } from '../config/types';
import { inspectSample } from '../data/check';
import { buildDataset } from '../data/dataset';
import { inferLabels } from '../data/labels';
import { phantomFolder } from '../data/phantom';
import { createReader, folderReader } from '../data/reader';
import { blockingProblems, buildReport, type Report } from '../data/report';
import { makeSplit } from '../data/split';
import type { Dataset, Folder, LabelSpec, SampleFacts, SampleReader, Split } from '../data/types';
import { UserError } from '../lib/errors';
import { bar, say } from './console';
import { openNodeFolder } from './nodeFolder';

export interface OpenData {
  readonly dataset: Dataset;
  readonly labels: LabelSpec;
  readonly split: Split;
  readonly report: Report;
  readonly reader: SampleReader;
}

const list = (roots: string | readonly string[] | null): readonly string[] =>
  roots === null ? [] : typeof roots === 'string' ? [roots] : roots;

async function openFolders(config: StudioConfig): Promise<Folder[]> {
  if (config.data.name === 'phantom') return [phantomFolder({ ...config.data.phantom, name: 'Phantom' })];
  const roots = list(config.data.root);
  if (roots.length === 0 && list(config.data.test_root).length === 0) {
    throw new UserError('config-missing-value', 'data.root is missing: the folder of images and masks', {
      subject: 'data.root',
      hint: 'Add data.root=PATH, or data=phantom to try without data.',
    });
  }
  const open = (paths: readonly string[], testOnly: boolean, key: string): Promise<Folder>[] =>
    paths.map((p) => openNodeFolder(p, testOnly, key));
  return Promise.all([
    ...open(roots, false, 'data.root'),
    ...open(list(config.data.test_root), true, 'data.test_root'),
  ]);
}

/** @param labels overrides what the masks suggest (a checkpoint's labels). @param testOnly no split: every sample is a test case. */
export async function openData(
  config: StudioConfig,
  options: { readonly labels?: LabelSpec; readonly testOnly?: boolean } = {},
): Promise<OpenData> {
  const folders = await openFolders(config);
  const dataset = await buildDataset(folders);
  if (dataset.samples.length === 0) {
    throw new UserError(
      'no-samples',
      `No image with a mask was found in ${folders.map((f) => f.name).join(', ')}`,
      { subject: 'data.root', hint: 'Expected pairs like images/a.png + masks/a.png or a.png + a_mask.png.' },
    );
  }
  const read = folderReader(folders);
  const facts = new Map<string, SampleFacts>();
  for (const [i, sample] of dataset.samples.entries()) {
    facts.set(sample.id, await inspectSample(sample, read));
    bar('checking', i + 1, dataset.samples.length);
  }
  const inferred =
    options.labels === undefined
      ? inferLabels(dataset, facts, config.data)
      : { labels: options.labels, reason: 'The mask reading of the checkpoint.' };
  const excluded = new Set(config.data.exclude);
  const first = buildReport(dataset, facts, inferred.labels, null);
  const blocking = blockingProblems(first, excluded);
  if (blocking.length > 0 && config.data.on_problem === 'block') {
    for (const p of blocking) say(`${p.files[0]}: ${p.message}`);
    throw new UserError('data-blocked', `${blocking.length} samples cannot be used (listed above)`, {
      subject: blocking[0]?.files[0] ?? 'data',
      hint: 'Mend the files, or set data.on_problem=exclude to leave them out.',
    });
  }
  for (const p of blocking) {
    say(`left out: ${p.files[0]}: ${p.message}`);
    for (const id of p.sampleIds) excluded.add(id);
  }
  const usable = dataset.samples.filter((s) => !excluded.has(s.id));
  const split: Split =
    options.testOnly === true
      ? {
          method: 'folder',
          seed: 0,
          train: [],
          val: [],
          test: usable.map((s) => s.id),
          notes: ['all samples'],
        }
      : makeSplit(dataset, config.data, { excluded, facts });
  const report = buildReport(dataset, facts, inferred.labels, split);
  say(
    `${dataset.name}: ${dataset.samples.length} samples (${dataset.folders.map((f) => f.convention).join(', ')}). ${inferred.reason}`,
  );
  const kinds = new Map<string, number>();
  for (const p of report.problems) if (p.severity !== 'info') kinds.set(p.kind, (kinds.get(p.kind) ?? 0) + 1);
  if (kinds.size > 0) say(`Findings: ${[...kinds].map(([k, n]) => `${n} ${k}`).join(', ')}`);
  say(
    `Split: ${split.train.length} train, ${split.val.length} validation, ${split.test.length} test (${split.notes.join('; ')})`,
  );
  return {
    dataset,
    labels: inferred.labels,
    split,
    report,
    reader: createReader(folders, dataset.samples, inferred.labels),
  };
}

/** The config with as many classes as the masks have; says so when that changes it. */
export function alignClasses(config: StudioConfig, labels: LabelSpec): StudioConfig {
  const classes = labels.names.length;
  if (classes === config.model.num_classes) return config;
  const sigmoid = config.loss.name === 'bce' || config.loss.name === 'bce_dice';
  const name = classes > 2 && sigmoid ? 'ce_dice' : config.loss.name;
  say(
    `The masks have ${classes} classes: model.num_classes=${classes}${name === config.loss.name ? '' : `, loss.name=${name}`}`,
  );
  return { ...config, model: { ...config.model, num_classes: classes }, loss: { ...config.loss, name } };
}
