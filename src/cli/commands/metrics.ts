/**
 * @file studio metrics pred_dir=A gt_dir=B output=FILE.csv: any two folders of masks. Imports data names, formats, metrics, Node.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseOverride } from '../../config/overrides';
import type { MetricConvention } from '../../config/types';
import type { Folder } from '../../data/types';
import { decodeImage, toL } from '../../formats/image';
import { stringifyCsv } from '../../formats/csv';
import { UserError } from '../../lib/errors';
import { caseMetrics, metricNames, type CaseMetrics } from '../../metrics/caseMetrics';
import { summarize } from '../../metrics/summary';
import { bar, say, summaryTable } from '../console';
import { openNodeFolder } from '../nodeFolder';
import { pairMasks } from './pairMasks';

const KEYS = ['pred_dir', 'gt_dir', 'output', 'convention'];

async function readMask(
  folder: Folder,
  file: string,
): Promise<{ labels: Uint8Array; width: number; height: number }> {
  const image = await decodeImage(await folder.read(file), `${folder.name}/${file}`);
  const labels = image.mode === 'P' ? (image.data as Uint8Array) : toL(image);
  return { labels, width: image.width, height: image.height };
}

/** Several masks of one image (instances): the largest value of each pixel. */
async function readMasks(folder: Folder, files: readonly string[]): ReturnType<typeof readMask> {
  const [first = '', ...more] = files;
  const joined = await readMask(folder, first);
  for (const file of more) {
    const next = await readMask(folder, file);
    if (next.width !== joined.width || next.height !== joined.height)
      throw new UserError('mask-size', `${file} has another size than ${first}`, { subject: file });
    joined.labels = joined.labels.map((v, i) => Math.max(v, next.labels[i] ?? 0));
  }
  return joined;
}

/** 0/255 (and soft) masks become 0/1; label maps stay. */
function asLabels(masks: readonly Uint8Array[]): Uint8Array[] {
  const largest = masks.reduce((m, a) => a.reduce((x, v) => Math.max(x, v), m), 0);
  return largest > 64 ? masks.map((a) => a.map((v) => (v > 127 ? 1 : 0))) : [...masks];
}

export async function metrics(args: readonly string[]): Promise<number> {
  const given = new Map(args.map(parseOverride).map((o) => [o.key, String(o.value)]));
  for (const key of given.keys())
    if (!KEYS.includes(key))
      throw new UserError('override-invalid', `"${key}" is no key of metrics`, {
        subject: key,
        hint: `Keys: ${KEYS.join(', ')}.`,
      });
  const need = (key: string): string => {
    const value = given.get(key);
    if (value === undefined)
      throw new UserError('config-missing-value', `${key} is missing`, {
        subject: key,
        hint: 'metrics pred_dir=A gt_dir=B output=FILE.csv',
      });
    return value;
  };
  const convention = given.get('convention') ?? 'framework';
  if (convention !== 'framework' && convention !== 'monai')
    throw new UserError('override-invalid', `convention=${convention}: expected framework or monai`, {
      subject: 'convention',
    });
  const prediction = await openNodeFolder(need('pred_dir'), false, 'pred_dir');
  const truth = await openNodeFolder(need('gt_dir'), false, 'gt_dir');
  const { pairs: named, alone } = pairMasks(
    prediction.files.map((f) => f.path),
    truth.files.map((f) => f.path),
  );
  if (named.length === 0)
    throw new UserError('no-pairs', `No name occurs once in both ${prediction.name} and ${truth.name}`, {
      subject: 'pred_dir',
    });
  if (alone.length > 0)
    say(`${alone.length} files have no counterpart and are not compared, e.g. ${alone[0]}`);
  const names = named.map((n) => n.name);
  const pairs: { p: Uint8Array; t: Uint8Array; width: number; height: number }[] = [];
  for (const [i, { name, first, second }] of named.entries()) {
    const p = await readMasks(prediction, first.files);
    const t = await readMasks(truth, second.files);
    if (p.width !== t.width || p.height !== t.height)
      throw new UserError(
        'mask-size',
        `${name}: prediction ${p.width} x ${p.height}, ground truth ${t.width} x ${t.height}`,
        {
          subject: name,
          hint: 'Nothing is resized; evaluation.resolution=original makes a test write predictions at the size of the images.',
        },
      );
    pairs.push({ p: p.labels, t: t.labels, width: p.width, height: p.height });
    bar('reading', i + 1, names.length);
  }
  const ps = asLabels(pairs.map((x) => x.p));
  const ts = asLabels(pairs.map((x) => x.t));
  const classes = [...ps, ...ts].reduce((m, a) => a.reduce((x, v) => Math.max(x, v), m), 1);
  const labels = Array.from({ length: classes }, (_, i) => (classes === 1 ? 'foreground' : `label ${i + 1}`));
  const results = pairs.map((pair, i) => {
    bar('comparing', i + 1, pairs.length);
    return labels.map((_, l) =>
      caseMetrics(ps[i] as Uint8Array, ts[i] as Uint8Array, pair.width, pair.height, l + 1, {
        convention: convention as MetricConvention,
        binary: classes === 1,
      }),
    );
  });
  writeCsv(need('output'), names, labels, results);
  summaryTable(summarize(labels, results), convention, 'at the size of the files');
  say(`${names.length} cases: ${need('output')}`);
  return 0;
}

function writeCsv(
  file: string,
  names: readonly string[],
  labels: readonly string[],
  results: readonly (readonly CaseMetrics[])[],
): void {
  const rows = names.flatMap((name, i) =>
    labels.map((label, l) => [name, label, ...metricNames.map((m) => finite(results[i]?.[l]?.[m]))]),
  );
  mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
  writeFileSync(file, stringifyCsv([['case', 'label', ...metricNames], ...rows], { bom: true }));
}

const finite = (v: number | undefined): number | null => (v !== undefined && Number.isFinite(v) ? v : null);
