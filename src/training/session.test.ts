/**
 * @file Which parameters train at which rate; steps that fail half-way; the dry run.
 */
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import { useBackend } from '../gpu/ops/testSupport';
import { dryRun } from './dryRun';
import { trainedSpecs, TrainingSession, type HostBatch } from './session';
import { bits, smallConfig } from './testSupport';

beforeAll(() => useBackend('wasm'));

function withSession<T>(config: TrainingSession['config'], use: (session: TrainingSession) => T): T {
  const session = new TrainingSession(config, null);
  try {
    return use(session);
  } finally {
    session.dispose();
  }
}

const groups = (config: TrainingSession['config']) =>
  withSession(config, ({ model, architecture, store }) =>
    trainedSpecs(config, model, architecture, store.specs).map(({ name, lrScale, weightDecay }) => ({
      name,
      lrScale,
      weightDecay,
    })),
  );

describe('parameter groups', () => {
  it('layer-wise decay 0.8 of TinyUSFM as its Python code has it (cases/schedules)', () => {
    const cases = JSON.parse(readFileSync('e2e/cases/schedules/expected.json', 'utf8')) as Record<string, Record<string, number>>; // prettier-ignore
    const expected = cases['tinyusfm layer decay 0.8 base 1e-4'] as Record<string, number>;
    const { config } = resolveConfig(configFiles, 'train', ['model=tinyusfm', 'data=phantom', 'optimizer.layer_decay=0.8']); // prettier-ignore
    const got = new Map(groups(config).map((g) => [g.name, g.lrScale * 1e-4]));
    for (const [name, lr] of got) expect(lr, name).toBeCloseTo(expected[name] as number, 12);
    // What Python's optimiser holds beyond ours never gets a gradient: the unused final norm.
    expect(Object.keys(expected).filter((name) => !got.has(name))).toEqual(['backbone.norm.weight', 'backbone.norm.bias']); // prettier-ignore
  });

  it('head multiplier, no decay for norms and biases, frozen backbone', () => {
    const all = groups(smallConfig('optimizer.head_lr_multiplier=10', 'optimizer.decay_norm_and_bias=false', 'optimizer.weight_decay=0.05')); // prettier-ignore
    const find = (name: string) => all.find((g) => g.name === name);
    expect(find('backbone.blocks.0.attn.qkv.weight')).toMatchObject({ lrScale: 1, weightDecay: 0.05 });
    expect(find('backbone.blocks.0.norm1.weight')).toMatchObject({ lrScale: 1, weightDecay: 0 });
    expect(find('decode_head.conv_seg.weight')).toMatchObject({ lrScale: 10, weightDecay: 0.05 });
    expect(find('decode_head.conv_seg.bias')).toMatchObject({ lrScale: 10, weightDecay: 0 });
    const head = groups(smallConfig('training.freeze_backbone=true'));
    expect(head.length).toBeGreaterThan(5);
    expect(head.filter((g) => g.name.startsWith('backbone.'))).toEqual([]);
  });
});

const batch = (size: number): HostBatch => ({
  images: Float32Array.from({ length: 2 * size * size * 3 }, (_, i) => Math.sin(i)),
  labels: Int32Array.from({ length: 2 * size * size }, (_, i) => Number(i % size > size / 2)),
  count: 2,
  size,
});

it('frozen parameters keep their bits, running statistics move', async () => {
  const session = new TrainingSession(smallConfig('training.freeze_backbone=true'), null);
  const before = await session.store.toTensorMap();
  await session.step([batch(32)], 0.01, 0, 0);
  const after = await session.store.toTensorMap();
  const changed = [...before].filter(
    ([name, t]) => Buffer.compare(bits(t), bits(after.get(name) ?? t)) !== 0,
  );
  const names = changed.map(([name]) => name);
  expect(names.filter((n) => n.startsWith('backbone.'))).toEqual([]);
  expect(names.some((n) => n.endsWith('running_mean'))).toBe(true);
  expect(names).toContain('decode_head.conv_seg.weight');
  session.dispose();
});

it('a step that fails half-way through leaves nothing on the device', async () => {
  const before = tf.memory().numTensors;
  const session = new TrainingSession(smallConfig(), null);
  await session.step([batch(32)], 0.01, 0, 0);
  const steady = tf.memory().numTensors;
  // Images of another size than the position embedding: the forward pass throws after its first convolution.
  await expect(session.step([batch(32), batch(16)], 0.01, 1, 1)).rejects.toThrow();
  expect(tf.memory().numTensors).toBe(steady);
  const numbers = await session.step([batch(32)], 0.01, 1, 1);
  expect(Number.isFinite(numbers.loss)).toBe(true);
  expect(tf.memory().numTensors).toBe(steady);
  session.dispose();
  expect(tf.memory().numTensors).toBe(before);
});

it('the dry run measures one step and leaves nothing', async () => {
  const before = tf.memory().numTensors;
  const config = smallConfig('training.num_epochs=3', 'training.accumulation_steps=2');
  const estimate = await dryRun(config, 40, 10);
  expect(estimate.stepMs).toBeGreaterThan(0);
  expect(estimate.evalMs).toBeGreaterThan(0);
  expect(estimate.peakBytes).toBeGreaterThan(estimate.checkpointBytes);
  // 40 cases in steps of 2 x 2, and 10 of evaluation.
  expect(estimate.perEpochSeconds).toBeCloseTo((10 * estimate.stepMs + 10 * estimate.evalMs) / 1000, 9);
  expect(estimate.totalSeconds).toBeCloseTo(3 * estimate.perEpochSeconds, 9);
  expect(estimate.fittingBatchSize).toBeNull();
  expect(tf.memory().numTensors).toBe(before);
});
