/**
 * @file The trainer on WebGPU (Dawn): same bits again, resumed in mid-epoch too; a device that is lost ends the run without a
 * checkpoint of what it left behind (reference/reliability.md section 2.B2); no GPU bytes pile up.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { useBackend } from '../gpu/ops/testSupport';
import { webGpuBackend } from '../gpu/webgpu';
import { memoryUse } from '../gpu/memory';
import { bits, smallConfig, train, type Recorded } from './testSupport';
import type { Checkpoint } from './types';

beforeAll(() => useBackend('webgpu'), 60_000);

// Two optimiser steps an epoch; a checkpoint after every one.
const config = smallConfig(
  'training.accumulation_steps=2',
  'training.gradient_clip=0.5',
  'checkpointing.every_steps=1',
);

async function at(run: Recorded, i: number): Promise<Checkpoint> {
  if (run.error !== null) throw run.error;
  return (run.sink.saved.at(i) as (typeof run.sink.saved)[number]).load();
}

function expectSame(a: Checkpoint, b: Checkpoint): void {
  expect(b.state).toEqual(a.state);
  for (const [name, t] of a.tensors) expect(bits(b.tensors.get(name) ?? t), name).toEqual(bits(t));
}

it('resumed in mid-epoch: the same bits; GPU memory stays level', async () => {
  const before = tf.memory().numTensors;
  const straight = await train(config);
  const pool = memoryUse().poolBytes;
  const end = await at(straight, -1);
  const from = straight.sink.saved[0] as (typeof straight.sink.saved)[number];
  expect(from.info.batchInEpoch).toBe(2);
  const resumed = await train(config, { resume: { checkpoint: await from.load(), info: from.info } });
  expect(resumed.losses).toEqual(straight.losses.slice(1));
  expectSame(end, await at(resumed, -1));
  expect(tf.memory().numTensors).toBe(before);
  expect(memoryUse().poolBytes).toBe(pool); // trimmed at the end of both
}, 240_000);

it('a lost device: the run fails as gpu-lost and saves nothing after it', async () => {
  const run = await train(config, {
    onEvent: (event) => {
      if (event.type === 'checkpointSaved' && event.info.step === 1) webGpuBackend()?.device.destroy();
    },
  });
  expect(run.outcome).toBeNull();
  expect(run.sink.saved.map((s) => s.info.step)).toEqual([1]);
  expect(run.error).toMatchObject({ code: 'gpu-lost' });
  const [kept] = [...(await at({ ...run, error: null }, 0)).tensors.values()];
  expect(kept?.data.some((v) => Number(v) !== 0)).toBe(true);
}, 240_000);
