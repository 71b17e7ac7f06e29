/**
 * @file Checks the numeric cases that need no weights: schedules, metrics, preprocess (format: cases/README.md). Rows as
 * `models/verifyCase.ts` gives them. Used by `studio verify` and the tests. Imports data, formats, metrics, models, nn.
 */
import { resizeBilinear, resizeNearest, resizeRgba } from '../data/resize';
import { decodeImage, toL, toRGB } from '../formats/image';
import type { RasterImage } from '../formats/image.types';
import { sha256 } from '../lib/bytes';
import { UserError } from '../lib/errors';
import { caseMetrics, metricNames } from '../metrics/caseMetrics';
import { getModel } from '../models/registry';
import type { CaseQuantity } from '../models/verifyCase';
import { plateauStart, plateauStep, warmupPoly } from '../nn/schedules';

/** The files of one case folder. */
export interface CaseFolder {
  readonly names: readonly string[];
  read(name: string): Promise<Uint8Array>;
}

type Json = Readonly<Record<string, unknown>>;

const SCHEDULE_BOUND = 1e-9; // float64 formulas; the tables are printed in full
const METRIC_BOUND = 1e-9;

/** Rows of a schedules, metrics or preprocess case; null when the folder holds none of them. */
export async function verifyTables(folder: CaseFolder): Promise<CaseQuantity[] | null> {
  if (folder.names.includes('case.json')) {
    const description = await json(folder, 'case.json');
    return description['model'] === 'preprocess' ? verifyPreprocess(folder, description) : null;
  }
  if (!folder.names.includes('expected.json')) return null;
  const expected = await json(folder, 'expected.json');
  if (Object.keys(expected).some((key) => key.startsWith('warmupPoly'))) return verifySchedules(expected);
  if (Array.isArray(expected['cases']) && folder.names.includes('00_gt.png')) {
    return verifyMetrics(folder, expected['cases'] as MetricCase[]);
  }
  return null;
}

async function json(folder: CaseFolder, name: string): Promise<Json> {
  try {
    const value = JSON.parse(new TextDecoder().decode(await folder.read(name))) as unknown;
    if (typeof value === 'object' && value !== null) return value as Json;
    throw new Error('not an object');
  } catch (cause) {
    throw new UserError('case-incomplete', `${name} of the case cannot be read`, { subject: name, cause });
  }
}

/** |a - b| / max |b| over two lists; NaN when their lengths differ. */
function listError(ours: readonly number[], expected: readonly number[]): number {
  if (ours.length !== expected.length) return Number.NaN;
  const scale = Math.max(...expected.map(Math.abs), Number.MIN_VALUE);
  return Math.max(...ours.map((v, i) => Math.abs(v - (expected[i] as number)) / scale));
}

const row = (quantity: string, relativeError: number, bound: number): CaseQuantity => ({
  quantity,
  relativeError,
  bound,
  pass: relativeError <= bound,
});

/** "warmup=5 epochs=50 base=0.0001" as numbers. */
function settingsOf(key: string): (name: string) => number {
  const found = new Map([...key.matchAll(/(\w+)=([\d.e+-]+)/g)].map((m) => [m[1], Number(m[2])]));
  return (name) => found.get(name) ?? Number.NaN;
}

function verifySchedules(expected: Json): CaseQuantity[] {
  const rows: CaseQuantity[] = [];
  for (const [key, value] of Object.entries(expected)) {
    const p = settingsOf(key);
    if (key.startsWith('warmupPoly')) {
      const table = value as number[];
      const settings = { warmup: p('warmup'), epochs: p('epochs'), base: p('base'), end: p('end'), power: p('power') }; // prettier-ignore
      rows.push(row(key, listError(table.map((_, epoch) => warmupPoly(epoch, settings)), table), SCHEDULE_BOUND)); // prettier-ignore
    } else if (key.startsWith('reduceOnPlateau')) {
      const { metrics, lr } = value as { metrics: number[]; lr: number[] };
      let state = plateauStart(p('start'));
      const settings = { factor: p('factor'), patience: p('patience'), threshold: p('threshold'), cooldown: p('cooldown'), min_lr: p('minLr') }; // prettier-ignore
      const ours = metrics.map((metric) => {
        state = plateauStep(state, metric, settings);
        return state.lr;
      });
      rows.push(row(key, listError(ours, lr), SCHEDULE_BOUND));
    } else if (key.startsWith('tinyusfm')) {
      rows.push(typeof value === 'number' ? verifyCount(key, value) : verifyTinyUsfm(key, value as Json));
    } else {
      rows.push(row(`${key} (unknown to this version)`, Number.NaN, 0));
    }
  }
  return rows;
}

/** As published: what the tables of names and layer-wise rates are about. */
const TINYUSFM = {
  image_size: 224, embed_dim: 192, depth: 12, heads: 12, patch_size: 16, mlp_ratio: 4, out_indices: [3, 5, 7, 11],
  neck_channels: 48, head_channels: 128, drop_path: 0.1, dropout: 0.1, layer_norm_eps: 1e-6,
}; // prettier-ignore

/** Elements of all trainable tensors of the published model for two classes (one logit). */
function verifyCount(key: string, expected: number): CaseQuantity {
  const model = getModel('tinyusfm');
  const count = model
    .parameters(model.architecture(TINYUSFM, 1))
    .filter((spec) => spec.kind === 'parameter')
    .reduce((sum, spec) => sum + spec.shape.reduce((a, b) => a * b, 1), 0);
  return row(key, Math.abs(count - expected) / expected, 0);
}

function verifyTinyUsfm(key: string, table: Json): CaseQuantity {
  const model = getModel('tinyusfm');
  const names = Object.keys(table);
  const architecture = model.architecture(TINYUSFM, 1);
  const specs = new Map(model.parameters(architecture).map((spec) => [spec.name, spec]));
  const decay = /layer decay ([\d.]+) base ([\d.e+-]+)/.exec(key);
  let worst = 0;
  for (const name of names) {
    const spec = specs.get(name);
    if (spec === undefined) return row(`${key}: no "${name}" in our model`, Number.NaN, 0);
    if (decay === null) {
      worst = Math.max(worst, spec.shape.join() === String(table[name]) ? 0 : 1);
    } else {
      const layersAbove = model.layerCount(architecture) - model.layerId(architecture, name);
      const ours = Number(decay[2]) * Number(decay[1]) ** layersAbove;
      worst = Math.max(worst, Math.abs(ours / (table[name] as number) - 1));
    }
  }
  const extra = decay === null && names.length !== specs.size ? Number.NaN : worst;
  return row(`${key} (${names.length} tensors)`, extra, decay === null ? 0 : SCHEDULE_BOUND);
}

type MetricCase = Readonly<Record<string, unknown>> & {
  readonly i: number;
  readonly spacing: [number, number];
};

async function verifyMetrics(folder: CaseFolder, cases: readonly MetricCase[]): Promise<CaseQuantity[]> {
  const errors = new Map<string, number>();
  for (const one of cases) {
    const stem = String(one.i).padStart(2, '0');
    const mask = async (kind: string): Promise<{ data: Uint8Array; width: number; height: number }> => {
      const name = `${stem}_${kind}.png`;
      const image = await decodeImage(await folder.read(name), name);
      return { ...image, data: toL(image).map((v) => (v > 0 ? 1 : 0)) };
    };
    const [p, t] = [await mask('pred'), await mask('gt')];
    const options = { convention: 'framework', binary: true, spacing: one.spacing } as const;
    const ours = caseMetrics(p.data, t.data, t.width, t.height, 1, options);
    for (const metric of metricNames) {
      const expected = one[metric];
      if (typeof expected !== 'number') continue;
      const error = Math.abs(ours[metric] - expected) / Math.max(1, Math.abs(expected));
      const before = errors.get(metric) ?? 0;
      errors.set(metric, error <= before ? before : error); // takes over NaN
    }
  }
  return [...errors].map(([metric, error]) => row(`${metric} (${cases.length} pairs)`, error, METRIC_BOUND));
}

interface PreparedImage {
  readonly file: string;
  readonly sha256?: string;
  readonly expected: readonly {
    readonly file: string;
    readonly steps: readonly string[];
    readonly sha256: string;
  }[];
}

async function verifyPreprocess(folder: CaseFolder, description: Json): Promise<CaseQuantity[]> {
  const rows: CaseQuantity[] = [];
  for (const { file, expected } of description['images'] as readonly PreparedImage[]) {
    const input = await decodeImage(await folder.read(file), file);
    for (const result of expected) {
      let image = input;
      for (const step of result.steps) image = prepare(image, step);
      // Equal byte for byte, or not at all.
      const same = (await sha256(image.data as Uint8Array)) === result.sha256;
      rows.push(row(`${result.file}: ${result.steps.join(', ')}`, same ? 0 : Number.NaN, 0));
    }
  }
  return rows;
}

/** One step as Pillow does it: "convert L", "resize 48 32 BILINEAR". Modes P and 1 are always resized with nearest. */
function prepare(image: RasterImage, step: string): RasterImage {
  const [what, first = '', second = '', filter = ''] = step.split(' ');
  if (what === 'convert') return convert(image, first);
  const [width, height] = [Number(first), Number(second)];
  const data = image.data as Uint8Array;
  const { width: w, height: h, mode } = image;
  const channels = data.length / (w * h);
  const nearest = filter === 'NEAREST' || mode === 'P' || mode === '1';
  if (nearest) return { ...image, width, height, data: resizeNearest(data, w, h, channels, width, height) };
  if (mode === 'RGBA') return { ...image, width, height, data: resizeRgba(data, w, h, width, height) };
  return { ...image, width, height, data: resizeBilinear(data, w, h, channels, width, height) };
}

function convert(image: RasterImage, mode: string): RasterImage {
  if (mode === 'L') return { ...image, mode, data: toL(image) };
  const rgb = toRGB(image);
  if (mode === 'RGB') return { ...image, mode, data: rgb };
  const data = new Uint8Array((rgb.length / 3) * 4);
  for (let i = 0; i < rgb.length / 3; i++) {
    data.set(rgb.subarray(i * 3, i * 3 + 3), i * 4);
    const entry = image.mode === 'P' ? image.palette?.[(image.data[i] as number) * 4 + 3] : undefined;
    data[i * 4 + 3] = entry ?? 255;
  }
  return { ...image, mode: 'RGBA', data };
}
