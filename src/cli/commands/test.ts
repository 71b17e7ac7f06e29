/**
 * @file studio test: a checkpoint on a folder; numbers, cases, predictions. Imports training, models, formats, Node.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { configFiles } from '../../config/files';
import { parseOverride } from '../../config/overrides';
import { overridesFor, resolveConfig } from '../../config/resolve';
import type { StudioConfig } from '../../config/types';
import { readTensorsFile } from '../../formats/checkpointFile';
import type { TensorMap } from '../../formats/tensor';
import { startBackend } from '../../gpu/backend';
import { UserError } from '../../lib/errors';
import { fitTensors } from '../../models/load';
import { getModel } from '../../models/registry';
import { resolveOutChannels } from '../../nn/losses';
import { evaluateModel, type Evaluation } from '../../training/evaluate';
import { describedWeights } from '../../training/exportWeights';
import { testFiles } from '../../training/runFolder';
import { bar, say, summaryTable } from '../console';
import { nodePlatform } from '../nodePlatform';
import { openData, type OpenData } from '../openData';
import { writeFiles } from '../runRecorder';

/** Keys of the training that say nothing about a test of its weights. */
const LEFT_BEHIND = /^(data|output_dir|resume|checkpoint|mode|hardware)\b/;

/** Kept when one split is tested: the same cases as in the training. */
const SPLIT_KEYS = /^data\.(split\.|exclude|on_problem|filter_empty_masks)/;

export interface TestRequest {
  readonly config: StudioConfig;
  readonly weights: TensorMap;
  readonly data: OpenData;
  readonly ids: readonly string[];
  readonly out: string;
  readonly title: string;
}

/** Evaluates, prints the summary, writes cases.csv, summary.json and predictions/. */
export async function testWeights({
  config,
  weights,
  data,
  ids,
  out,
  title,
}: TestRequest): Promise<Evaluation> {
  const wanted = new Set(ids);
  const samples = data.dataset.samples.filter((s) => wanted.has(s.id));
  const result = await evaluateModel({
    config,
    weights,
    labels: data.labels,
    samples,
    reader: data.reader,
    onCase: (_, done, total) => bar('testing', done, total),
  });
  say(`Test: ${title}`);
  const { convention, resolution } = config.evaluation;
  summaryTable(
    result.summary,
    convention,
    resolution === 'model' ? `at ${config.model.image_size} px` : 'at original size',
  );
  writeFiles(
    out,
    testFiles({ title, config, labels: data.labels, cases: result.cases, summary: result.summary }),
  );
  return result;
}

/** test checkpoint=FILE data=folder data.root=PATH output_dir=OUT [split=test]. */
export async function test(overrides: readonly string[]): Promise<number> {
  const own = overrides.filter((o) => !o.startsWith('split='));
  const part = overrides.find((o) => o.startsWith('split='))?.slice(6) ?? 'all';
  if (!['all', 'train', 'val', 'test'].includes(part))
    throw new UserError('override-invalid', `split=${part}: expected all, train, val or test`, {
      subject: 'split',
    });
  const file = own.map(parseOverride).find((o) => o.key === 'checkpoint')?.value;
  if (typeof file !== 'string')
    throw new UserError('config-missing-value', 'checkpoint is missing: the weights to test', {
      subject: 'checkpoint',
      hint: 'Add checkpoint=FILE.',
    });
  if (!existsSync(file))
    throw new UserError('file-missing', `checkpoint=${file}: there is no such file`, { subject: file });
  const { tensors, metadata } = readTensorsFile(new Uint8Array(readFileSync(file)), path.basename(file));
  const described = describedWeights(metadata, path.basename(file));
  if (described === null && !own.some((o) => parseOverride(o).key === 'model'))
    throw new UserError(
      'config-missing-value',
      `${file} does not say which model it is of: model is missing`,
      {
        subject: 'model',
        hint: 'Add model=..., e.g. model=tinyusfm (see the command list).',
      },
    );
  // A studio file brings its configuration; what is typed goes over it. Data choices are this test's own.
  const kept =
    described === null
      ? []
      : overridesFor(configFiles, 'train', described.config, 'folder').filter(
          (o) => !LEFT_BEHIND.test(o) || (part !== 'all' && SPLIT_KEYS.test(o)),
        );
  const normalization =
    described === null ? [] : [`data.normalization=${described.config.data.normalization}`];
  const config = resolveConfig(configFiles, 'train', [...kept, ...normalization, ...own]).config;
  const device = await startBackend(config.hardware.backend, nodePlatform, config.hardware.threads);
  say(`Device: ${device.name}. ${device.reason}`);
  const model = getModel(config.model.name);
  const fitted = fitTensors(
    model,
    model.architecture(config.model, resolveOutChannels(config)),
    tensors,
    path.basename(file),
  );
  const lacking = [...fitted.report.missing, ...fitted.report.mismatched.map((m) => m.name)].filter(
    (n) => !n.endsWith('num_batches_tracked'),
  );
  if (lacking.length > 0)
    throw new UserError(
      'weights-incomplete',
      `${file} lacks ${lacking.length} tensors of ${config.model.name} (${lacking[0]})`,
      { subject: file, hint: 'Give the model it was trained as: model=..., model.num_classes=...' },
    );
  const asked = own.some((o) => o.startsWith('data.label_mode') || o.startsWith('data.threshold'));
  const data = await openData(config, {
    testOnly: part === 'all',
    ...(described === null || asked ? {} : { labels: described.labels }),
  });
  const ids = part === 'all' ? data.split.test : data.split[part as 'test'];
  if (ids.length === 0) throw new UserError('no-cases', `split=${part} has no cases`, { subject: 'split' });
  const out = config.output_dir ?? path.join('logs', 'test', path.basename(file));
  await testWeights({
    config,
    weights: fitted.tensors,
    data,
    ids,
    out,
    title: `${path.basename(file)} on ${data.dataset.name} (${part}), ${ids.length} cases`,
  });
  say(`Results: ${out}`);
  return 0;
}
