/**
 * @file The promise of the training core: a run resumed from any step equals, bit for bit, the run that was never interrupted.
 * On WASM, with augmentation, dropout, drop path, gradient accumulation and clipping on (reference/reliability.md section 2.B).
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../gpu/ops/testSupport';
import { UserError } from '../lib/errors';
import { TrainControl } from './control';
import { DiscReader, bits, smallConfig, split, train, type Recorded } from './testSupport';
import type { Checkpoint, CheckpointInfo, TrainEvent } from './types';

beforeAll(() => useBackend('wasm'));

async function lastCheckpoint(run: Recorded): Promise<Checkpoint> {
  if (run.error !== null) throw run.error;
  const last = run.sink.saved.at(-1);
  if (last === undefined) throw new Error('nothing was saved');
  return last.load();
}

/** State and every bit of weights, running statistics, counters and moments. */
function expectSame(a: Checkpoint, b: Checkpoint): void {
  expect(b.state).toEqual(a.state);
  expect([...b.tensors.keys()]).toEqual([...a.tensors.keys()]);
  for (const [name, tensor] of a.tensors) {
    const other = b.tensors.get(name);
    expect(other?.dtype, name).toBe(tensor.dtype);
    if (other === undefined || Buffer.compare(bits(other), bits(tensor)) !== 0)
      expect.unreachable(`${name} differs`);
  }
}

const ofType = <T extends TrainEvent['type']>(run: Recorded, type: T): Extract<TrainEvent, { type: T }>[] =>
  run.events.filter((e): e is Extract<TrainEvent, { type: T }> => e.type === type);

describe('resume', () => {
  // 5 cases in batches of 2 are 3 micro-batches, so 2 optimiser steps an epoch, the second of one short micro-batch.
  const config = smallConfig('training.accumulation_steps=2', 'training.gradient_clip=0.5', 'checkpointing.every_steps=1'); // prettier-ignore
  let straight: Recorded;
  let expected: Checkpoint;

  beforeAll(async () => {
    straight = await train(config);
    expected = await lastCheckpoint(straight);
  }, 60_000);

  it('runs to the end and tells it', () => {
    expect(straight.outcome?.reason).toBe('completed');
    expect(straight.losses).toHaveLength(4);
    expect(ofType(straight, 'epochEnded').map((e) => e.step)).toEqual([2, 4]);
    expect(straight.sink.saved.map((c) => [c.info.epoch, c.info.step, c.info.batchInEpoch])).toEqual([
      [0, 1, 2],
      [1, 2, 0],
      [1, 3, 2],
      [2, 4, 0],
    ]);
    expect(ofType(straight, 'panelsDrawn')[0]?.panels.map((p) => p.id)).toEqual([
      'discs/val_0',
      'discs/val_2',
    ]);
  });

  it('gives the same bits again from the same seed, others from another', async () => {
    const again = await train(config);
    expect(again.losses).toEqual(straight.losses);
    expectSame(expected, await lastCheckpoint(again));
    const other = await train(smallConfig('training.accumulation_steps=2', 'seed=7'));
    expect(other.losses[0]).not.toBe(straight.losses[0]);
  }, 60_000);

  it('goes on from every checkpoint to the same bits', async () => {
    for (const from of straight.sink.saved.slice(0, -1)) {
      const resumed = await train(config, { resume: { checkpoint: await from.load(), info: from.info } });
      expect(resumed.losses, `from step ${from.info.step}`).toEqual(straight.losses.slice(from.info.step));
      expectSame(expected, await lastCheckpoint(resumed));
    }
  }, 120_000);

  it('stopped at every step and in validation, resumed each time: the same bits', async () => {
    const plain = smallConfig('training.accumulation_steps=2', 'training.gradient_clip=0.5');
    let resume: { checkpoint: Checkpoint; info: CheckpointInfo } | null = null;
    const losses: number[] = [];
    const stops: string[] = [];
    for (let rounds = 0; rounds < 12; rounds++) {
      let steps = 0;
      const part: Recorded = await train(plain, {
        resume,
        now: () => (steps += 1000), // every step is told at once
        onEvent: (event, control) => {
          // Rounds take turns: stop after one step, or in the middle of a validation.
          const stepped = event.type === 'stepsEnded' && rounds % 2 === 0;
          if (stepped || (event.type === 'validating' && rounds % 2 === 1)) control.stop();
        },
      });
      losses.push(...part.losses);
      const last: { info: CheckpointInfo; load: () => Promise<Checkpoint> } | undefined = part.sink.saved.at(-1) ?? (resume === null ? undefined : { info: resume.info, load: async () => resume?.checkpoint as Checkpoint }); // prettier-ignore
      if (last === undefined) throw new Error('no checkpoint after a stop');
      resume = { checkpoint: await last.load(), info: last.info };
      stops.push(`${last.info.epoch}:${last.info.batchInEpoch}`);
      if (part.outcome?.reason === 'completed') break;
    }
    expect(stops).toContain('0:3'); // in the validation, after the short last group
    expect(losses).toEqual(straight.losses);
    const state = (c: Checkpoint): unknown => ({
      ...c.state,
      history: c.state.history.map((h) => ({ ...h, metrics: { ...h.metrics, 'time/epoch_s': 0 } })),
    });
    const end = resume?.checkpoint as Checkpoint;
    expect(state(end)).toEqual(state(expected));
    for (const [name, tensor] of expected.tensors)
      expect(bits(end.tensors.get(name) ?? tensor), name).toEqual(bits(tensor));
  }, 120_000);

  it('pauses with a checkpoint and continues to the same bits', async () => {
    const control = new TrainControl();
    control.pause();
    const paused = await train(config, {
      control,
      onEvent: (event, c) => {
        if (event.type === 'paused') setTimeout(() => c.continue(), 5);
        if (event.type === 'checkpointSaved' && event.info.step === 2) c.pause();
      },
    });
    expect(ofType(paused, 'paused').map((e) => e.step)).toEqual([0, 2]);
    expect(ofType(paused, 'continued').map((e) => e.step)).toEqual([0, 2]);
    expect(paused.losses).toEqual(straight.losses);
    expectSame(expected, await lastCheckpoint(paused));
  }, 60_000);

  it.each([
    ['model.head_channels=7', 'weights-incomplete'],
    ['optimizer.name=sgd', 'checkpoint-mismatch'],
  ])('refuses the checkpoint under %s, as %s, leaving nothing behind', async (override, code) => {
    const from = straight.sink.saved[0] as (typeof straight.sink.saved)[number];
    const before = tf.memory().numTensors;
    const run = await train(smallConfig(override), {
      resume: { checkpoint: await from.load(), info: from.info },
    });
    expect(run.error).toMatchObject({ code });
    expect(run.events).toMatchObject([{ type: 'failed', error: { code }, lastCheckpoint: { id: '0' } }]);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('a run in trouble', () => {
  // Each step multiplies the weights by about a million: they overflow, then the loss is NaN.
  const exploding = (...more: string[]) =>
    smallConfig('training.base_lr=1e6', 'optimizer.name=sgd', 'optimizer.weight_decay=1', 'optimizer.decay_norm_and_bias=true', 'training.gradient_clip=null', 'training.num_epochs=6', 'lr_scheduler.name=constant', 'lr_scheduler.warmup_epochs=0', ...more); // prettier-ignore

  it.each([
    ['loss-not-finite', exploding()],
    ['weights-not-finite', exploding('checkpointing.every_steps=1')],
  ])(
    '%s: stops, names the batch, keeps what was saved',
    async (code, config) => {
      const run = await train(config, { split: split(20, 2) });
      expect(run.error).toBeInstanceOf(UserError);
      const error = run.error as UserError;
      expect(error.code).toBe(code);
      expect(error.message).toMatch(/at step \d+ \(epoch \d\); batch: discs\/train_\d+, discs\/train_\d+$/);
      expect(run.losses.every(Number.isFinite)).toBe(true);
      const failed = ofType(run, 'failed')[0];
      expect(failed?.error.code).toBe(code);
      expect(failed?.lastCheckpoint?.id).toBe(run.sink.saved.at(-1)?.info.id);
      for (const saved of run.sink.saved)
        for (const tensor of (await saved.load()).tensors.values())
          if (tensor.data instanceof Float32Array) expect(tensor.data.every(Number.isFinite)).toBe(true);
    },
    60_000,
  );

  it('goes on when a checkpoint cannot be stored, and says so', async () => {
    const run = await train(smallConfig('training.num_epochs=1'), {
      checkpoints: { save: () => Promise.reject(new UserError('storage-full', 'The disk is full')) },
    }); // prettier-ignore
    expect(run.outcome?.reason).toBe('completed');
    expect(ofType(run, 'checkpointFailed').map((e) => e.error.code)).toEqual(['storage-full']);
  });

  it('refuses an empty training split and more labels than the model has classes', async () => {
    expect((await train(smallConfig(), { split: split(0, 2) })).error).toMatchObject({ code: 'no-training-cases' }); // prettier-ignore
    const three = { names: ['background', 'a', 'b'], encoding: { kind: 'threshold', threshold: 127 } } as const; // prettier-ignore
    expect((await train(smallConfig(), { labels: three })).error).toMatchObject({ code: 'labels-differ' });
  });
});

describe('the end of a run', () => {
  const quick = (...more: string[]) =>
    smallConfig('augmentation.enabled=false', 'early_stopping.enabled=true', 'early_stopping.patience=1', 'early_stopping.min_delta=1.0', 'training.num_epochs=5', ...more); // prettier-ignore

  it('stops early after `patience` epochs without an improvement of min_delta; more epochs go on', async () => {
    const run = await train(quick());
    expect(run.outcome?.reason).toBe('early-stopped');
    expect(run.outcome?.state.epoch).toBe(2);
    const last = run.sink.saved.at(-1);
    const resume = {
      checkpoint: (await last?.load()) as Checkpoint,
      info: last?.info as NonNullable<typeof last>['info'],
    };
    expect((await train(quick(), { resume })).outcome?.state.epoch).toBe(2);
    expect((await train(quick('training.num_epochs=6'), { resume })).outcome?.state.epoch).toBe(3);
  }, 60_000);

  it('multi-class: mean over foreground labels, one Dice per label', async () => {
    const names = ['background', 'benign', 'malignant'];
    const run = await train(smallConfig('model.num_classes=3', 'loss.name=ce_dice', 'training.num_epochs=1'), {
      labels: { names, encoding: { kind: 'class', threshold: 127, classes: names.slice(1) } },
      reader: new DiscReader(3),
    }); // prettier-ignore
    const metrics = ofType(run, 'epochEnded')[0]?.metrics ?? {};
    expect(Object.keys(metrics)).toEqual([
      'train/loss', 'train/ce', 'train/dice', 'val/loss', 'val/dice', 'val/iou', 'val/dice/benign', 'val/dice/malignant', 'lr', 'time/epoch_s',
    ]); // prettier-ignore
    expect(Object.values(metrics).every(Number.isFinite)).toBe(true);
  }, 60_000);

  it('learns: the validation Dice rises well above its start', async () => {
    const run = await train(
      smallConfig('training.num_epochs=8', 'augmentation.enabled=false', 'model.drop_path=0', 'model.dropout=0'),
      { split: split(12, 4) },
    ); // prettier-ignore
    const dice = ofType(run, 'epochEnded').map((e) => e.metrics['val/dice'] as number);
    expect(Math.max(...dice.slice(4))).toBeGreaterThan((dice[0] as number) + 0.2);
    expect(run.losses.at(-1)).toBeLessThan((run.losses[0] as number) * 0.7);
  }, 120_000);
});

it('leaves no tensor behind: constant over steps, and over runs', async () => {
  const counts: number[] = [];
  let clock = 0;
  const config = smallConfig('training.num_epochs=3', 'training.accumulation_steps=2');
  const before = tf.memory().numTensors;
  const heap: number[] = [];
  for (let cycle = 0; cycle < 4; cycle++) {
    await train(config, {
      split: split(10, 2),
      now: () => (clock += 1000), // every step is told at once
      onEvent: (event) => {
        if (event.type === 'stepsEnded') counts.push(tf.memory().numTensors);
      },
    });
    heap.push(tf.memory().numTensors);
  }
  expect(new Set(counts).size).toBe(1);
  expect(counts.length).toBeGreaterThan(30);
  expect(heap).toEqual([before, before, before, before]);
}, 120_000);
