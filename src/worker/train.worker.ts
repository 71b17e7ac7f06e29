/**
 * @file The train worker: owns the GPU, trains, tests, estimates. The only chunk with TensorFlow.js in it.
 * Imports everything below app; no DOM.
 */
import { createReader } from '../data/reader';
import type { SampleReader } from '../data/types';
import { startBackend } from '../gpu/backend';
import type { DeviceInfo } from '../gpu/device';
import { deviceHealth } from '../gpu/health';
import { webGpuBackend } from '../gpu/webgpu';
import { UserError, toPlainError } from '../lib/errors';
import { TrainControl } from '../training/control';
import { setDoubleTrace } from '../models/stepRecording';
import { dryRun } from '../training/dryRun';
import { describeMemoryPlan } from '../training/memoryParts';
import { evaluate } from './evaluate';
import { FolderBook } from './folderBook';
import { GpuLane } from './gpuLane';
import { importRun } from './importRun';
import { browserPlatform } from './platform';
import type { DataRequest, TrainRequests } from './protocol';
import { selfTest } from './selfTest';
import { serve } from './server';
import type { Scope } from './server';
import { trainRun } from './trainRun';
import { fitLibraryWeights } from './weightsSource';

// Under the development server every step is recorded twice (0.1 s more): a value frozen into a plan stops the run with its kernel's name.
if (import.meta.env.DEV) setDoubleTrace(true);

/** Time for a running job to report the loss itself before the page replaces this worker. */
const LOSS_REPORT_MS = 1500;

const book = new FolderBook();
const lane = new GpuLane();
let device: DeviceInfo | null = null;
let control: TrainControl | null = null;

function started(): DeviceInfo {
  if (device) return device;
  throw new UserError('internal', 'The backend was not started');
}

async function readerFor(data: DataRequest): Promise<SampleReader> {
  const folders = await Promise.all(data.folderIds.map((id) => book.reader(id)));
  return createReader(folders, data.dataset.samples, data.labels);
}

function watchDeviceLoss(): void {
  void webGpuBackend()?.device.lost.then(async () => {
    await new Promise((resolve) => setTimeout(resolve, LOSS_REPORT_MS));
    const { lost } = deviceHealth();
    if (!lost) return; // stopped by ourselves
    const error = new UserError('gpu-lost', `The GPU device was lost (${lost.reason}): ${lost.message}`);
    post({ id: -1, type: 'deviceLost', error: toPlainError(error) });
  });
}

function activeControl(): TrainControl {
  if (control) return control;
  throw new UserError('no-run', 'No run is active');
}

const post = serve<TrainRequests>(self as unknown as Scope, {
  ...book.handlers,

  async start({ backend, threads }) {
    device = await startBackend(backend, browserPlatform, threads);
    watchDeviceLoss();
    return device;
  },

  async loadWeights({ source, config }) {
    if (source.kind === 'checkpoint') throw new UserError('internal', 'A checkpoint needs no fitting');
    return (await fitLibraryWeights(source.weightsId, config)).report;
  },

  estimate: ({ config, trainCases, valCases }, { progress }) =>
    lane.job(() =>
      dryRun(config, trainCases, valCases, (plan) => progress({ message: describeMemoryPlan(plan) })),
    ),

  train: (payload, { progress, signal }) =>
    lane.train(async () => {
      const mine = new TrainControl();
      control = mine;
      signal.addEventListener('abort', () => mine.stop());
      try {
        const reader = await readerFor(payload.data);
        return await trainRun(payload, { device: started(), reader, control: mine, lane, progress });
      } finally {
        control = null;
      }
    }),

  async pause() {
    activeControl().pause();
    return null;
  },
  async continue() {
    const run = activeControl();
    await lane.idle();
    run.continue();
    return null;
  },
  async stop() {
    activeControl().stop();
    return null;
  },

  evaluate: (payload, { progress, signal }) =>
    lane.job(async () => evaluate(payload, await readerFor(payload.data), { progress, signal })),

  importRun: ({ file, fallback }) => importRun(file, fallback),

  selfTest: ({ baseUrl }, { progress, signal }) => lane.job(() => selfTest(baseUrl, signal, progress)),
});
