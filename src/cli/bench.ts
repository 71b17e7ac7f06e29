/**
 * @file One measurement of `npm run bench` per process: step MODEL BACKEND BATCH, or scan PAIRS; prints one line of JSON.
 * picture FILE draws a recorded step.
 * Bundled twice by bench.mjs: with our operations, and with TensorFlow.js's own (src/cli/stock).
 */
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { StudioConfig } from '../config/types';
import { buildDataset } from '../data/dataset';
import type { FileRef } from '../data/types';
import { startBackend } from '../gpu/backend';
import { settleDevice } from '../gpu/health';
import { studioBackend } from '../gpu/launch';
import { memoryUse } from '../gpu/memory';
import { drawPlans } from '../gpu/plan/picture';
import { TrainingSession } from '../training/session';
import { meter } from './bench/meter';
import { benchConfig, noiseBatch } from './bench/modelStep';
import { valuesOf, vit } from './bench/list';
import { RecordedStep } from './bench/recordedStep';
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

async function measureStep(
  config: StudioConfig,
  backend: 'webgpu' | 'wasm',
  batch: number,
): Promise<StepMeasurement> {
  const info = await startBackend(backend, nodePlatform);
  if (backend === 'webgpu') meter.install();
  const session = new TrainingSession(config, null);
  const data = [noiseBatch(batch, config.model.image_size)];
  let loss = Number.NaN;
  const step = async (index: number): Promise<number> => {
    const start = performance.now();
    ({ loss } = await session.step(data, 1e-4, index, index));
    await settleDevice();
    return performance.now() - start;
  };
  const firstStepMs = await step(0);
  meter.dispatches = 0;
  const times = [await step(1)];
  const perStep = meter.dispatches;
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

interface ScanMeasurement {
  readonly pairs: number;
  readonly ms: number; // listing, sizes and dates from disk, pairing
  readonly heapBytes: number; // grown by, the data set held
}

/** Lists and pairs a folder of BUSI's naming with the given number of image-mask pairs, on disk. */
async function measureScan(pairs: number): Promise<ScanMeasurement> {
  const root = mkdtempSync(path.join(tmpdir(), 'studio-scan-'));
  try {
    for (let i = 1; i <= pairs; i++) {
      const name = `${['benign', 'malignant', 'normal'][i % 3]} (${i})`;
      writeFileSync(path.join(root, `${name}.png`), `image ${i}`);
      writeFileSync(path.join(root, `${name}_mask.png`), `mask ${i}`);
    }
    const heapBefore = process.memoryUsage().heapUsed;
    const start = performance.now();
    const files: FileRef[] = readdirSync(root).map((name) => {
      const { size, mtimeMs } = statSync(path.join(root, name));
      return { folder: 'bench', path: name, size, modified: Math.round(mtimeMs) };
    });
    const read = async (name: string): Promise<Uint8Array> =>
      new Uint8Array(readFileSync(path.join(root, name)));
    const dataset = await buildDataset([{ id: 'bench', name: 'bench', testOnly: false, files, read }]);
    const ms = performance.now() - start;
    const found = dataset.samples.filter((sample) => sample.masks.length === 1).length;
    if (found !== pairs) throw new Error(`paired ${found} of ${pairs}`);
    return { pairs, ms, heapBytes: process.memoryUsage().heapUsed - heapBefore };
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** One ViT block's training step as recorded, for ARCHITECTURE.md. */
async function drawRecordedStep(): Promise<string> {
  await startBackend('webgpu', nodePlatform);
  const { step: spec } = vit(4, 197, 192, 12);
  const backend = studioBackend();
  if (spec.kind === 'model' || backend === null) throw new Error('nothing to draw');
  const step = new RecordedStep(backend, spec, valuesOf(spec));
  await step.prepare();
  return drawPlans(step.drawn);
}

const [command, ...rest] = process.argv.slice(2);
if (command === 'step') {
  const [model = '', backend = '', batch = '1', ...overrides] = rest;
  if (backend !== 'webgpu' && backend !== 'wasm') throw new Error(`no backend ${backend}`);
  const config = benchConfig([`model=${model}`, ...overrides]);
  console.log(JSON.stringify(await measureStep(config, backend, Number(batch))));
}
if (command === 'scan') console.log(JSON.stringify(await measureScan(Number(rest[0]))));
if (command === 'picture') writeFileSync(rest[0] ?? '', await drawRecordedStep());
process.exit(0); // Dawn and the WASM threads would keep the process alive
