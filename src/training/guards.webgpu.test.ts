/**
 * @file What may never happen silently: a device error that a checkpoint follows, a plan replayed with values or buffers of before
 * (reference/engine.md section 6, "Guards").
 */
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { setKernels, studioBackend } from '../gpu/launch';
import { useBackend } from '../gpu/ops/testSupport';
import type { StudioBackend } from '../gpu/studioBackend';
import { DeviceStep } from '../models/deviceStep';
import { FlatOptimizer } from '../nn/flatOptimizer';
import { segmentationLoss } from '../nn/losses';
import { probeConfig } from './probeTestSupport';
import { TrainingSession } from './session';
import { noise, train } from './testSupport';
import type { TrainEvent } from './types';

beforeAll(() => useBackend('webgpu'), 60_000);
afterEach(() => {
  setKernels(true);
  tf.env().set('WEBGPU_MATMUL_PROGRAM_TYPE', 3);
});

const backend = (): StudioBackend => studioBackend() as StudioBackend;

/** A submit that the device refuses, and says so only in `uncapturederror`. */
function refusedSubmit(): void {
  const { device } = backend();
  const buffer = device.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.clearBuffer(buffer);
  const commands = encoder.finish();
  buffer.destroy();
  device.queue.submit([commands]);
}

// After a step's checkpoint, in a validation, and just before the checkpoint of an epoch.
it.each<readonly [string, (event: TrainEvent) => boolean]>([
  ['after a checkpoint', (event) => event.type === 'checkpointSaved'],
  ['in validation', (event) => event.type === 'validating'],
  ['before the checkpoint of an epoch', (event) => event.type === 'panelsDrawn'],
])('an error of the device %s fails the run before anything is saved again', async (_, isMoment) => {
  let savedBefore: number | null = null;
  let saved = 0;
  const run = await train(probeConfig('checkpointing.every_steps=2'), {
    onEvent: (event) => {
      if (event.type === 'checkpointSaved') saved++;
      if (savedBefore !== null || !isMoment(event)) return;
      savedBefore = saved;
      refusedSubmit();
    },
  });
  expect(run.error).toMatchObject({ code: 'gpu-error' });
  expect(run.events.at(-1)).toMatchObject({ type: 'failed', error: { code: 'gpu-error' } });
  expect(run.sink.saved.length).toBe(savedBefore);
});

it.each(['planned', 'taped'] as const)('a replaced variable is refused by its name (%s)', async (way) => {
  const config = probeConfig('training.freeze_backbone=true');
  const names = ['backbone.conv.weight', 'backbone.norm.running_mean', 'head.conv.weight'];
  for (const name of names) {
    const session = new TrainingSession(config, null, way === 'taped' ? { execution: 'tape' } : {});
    const batch = noise(config, 2, 0);
    await session.step([batch], 1e-3, 0, 0);
    (await session.predict(batch.images, 2, batch.size)).dispose();
    const variable = session.store.get(name);
    const other = tf.zeros(variable.shape);
    variable.assign(other);
    other.dispose();
    await expect(session.step([batch], 1e-3, 1, 1)).rejects.toThrow(`"${name}" was replaced`);
    await expect(session.predict(batch.images, 2, batch.size)).rejects.toThrow(`"${name}" was replaced`);
    session.dispose();
  }
});

/** Losses of a step before, under and after other conditions. */
async function lossesUnder(execution: 'auto' | 'tape', set: (other: boolean) => void): Promise<number[]> {
  const config = probeConfig();
  const session = new TrainingSession(config, null, { execution });
  const losses: number[] = [];
  for (const [step, other] of [false, true, false].entries()) {
    const before = session.planFigures[0];
    set(other);
    losses.push((await session.step([noise(config, 2, step)], 1e-2, step, step)).loss);
    if (execution === 'auto') expect(session.planFigures[0]).not.toBe(before);
  }
  const [kept] = session.planFigures;
  await session.step([noise(config, 2, 4)], 1e-2, 3, 3);
  expect(session.planFigures[0]).toBe(kept); // nothing changed: nothing recorded
  session.dispose();
  return losses;
}

it.each<readonly [string, (other: boolean) => void]>([
  ['kernels', (other) => void setKernels(!other)],
  ['flags of TensorFlow.js', (other) => tf.env().set('WEBGPU_MATMUL_PROGRAM_TYPE', other ? 2 : 3)],
])('%s changed in mid-session: steps are recorded anew and equal the tape', async (_, set) => {
  expect(await lossesUnder('auto', set)).toEqual(await lossesUnder('tape', set));
});

it('another optimiser gets plans of its own: its gradients, its trained set, its settings', async () => {
  const config = probeConfig();
  const session = new TrainingSession(config, null);
  const { store, model, architecture } = session;
  const parameters = store.trainable().map(({ spec, variable }) => ({
    name: spec.name, variable, lrScale: 1, weightDecay: 0,
  })); // prettier-ignore
  const make = (name: 'sgd' | 'adamw'): FlatOptimizer => {
    if (store.trained === null) throw new Error('no arena');
    return new FlatOptimizer(backend(), { ...config.optimizer, name }, parameters, store.trained, null);
  };
  const steps = (): DeviceStep =>
    new DeviceStep(backend(), {
      store,
      seed: 1,
      forward: (ctx, images) => model.forward(ctx, architecture, images),
      loss: (logits, labels) => segmentationLoss(config.loss, logits, labels),
      recompute: false,
      execution: 'plan',
    });
  const start = await store.toTensorMap();
  const trained = async (device: DeviceStep, optimizer: FlatOptimizer): Promise<unknown> => {
    store.assign(start);
    await device.gradients(noise(config, 2, 0), 0, optimizer);
    optimizer.prepare(1e-2, 0);
    await device.update(optimizer, false);
    return [await store.toTensorMap(), await optimizer.gradients.flat.data()];
  };
  const [one, two, fresh] = [make('adamw'), make('sgd'), make('sgd')];
  const [shared, alone] = [steps(), steps()];
  const first = await trained(shared, one);
  const second = await trained(shared, two);
  expect(second).toEqual(await trained(alone, fresh));
  expect(second).not.toEqual(first);
  for (const made of [one, two, fresh, shared, alone, session]) made.dispose();
});
