/**
 * @file The run folder a user takes home, as paths and bytes. Imports config, formats, metrics.
 * Conventions: design.md "Contracts", reference/peers.md section 4.1 (nnU-Net's summary keys, a `step` column first in metrics.csv).
 */
import type { StudioConfig } from '../config/types';
import { configText } from '../config/resolve';
import type { LabelSpec, Split } from '../data/types';
import { stringifyCsv } from '../formats/csv';
import { writePng } from '../formats/png';
import { eventFileName, fileVersionEvent, scalarEvent } from '../formats/tfevents';
import { concatBytes } from '../lib/bytes';
import { definitions } from '../metrics/definitions';
import { metricNames, type MetricName } from '../metrics/caseMetrics';
import type { SummaryRow } from '../metrics/summary';
import type { CaseEvaluation } from './evaluate';
import type { EpochMetrics, StepRecord } from './types';
import type { DeviceInfo } from '../gpu/device';

export interface FolderFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface RunDescription {
  readonly name: string;
  readonly config: StudioConfig;
  readonly labels: LabelSpec;
  readonly split: Split;
  readonly device: DeviceInfo | null;
  readonly version: string;
  readonly startedAt: number; // ms since 1970
  readonly epochs: readonly {
    readonly epoch: number;
    readonly step: number;
    readonly metrics: EpochMetrics;
  }[];
  readonly steps: readonly StepRecord[];
  readonly log: readonly { readonly level: string; readonly message: string; readonly at: number }[];
  readonly best: { readonly epoch: number; readonly dice: number } | null;
}

/** What a test adds to a run folder. */
export interface TestDescription {
  readonly title: string;
  readonly config: StudioConfig; // its evaluation settings were used
  readonly labels: LabelSpec;
  readonly cases: readonly CaseEvaluation[];
  readonly summary: readonly SummaryRow[];
}

const utf8 = new TextEncoder();
const text = (path: string, content: string): FolderFile => ({ path, bytes: utf8.encode(content) });
const json = (path: string, value: unknown): FolderFile => text(path, `${JSON.stringify(value, null, 2)}\n`);
/** JSON and CSV have no NaN. */
const orNull = (v: number): number | null => (Number.isFinite(v) ? v : null);

/** logs/{model}/{dataset}/{train_type}/{timestamp}: the framework's layout; parts are made safe for file systems. */
export function runFolderPath(config: StudioConfig, datasetName: string, startedAt: number): string {
  const safe = (part: string): string => part.replaceAll(/[^\w.+-]+/g, '_').slice(0, 80) || 'run';
  const stamp = new Date(startedAt).toISOString().slice(0, 19).replace('T', '_').replaceAll(':', '-');
  return `logs/${safe(config.model.name)}/${safe(datasetName)}/${safe(config.task.type)}/${stamp}`;
}

/** Everything of a run but its weights (`exportWeights.ts`) and tests (`testFiles`). */
export function runFiles(run: RunDescription): FolderFile[] {
  return [
    text('config.yaml', configText(run.config)),
    text('metrics.csv', metricsCsv(run.epochs)),
    text(
      'training.log',
      run.log.map((l) => `${new Date(l.at).toISOString()} ${l.level.toUpperCase()} ${l.message}`).join('\n') +
        '\n',
    ),
    json('environment.json', {
      studio: run.version,
      startedAt: new Date(run.startedAt).toISOString(),
      device: run.device,
      seed: run.config.seed,
    }),
    json('splits.json', [
      {
        train: run.split.train,
        val: run.split.val,
        test: run.split.test,
        method: run.split.method,
        notes: run.split.notes,
      },
    ]),
    { path: `tensorboard/${eventFileName(run.startedAt / 1000)}`, bytes: eventFile(run) },
    text('README.md', readme(run)),
  ];
}

/** One row per epoch; columns: step, epoch, then every metric that occurs. */
export function metricsCsv(epochs: RunDescription['epochs']): string {
  const keys = [...new Set(epochs.flatMap((e) => Object.keys(e.metrics)))];
  const rows = epochs.map((e) => [e.step, e.epoch, ...keys.map((k) => orNull(e.metrics[k] ?? Number.NaN))]);
  return stringifyCsv([['step', 'epoch', ...keys], ...rows]);
}

function eventFile(run: RunDescription): Uint8Array {
  const start = run.startedAt / 1000;
  const parts = [fileVersionEvent(start)];
  let time = start;
  for (const s of run.steps) {
    time += s.stepMs / 1000;
    parts.push(
      scalarEvent('step/loss', s.step, s.loss, time),
      scalarEvent('step/lr', s.step, s.lr, time),
      scalarEvent('time/step_ms', s.step, s.stepMs, time),
    );
  }
  for (const e of run.epochs) {
    for (const [tag, value] of Object.entries(e.metrics)) {
      if (Number.isFinite(value)) parts.push(scalarEvent(tag, e.step, value, time));
    }
  }
  return concatBytes(parts);
}

/** cases.csv, summary.json and predictions/*.png of a test. */
export function testFiles(test: TestDescription): FolderFile[] {
  return [
    { path: 'cases.csv', bytes: casesCsv(test.cases) },
    json('summary.json', summaryJson(test)),
    ...predictionFiles(test.cases, test.config.evaluation.threshold),
  ];
}

/** One row per case and label, UTF-8 with BOM so that spreadsheet programs read names right. */
export function casesCsv(
  cases: readonly Pick<CaseEvaluation, 'id' | 'folderName' | 'className' | 'perLabel'>[],
): Uint8Array {
  const counts = ['tp', 'fp', 'fn', 'tn', 'areaPrediction', 'areaTruth'];
  const header = ['case', 'folder', 'class', 'label', ...metricNames, ...counts];
  const rows = cases.flatMap((c) =>
    c.perLabel.map((l) => [
      c.id,
      c.folderName,
      c.className ?? '',
      l.name,
      ...[...metricNames, ...counts].map((k) => orNull(l.metrics[k] ?? Number.NaN)),
    ]),
  );
  return utf8.encode(stringifyCsv([header, ...rows], { bom: true }));
}

/** nnU-Net's keys (metric_per_case, mean, foreground_mean), with the definitions that were used. */
function summaryJson(test: TestDescription): unknown {
  const { convention, resolution, threshold } = test.config.evaluation;
  const meanOf = (label: string): Record<string, unknown> =>
    Object.fromEntries(
      test.summary
        .filter((r) => r.label === label)
        .map((r) => [r.metric, { mean: orNull(r.mean), std: orNull(r.std), n: r.n }]),
    );
  const names = test.labels.names.slice(1);
  return {
    title: test.title,
    convention,
    compared_at:
      resolution === 'model' ? `network input size (${test.config.model.image_size} px)` : 'original size',
    threshold,
    definitions: Object.fromEntries(
      metricNames.map((m: MetricName) => [
        m,
        `${definitions[m].formula}; ${definitions[m].empty[convention]}`,
      ]),
    ),
    metric_per_case: test.cases.map((c) => ({
      reference_file: c.id,
      prediction_file: predictionPath(c.id),
      metrics: Object.fromEntries(
        c.perLabel.map((l) => [
          String(l.label),
          Object.fromEntries(Object.entries(l.metrics).map(([k, v]) => [k, orNull(v)])),
        ]),
      ),
    })),
    mean: Object.fromEntries(names.map((name, i) => [String(i + 1), meanOf(name)])),
    foreground_mean: meanOf(names.length > 1 ? 'foreground mean' : (names[0] as string)),
  };
}

function predictionPath(id: string): string {
  return `predictions/${id.replaceAll(/[\\:*?"<>|]/g, '_')}.png`;
}

/** 8-bit label maps named as the images. */
export function predictionFiles(
  cases: readonly Pick<CaseEvaluation, 'id' | 'prediction' | 'kind' | 'width' | 'height'>[],
  threshold: number,
): FolderFile[] {
  return cases.map((c) => ({
    path: predictionPath(c.id),
    bytes: writePng({ width: c.width, height: c.height, mode: 'L', data: labelMap(c, threshold) }),
  }));
}

/** Label indices of a stored prediction; probabilities are stored as p x 255, rounded. */
export function labelMap(c: Pick<CaseEvaluation, 'prediction' | 'kind'>, threshold: number): Uint8Array {
  return c.kind === 'labels' ? c.prediction : c.prediction.map((v) => (v > threshold * 255 ? 1 : 0));
}

function readme(run: RunDescription): string {
  const { config, labels } = run;
  const best =
    run.best === null ? '' : `Best validation Dice ${run.best.dice.toFixed(4)} at epoch ${run.best.epoch}.\n`;
  return `# ${run.name}

${config.model.name}, ${config.model.image_size} x ${config.model.image_size} px, labels: ${labels.names.map((n, i) => `${i} ${n}`).join(', ')}.
${best}
| file | content |
|---|---|
| config.yaml | the resolved configuration; \`npm run studio -- train\` takes its keys as overrides |
| metrics.csv | one row per epoch |
| tensorboard/ | \`tensorboard --logdir .\` |
| checkpoints/ | weights under the model's own parameter names |
| cases.csv, summary.json, predictions/ | the last test: metrics per case, means with their definitions, 8-bit label maps |
| splits.json | which case was in which split |

\`\`\`python
import torch
state = torch.load("checkpoints/<name>.pth", weights_only=True)
from safetensors.torch import load_file
state = load_file("checkpoints/<name>.safetensors")
\`\`\`

Input: RGB, resized to the size above with Pillow's BILINEAR, ${
    config.data.normalization === 'imagenet'
      ? '/255, then ImageNet mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225)'
      : '/255'
  }.
`;
}
