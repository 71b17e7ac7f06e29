/**
 * @file Schedules against e2e/cases/schedules (PyTorch and the framework's own classes) and the published per-iteration code.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import type { StudioConfig } from '../config/types';
import {
  learningRate,
  plateauStart,
  plateauStep,
  polyIteration,
  warmupCosine,
  warmupPoly,
} from './schedules';

const cases = JSON.parse(readFileSync('e2e/cases/schedules/expected.json', 'utf8')) as Record<
  string,
  unknown
>;

const closeTo = (got: number, expected: number): void =>
  expect(Math.abs(got - expected)).toBeLessThanOrEqual(1e-12 * Math.max(1e-6, Math.abs(expected)) + 1e-18);

describe('WarmupPoly', () => {
  const keys = Object.keys(cases).filter((k) => k.startsWith('warmupPoly'));
  it.each(keys)('%s', (key) => {
    const p = Object.fromEntries([...key.matchAll(/(\w+)=([\d.e-]+)/g)].map((m) => [m[1], Number(m[2])]));
    const expected = cases[key] as number[];
    expected.forEach((lr, epoch) => {
      const settings = { warmup: p['warmup'], epochs: p['epochs'], base: p['base'], end: p['end'], power: p['power'] }; // prettier-ignore
      closeTo(warmupPoly(epoch, settings as Parameters<typeof warmupPoly>[1]), lr);
    });
  });
  it('found its cases', () => expect(keys).toHaveLength(3));
});

it('ReduceLROnPlateau', () => {
  const key = Object.keys(cases).find((k) => k.startsWith('reduceOnPlateau')) as string;
  const { metrics, lr } = cases[key] as { metrics: number[]; lr: number[] };
  let state = plateauStart(0.1);
  const got = metrics.map((m) => {
    state = plateauStep(state, m, { factor: 0.5, patience: 2, threshold: 1e-3, cooldown: 1, min_lr: 0.01 });
    return state.lr;
  });
  got.forEach((v, i) => closeTo(v, lr[i] as number));
});

it('per-iteration poly: as the published loop sets it, after each optimiser step', () => {
  for (const warmup of [0, 1, 5]) {
    const [base, total, power] = [5e-3, 40, 0.9];
    // The loop of SAMed's trainer.py, written out.
    let lr = warmup > 0 ? base / warmup : base;
    for (let it = 0; it < total; it++) {
      closeTo(polyIteration(it, { warmup, total, base, power, end: 0 }), lr);
      lr = it < warmup ? (base * (it + 1)) / warmup : base * (1 - (it - warmup) / total) ** power;
    }
  }
});

it('cosine: linear warm-up, then from base to end, never below', () => {
  const at = (epoch: number): number => warmupCosine(epoch, { warmup: 2, epochs: 10, base: 1, end: 0.1 });
  closeTo(at(0), 0.5);
  closeTo(at(1), 1);
  closeTo(at(2), 1);
  closeTo(at(6), 0.55);
  closeTo(at(10), 0.1);
  closeTo(at(15), 0.1);
});

describe('learningRate', () => {
  const config = (...overrides: string[]): StudioConfig =>
    resolveConfig(configFiles, 'train', [
      'model=tinyusfm_nano', 'data=phantom', 'training.base_lr=0.1', 'training.num_epochs=10', 'lr_scheduler.warmup_epochs=2', ...overrides,
    ]).config; // prettier-ignore
  const at = (c: StudioConfig, epoch: number, lr: number | null = null): number =>
    learningRate(
      c,
      { epoch, step: epoch * 4, stepsPerEpoch: 4 },
      lr === null ? null : { ...plateauStart(0.1), lr },
    );

  it('reads every schedule from the config', () => {
    closeTo(at(config('lr_scheduler.name=constant'), 0), 0.05);
    closeTo(at(config('lr_scheduler.name=constant'), 7), 0.1);
    closeTo(at(config('lr_scheduler.name=cosine', 'lr_scheduler.end_lr=0'), 6), 0.05);
    closeTo(
      at(config('lr_scheduler.name=warmup_poly', 'lr_scheduler.power=1', 'lr_scheduler.end_lr=0'), 6),
      0.05,
    );
    closeTo(at(config('lr_scheduler.name=plateau'), 5, 0.025), 0.025);
    const poly = config('lr_scheduler.name=poly_iter', 'lr_scheduler.warmup_iters=8', 'lr_scheduler.power=1', 'lr_scheduler.end_lr=0'); // prettier-ignore
    closeTo(at(poly, 0), 0.1 / 8);
    closeTo(at(poly, 5), 0.1 * (1 - (19 - 8) / 40));
  });
});
