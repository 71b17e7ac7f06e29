/**
 * @file studio metrics pred_dir=A gt_dir=B output=FILE.csv: any two folders of masks. Imports data names, formats, metrics, Node.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseOverride } from '../../config/overrides';
import type { MetricConvention } from '../../config/types';
import { isJunk, kindOf, placeOf, withoutMaskSuffix } from '../../data/names';
import type { Folder } from '../../data/types';
import { decodeImage, toL } from '../../formats/image';
import { stringifyCsv } from '../../formats/csv';
import { UserError } from '../../lib/errors';
import { caseMetrics, metricNames, type CaseMetrics } from '../../metrics/caseMetrics';
import { summarize } from '../../metrics/summary';
import { bar, say, summaryTable } from '../console';
import { openNodeFolder } from '../nodeFolder';

const KEYS = ['pred_dir', 'gt_dir', 'output', 'convention'];

/** Masks by name: the stem without a mask suffix, so that "a.png" finds "a_mask.png". */
function masksOf(folder: Folder): Map<string, string> {
  const out = new Map<string, string>();
  for (const f of folder.files) {
    const place = placeOf(f.path);
    if (isJunk(f.path) || kindOf(place) !== 'picture') continue;
    const key = withoutMaskSuffix(place.stem) ?? place.stem;
    // Equal names in subfolders are told apart by their folders.
    out.set(out.has(key) ? [...place.dirs, key].join('/') : key, f.path);
  }
  return out;
}

async function readMask(
  folder: Folder,
  file: string,
): Promise<{ labels: Uint8Array; width: number; height: number }> {
  const image = await decodeImage(await folder.read(file), `${folder.name}/${file}`);
  const labels = image.mode === 'P' ? (image.data as Uint8Array) : toL(image);
  return { labels, width: image.width, height: image.height };
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
  const predictions = masksOf(prediction);
  const truths = masksOf(truth);
  const names = [...predictions.keys()].filter((k) => truths.has(k)).sort();
  if (names.length === 0)
    throw new UserError('no-pairs', `No name occurs in both ${prediction.name} and ${truth.name}`, {
      subject: 'pred_dir',
    });
  const alone = predictions.size + truths.size - 2 * names.length;
  if (alone > 0) say(`${alone} files have no counterpart and are not compared`);
  const pairs: { name: string; p: Uint8Array; t: Uint8Array; width: number; height: number }[] = [];
  for (const [i, name] of names.entries()) {
    const p = await readMask(prediction, predictions.get(name) as string);
    const t = await readMask(truth, truths.get(name) as string);
    if (p.width !== t.width || p.height !== t.height)
      throw new UserError(
        'mask-size',
        `${name}: prediction ${p.width} x ${p.height}, ground truth ${t.width} x ${t.height}`,
        { subject: name, hint: 'Both must have one size; nothing is resized.' },
      );
    pairs.push({ name, p: p.labels, t: t.labels, width: p.width, height: p.height });
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
