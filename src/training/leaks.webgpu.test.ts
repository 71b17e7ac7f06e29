/**
 * @file Nothing piles up on the device: not over a thousand steps, not over fifty starts and stops (reference/reliability.md, B4).
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { studioBackend } from '../gpu/launch';
import { settleDevice } from '../gpu/health';
import { trimMemory } from '../gpu/memory';
import { useBackend } from '../gpu/ops/testSupport';
import type { StudioBackend } from '../gpu/studioBackend';
import { probeConfig } from './probeTestSupport';
import { TrainingSession } from './session';
import { noise } from './testSupport';

beforeAll(() => useBackend('webgpu'), 60_000);

const config = probeConfig();

function held(): object {
  const { numTensors, numBytes, numDataBuffers } = tf.memory();
  const backend = studioBackend() as StudioBackend;
  const { bufferManager, ownBytes, programs, internals } = backend;
  return {
    numTensors,
    numBytes,
    numDataBuffers,
    ownBytes,
    poolBytes: bufferManager.numBytesAllocated,
    usedBuffers: bufferManager.getNumUsedBuffers(),
    records: (backend.tensorMap as unknown as { numDataIds(): number }).numDataIds(),
    pipelines: programs.size,
    tfjsPipelines: Object.keys(internals.pipelineCache).length,
  };
}

it('a thousand steps leave bytes and counts as the tenth did', async () => {
  const session = new TrainingSession(config, null, { execution: 'plan' });
  const batch = noise(config, 2, 0);
  let tenth: object = {};
  for (let step = 0; step < 1000; step++) {
    await session.step([batch], 1e-4, step, step);
    if (step === 9) tenth = held();
  }
  expect(held()).toEqual(tenth);
  session.dispose();
}, 240_000);

it('fifty starts and stops leave the device as the first did', async () => {
  let first: object = {};
  for (let cycle = 0; cycle < 50; cycle++) {
    const session = new TrainingSession(config, null, { execution: 'plan' });
    await session.step([noise(config, 2, cycle)], 1e-4, 0, 0);
    const { images, size } = noise(config, 2, cycle);
    (await session.predict(images, 2, size)).dispose();
    await settleDevice();
    session.dispose();
    trimMemory();
    if (cycle === 0) first = held();
  }
  expect(held()).toEqual(first);
}, 240_000);
