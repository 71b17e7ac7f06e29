/**
 * @file Testing weights: what the predictions and numbers of a case are, at both resolutions; stopping; what a run folder holds,
 * and that exported weights dropped back in give the same numbers.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { configFromText } from '../config/resolve';
import type { Sample } from '../data/types';
import { readTensorsFile } from '../formats/checkpointFile';
import { parseCsv } from '../formats/csv';
import { decodePng } from '../formats/png';
import { useBackend } from '../gpu/ops/testSupport';
import { fitTensors } from '../models/load';
import { getModel } from '../models/registry';
import { checkpointWeights } from './checkpoint';
import { evaluateModel, type Evaluation, type EvaluationRequest } from './evaluate';
import { describedWeights, exportPth, exportSafetensors, weightsName } from './exportWeights';
import { runFiles, runFolderPath, testFiles, type FolderFile } from './runFolder';
import { resolveOutChannels } from '../nn/losses';
import { readSafetensors } from '../formats/safetensors';
import {
  binaryLabels,
  DiscReader,
  smallConfig,
  split,
  testDevice,
  train,
  type Recorded,
} from './testSupport';
import type { Checkpoint } from './types';

beforeAll(() => useBackend('wasm'));

const samples: Sample[] = Array.from({ length: 5 }, (_, i) => ({
  id: `discs/test ${i}`,
  folder: 'f',
  folderName: 'discs',
  image: { folder: 'f', path: `test ${i}.png`, size: 1, modified: 0 },
  masks: [],
  className: i % 2 ? 'benign' : null,
  group: null,
  ownSplit: null,
  testOnly: false,
}));

const config = smallConfig('training.num_epochs=6', 'augmentation.enabled=false', 'evaluation.batch_size=2');
let run: Recorded;
let best: Checkpoint;
let evaluation: Evaluation;

const test = (changes: Partial<EvaluationRequest> = {}): Promise<Evaluation> =>
  evaluateModel({
    config,
    weights: checkpointWeights(best),
    labels: binaryLabels,
    samples,
    reader: new DiscReader(),
    ...changes,
  });

beforeAll(async () => {
  run = await train(config, { split: split(8, 3) });
  if (run.error !== null) throw run.error;
  best = await (run.sink.saved.findLast((s) => s.info.kind === 'best') as (typeof run.sink.saved)[number]).load(); // prettier-ignore
  evaluation = await test();
}, 60_000);

describe('evaluateModel', () => {
  it('gives every case in order, streams them, leaks nothing', async () => {
    const before = tf.memory().numTensors;
    const seen: string[] = [];
    const again = await test({ onCase: (one, done, total) => seen.push(`${one.id} ${done}/${total}`) });
    expect(seen).toEqual(samples.map((s, i) => `${s.id} ${i + 1}/5`));
    expect(again).toEqual(evaluation);
    expect(again.cases.map((c) => [c.width, c.height, c.kind, c.prediction.length])).toEqual(
      samples.map(() => [32, 32, 'probability', 1024]),
    );
    expect(tf.memory().numTensors).toBe(before);
  });

  it('agrees with the validation of the run on the same cases', async () => {
    const ids = split(0, 3).val;
    const same = await test({ samples: ids.map((id) => ({ ...(samples[0] as Sample), id })) });
    const mean = same.summary.find((r) => r.metric === 'dice')?.mean as number;
    expect(mean).toBeCloseTo(best.state.best?.dice as number, 12);
  });

  it('numbers follow from the probability map and the threshold', async () => {
    const reader = new DiscReader();
    for (const one of evaluation.cases) {
      const { mask } = await reader.prepared(one.id, 32);
      let [tp, fp, fn] = [0, 0, 0];
      one.prediction.forEach((p, i) => {
        if (p > 127.5 && mask[i] === 1) tp++;
        else if (p > 127.5) fp++;
        else if (mask[i] === 1) fn++;
      });
      expect(one.perLabel[0]?.metrics).toMatchObject({ tp, fp, fn });
      expect(one.dice).toBeCloseTo((2 * tp) / (2 * tp + fp + fn), 12);
    }
  });

  it('compares at the original size when asked', async () => {
    const original = await test({ config: smallConfig('evaluation.resolution=original') });
    expect(original.cases.map((c) => [c.width, c.height, c.prediction.length])).toEqual(samples.map(() => [40, 24, 960])); // prettier-ignore
    const m = original.cases[0]?.perLabel[0]?.metrics as Record<string, number>;
    expect(['tp', 'fp', 'fn', 'tn'].reduce((n, k) => n + (m[k] as number), 0)).toBe(960);
  });

  it('stops between batches', async () => {
    const controller = new AbortController();
    const before = tf.memory().numTensors;
    const seen: string[] = [];
    const stopped = test({
      signal: controller.signal,
      onCase: (c) => {
        seen.push(c.id);
        controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
    expect(seen).toHaveLength(2);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('refuses data with other labels', async () => {
    const labels = { ...binaryLabels, names: ['background', 'a', 'b'] };
    await expect(test({ labels })).rejects.toMatchObject({ code: 'labels-differ' });
  });
});

describe('weights that leave and come back', () => {
  const description = () => ({ config, labels: binaryLabels, epoch: 4, valDice: 0.83217 });

  it.each(['safetensors', 'pth'] as const)('%s gives the same numbers, bit for bit', async (format) => {
    const weights = checkpointWeights(best);
    const bytes = format === 'pth' ? exportPth(weights) : exportSafetensors(weights, description());
    const model = getModel(config.model.name);
    const architecture = model.architecture(config.model, resolveOutChannels(config));
    const { tensors } = readTensorsFile(bytes, `x.${format}`);
    const fitted = fitTensors(model, architecture, tensors, `x.${format}`);
    expect([fitted.report.missing, fitted.report.unexpected, fitted.report.mismatched]).toEqual([[], [], []]);
    expect(await test({ weights: fitted.tensors })).toEqual(evaluation);
    const counter = [...tensors].find(([name]) => name.endsWith('num_batches_tracked'));
    expect(counter?.[1].dtype).toBe('int64');
    expect(counter?.[1].data[0]).toBe(BigInt(best.state.step));
  });

  it('the safetensors file says what it is', () => {
    const { metadata } = readSafetensors(exportSafetensors(checkpointWeights(best), description()), 'x');
    expect(metadata.get('format')).toBe('pt');
    expect(describedWeights(metadata, 'x')).toEqual(description());
    expect(describedWeights(new Map([['format', 'pt']]), 'x')).toBeNull();
    expect(() => describedWeights(new Map([['tinyusfm_studio', '{']]), 'x.safetensors')).toThrow(
      expect.objectContaining({ code: 'weights-metadata', subject: 'x.safetensors' }) as Error,
    );
  });

  it('is named as the framework names it', () => {
    expect(weightsName('best', description())).toBe('best_epoch_4_dice0.8322');
    expect(weightsName('last', description())).toBe('checkpoint_epoch_4');
  });
});

describe('the run folder', () => {
  const text = (files: readonly FolderFile[], path: string): string =>
    new TextDecoder().decode(files.find((f) => f.path === path)?.bytes);
  const folder = () =>
    runFiles({
      name: 'discs',
      config,
      labels: binaryLabels,
      split: split(8, 3),
      device: testDevice,
      version: '1.2.3',
      startedAt: Date.UTC(2026, 10, 23, 21, 5, 9),
      epochs: run.outcome?.state.history ?? [],
      steps: [],
      log: [{ level: 'info', message: 'hello', at: 0 }],
      best: { epoch: 4, dice: 0.8 },
    });

  it('has the files of the design, readable again', () => {
    const files = folder();
    expect(files.map((f) => f.path.replace(/\d{10}\..*/, '<time>'))).toEqual([
      'config.yaml', 'metrics.csv', 'training.log', 'environment.json', 'splits.json',
      'tensorboard/events.out.tfevents.<time>', 'README.md',
    ]); // prettier-ignore
    expect(configFromText(text(files, 'config.yaml'))).toEqual(config);
    const rows = parseCsv(text(files, 'metrics.csv'), 'metrics.csv');
    expect(rows[0]?.slice(0, 4)).toEqual(['step', 'epoch', 'train/loss', 'train/bce']);
    expect(rows).toHaveLength(7);
    expect(Number(rows[6]?.[0])).toBe(24);
    expect(JSON.parse(text(files, 'splits.json'))[0].val).toEqual(split(8, 3).val);
    expect(JSON.parse(text(files, 'environment.json'))).toMatchObject({ studio: '1.2.3', seed: config.seed });
    expect(text(files, 'training.log')).toBe('1970-01-01T00:00:00.000Z INFO hello\n');
    expect(runFolderPath(config, 'BUSI + BUS/BRA', Date.UTC(2026, 10, 23, 21, 5, 9))).toBe(
      'logs/tinyusfm_nano/BUSI_+_BUS_BRA/tumor/2026-11-23_21-05-09',
    );
  });

  it('a test adds cases, nnU-Net summary and label maps', () => {
    const files = testFiles({ title: 'test split, 5 cases', config, labels: binaryLabels, ...evaluation });
    const summary = JSON.parse(text(files, 'summary.json'));
    expect(summary.metric_per_case).toHaveLength(5);
    expect(summary.metric_per_case[0].prediction_file).toBe('predictions/discs/test 0.png');
    const dice = evaluation.cases.map((c) => c.dice);
    expect(summary.foreground_mean.dice.mean).toBeCloseTo(dice.reduce((a, b) => a + b) / 5, 12);
    expect(summary.definitions.dice).toMatch(/2 TP/);
    const rows = parseCsv(text(files, 'cases.csv').replace('\ufeff', ''), 'cases.csv');
    expect(rows).toHaveLength(6);
    expect(rows[2]?.slice(0, 4)).toEqual(['discs/test 1', 'discs', 'benign', 'lesion']);
    const png = decodePng(files.find((f) => f.path === 'predictions/discs/test 0.png')?.bytes ?? new Uint8Array(), 'p'); // prettier-ignore
    expect([png.width, png.height, png.mode]).toEqual([32, 32, 'L']);
    expect([...png.data].reduce((n: number, v) => n + Number(v), 0)).toBe(
      evaluation.cases[0]?.perLabel[0]?.metrics['areaPrediction'] as number,
    );
  });
});
