/**
 * @file One measurement of `npm run bench` per process: step MODEL BACKEND BATCH, or scan PAIRS. Prints one line of JSON.
 * Bundled twice by bench.mjs: with our operations, and with TensorFlow.js's own (src/cli/stock).
 */
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import type { StudioConfig } from '../config/types';
import { startBackend } from '../gpu/backend';
import { settleDevice } from '../gpu/health';
import { memoryUse } from '../gpu/memory';
import { Random } from '../lib/random';
import { TrainingSession, type HostBatch } from '../training/session';
import { nodePlatform } from './nodePlatform';

/** Timed steps: at least one, more while they fit into this time. */
const TIME_BUDGET_MS = 12_000;
const MAX_STEPS = 10;

export interface StepMeasurement {
  readonly device: string;
  readonly imageSize: number;
  readonly batch: number;
  readonly parameters: number;
  readonly firstStepMs: number; // compiles pipelines
  readonly stepMs: number; // median
  readonly steps: number;
  readonly dispatches: number | null; // of one step; WebGPU only
  readonly peakBytes: number; // held by the backend after the steps, its pools included
  readonly loss: number;
}

/** Noise with a disc as label: every loss term is alive. */
function noiseBatch(count: number, size: number): HostBatch {
  const random = new Random('bench');
  const images = Float32Array.from({ length: count * size * size * 3 }, () => random.uniform(-1, 1));
  const labels = Int32Array.from({ length: count * size * size }, (_, i) => {
    const x = (i % size) - size / 2;
    const y = (Math.floor(i / size) % size) - size / 2;
    return x * x + y * y < (size * size) / 16 ? 1 : 0;
  });
  return { images, labels, count, size };
}

/** Counts compute dispatches from now on; null without WebGPU. */
function countDispatches(): { take: () => number | null } {
  const Encoder = (globalThis as { GPUComputePassEncoder?: typeof GPUComputePassEncoder })
    .GPUComputePassEncoder;
  if (Encoder === undefined) return { take: () => null };
  let count = 0;
  const { dispatchWorkgroups } = Encoder.prototype;
  Encoder.prototype.dispatchWorkgroups = function counted(...sizes): undefined {
    count++;
    return dispatchWorkgroups.apply(this, sizes);
  };
  return {
    take: () => {
      const taken = count;
      count = 0;
      return taken;
    },
  };
}

async function measureStep(
  config: StudioConfig,
  backend: 'webgpu' | 'wasm',
  batch: number,
): Promise<StepMeasurement> {
  const info = await startBackend(backend, nodePlatform);
  const dispatches = countDispatches();
  const session = new TrainingSession(config, null);
  const data = [noiseBatch(batch, config.model.image_size)];
  let loss = Number.NaN;
  const step = async (index: number): Promise<number> => {
    const start = performance.now();
    ({ loss } = await session.step(data, 1e-4, index, index)());
    await settleDevice();
    return performance.now() - start;
  };
  const firstStepMs = await step(0);
  dispatches.take();
  const times = [await step(1)];
  const perStep = dispatches.take();
  const end = performance.now() + TIME_BUDGET_MS;
  while (times.length < MAX_STEPS && performance.now() < end) times.push(await step(times.length + 1));
  times.sort((a, b) => a - b);
  return {
    device: info.name,
    imageSize: config.model.image_size,
    batch,
    parameters: session.trainableElements,
    firstStepMs,
    stepMs: times[Math.floor(times.length / 2)] ?? Number.NaN,
    steps: times.length,
    dispatches: perStep === 0 ? null : perStep,
    peakBytes: memoryUse().poolBytes,
    loss,
  };
}

/** The configuration as the command line would compose it from configs/. */
const benchConfig = (overrides: readonly string[]): StudioConfig =>
  resolveConfig(configFiles, 'train', ['data=phantom', ...overrides]).config;

const [command, ...rest] = process.argv.slice(2);
if (command === 'step') {
  const [model = '', backend = '', batch = '1', ...overrides] = rest;
  if (backend !== 'webgpu' && backend !== 'wasm') throw new Error(`no backend ${backend}`);
  const config = benchConfig([`model=${model}`, ...overrides]);
  console.log(JSON.stringify(await measureStep(config, backend, Number(batch))));
}
process.exit(0); // Dawn and the WASM threads would keep the process alive
