/**
 * @file Measures one workload on the device of this process or worker. The same in Node and in a browser worker, with our operations or,
 * in the stock bundle, with TensorFlow.js's.
 *
 * Order: one step that compiles, more while they are cheap, timed steps, then steps whose submissions are dropped, for the JavaScript
 * alone. Every stage is reported, so that a measurement cut off by its limit still tells what it found.
 */
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import { deviceHealth } from '../../gpu/health';
import { kernelsOn, studioBackend } from '../../gpu/launch';
import type { StudioBackend } from '../../gpu/studioBackend';
import { findAdapter, startWebGpu } from '../../gpu/webgpu';
import { CopyStep } from './copyStep';
import { countFlops } from './flops';
import { valuesOf, WORKLOADS, type EngineWorkload } from './list';
import { meter } from './meter';
import { ModelStep } from './modelStep';
import { RecordedStep } from './recordedStep';
import { TapedStep } from './tapedStep';
import type { Runner, Workload } from './workload';

export interface EngineRequest {
  /** Of a workload; null: only tell the adapter and the list. */
  readonly id: string | null;
  /** Encode only. */
  readonly count: boolean;
}

/** Per work (step / repeats). Absent: not measured yet, or not at all. */
export interface EngineResult {
  adapter: string;
  software: boolean;
  workloads?: readonly (Omit<EngineWorkload, 'step'> & { readonly step: undefined })[];
  repeats?: number;
  firstStepMs?: number; // compiles
  stepMs?: number; // median
  minMs?: number;
  maxMs?: number;
  steps?: number;
  /** Of AdamW beside the copy of the same bytes, taking turns. */
  turnMs?: number;
  copyMs?: number;
  dispatches?: number;
  submits?: number;
  jsMs?: number; // start of a step until its last submit returned
  encodeMs?: number; // command encoders with compute passes, until their submit returned
  peakBytes?: number;
  /** Temporaries of the largest plan, and the least that any plan needs. */
  plannedBytes?: number;
  liveBytes?: number;
  flops?: number;
  loss?: number; // of the first step
  error?: string;
}

const SLOW_MS = 10_000; // a step this slow is measured once
const WARM_MS = 2_000; // a first step faster than this is followed by another before the clock counts
const TIME_MS = 4_000;
const MAX_STEPS = 30;
const DRY_MS = 1_500;
const DRY_STEPS = 40;
const TURNS = 8;

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
};

/** On a GPU a short work is repeated until it outweighs the read-back that ends a step. */
function repeatsOf({ kind, n }: Workload, software: boolean): number {
  if (software) return 1;
  if (kind === 'adamw') return 10;
  return kind === 'matmul' ? Math.min(64, Math.max(1, Math.floor((4096 / Number(n)) ** 3))) : 1;
}

async function makeRunner({ step }: EngineWorkload, backend: StudioBackend): Promise<Runner> {
  if (step.kind === 'model') return new ModelStep(step.overrides, step.batch);
  const repeats = repeatsOf(step, backend.software);
  if (!kernelsOn()) return new TapedStep(step, valuesOf(step), repeats);
  const runner = new RecordedStep(backend, step, valuesOf(step), repeats);
  await runner.prepare();
  return runner;
}

const timed = async (runner: Runner): Promise<{ ms: number; loss: number }> => {
  const start = performance.now();
  const loss = await runner.step();
  return { ms: (performance.now() - start) / runner.repeats, loss };
};

/** Resolves when a started step encodes no more: its dispatches are known long before a slow device is done. */
async function encoded(): Promise<void> {
  let before = -1;
  while (meter.dispatches === 0 || meter.dispatches !== before) {
    before = meter.dispatches;
    await new Promise((resolve) => {
      setTimeout(resolve, 1000);
    });
  }
}

function countsOf(runner: Runner): Partial<EngineResult> {
  const { repeats, plans } = runner;
  const [largest] = plans.toSorted((a, b) => b.slotBytes - a.slotBytes);
  return {
    repeats,
    dispatches: meter.dispatches / repeats,
    submits: meter.submits,
    peakBytes: meter.peakBytes,
    ...(largest === undefined ? {} : { plannedBytes: largest.slotBytes, liveBytes: largest.liveBytes }),
  };
}

async function dryRun(runner: Runner): Promise<Partial<EngineResult>> {
  meter.dry = true;
  const js: number[] = [];
  const encode: number[] = [];
  const end = performance.now() + DRY_MS;
  while (js.length < 2 || (js.length < DRY_STEPS && performance.now() < end)) {
    meter.encodeMs = 0;
    const start = performance.now();
    await runner.step();
    js.push((meter.lastSubmit - start) / runner.repeats);
    encode.push(meter.encodeMs / runner.repeats);
  }
  return { jsMs: median(js), encodeMs: median(encode) };
}

/** AdamW and the copies take turns: a busy machine slows both. */
async function besideCopy(
  runner: Runner,
  backend: StudioBackend,
  step: Workload,
): Promise<Partial<EngineResult>> {
  const elements = Object.values(step.params).reduce(
    (n, { shape }) => n + shape.reduce((a, b) => a * b, 1),
    0,
  );
  const copies = (['single', 'tiled'] as const).map(
    (form) => new CopyStep(backend, form, Math.ceil(elements / 64) * 64, runner.repeats),
  );
  for (const copy of copies) await copy.prepare();
  const times: number[][] = [[], [], []];
  for (let turn = 0; turn <= TURNS; turn++) {
    for (const [i, each] of [runner, ...copies].entries()) {
      const { ms } = await timed(each);
      if (turn > 0) times[i]?.push(ms); // the first compiles
    }
  }
  for (const copy of copies) copy.dispose();
  const [turnMs = Number.NaN, ...copyMs] = times.map(median);
  return { turnMs, copyMs: Math.min(...copyMs) };
}

/**
 * @param gpu the entry point of WebGPU, its classes in globalThis.
 * @param emit takes the result so far after every stage.
 */
export async function measureEngine(
  { id, count }: EngineRequest,
  gpu: GPU,
  emit: (result: EngineResult) => void,
): Promise<void> {
  meter.install();
  const report = await findAdapter(gpu);
  if (report === null) throw new Error('there is no WebGPU adapter');
  const { name, software } = await startWebGpu(report, 'benchmark');
  const result: EngineResult = { adapter: name, software };
  const tell = (more: Partial<EngineResult>): void => emit(Object.assign(result, more));
  if (id === null) {
    tell({ workloads: WORKLOADS.map((each) => ({ ...each, step: undefined })) });
    return;
  }
  const workload = WORKLOADS.find((each) => each.id === id);
  if (workload === undefined) throw new Error(`there is no workload ${id}`);
  const backend = studioBackend() as StudioBackend;
  const flops = kernelsOn() ? null : countFlops();
  const runner = await makeRunner(workload, backend);
  meter.peakBytes = meter.liveBytes;
  const counts = (): Partial<EngineResult> => ({
    ...countsOf(runner),
    ...(flops !== null && flops() > 0 ? { flops: flops() / runner.repeats } : {}),
  });

  meter.dry = count;
  meter.dispatches = 0;
  meter.submits = 0;
  const pending = timed(runner);
  const quick = await Promise.race([pending.then(() => true), encoded().then(() => false)]);
  tell(counts());
  const first = await pending;
  if (quick) tell(counts());
  if (!count) {
    tell({ firstStepMs: first.ms, loss: first.loss });
    await timeSteps(runner, first.ms, tell);
    tell({ peakBytes: meter.peakBytes });
    if (workload.step.kind === 'adamw' && kernelsOn()) tell(await besideCopy(runner, backend, workload.step));
  }
  meter.stopCounting();
  tell(await dryRun(runner));
  const { error, lost } = deviceHealth();
  if (error !== null || lost !== null) tell({ error: error ?? lost?.message ?? '' });
}

async function timeSteps(
  runner: Runner,
  firstMs: number,
  tell: (more: Partial<EngineResult>) => void,
): Promise<void> {
  if (firstMs * runner.repeats < WARM_MS) await runner.step();
  const times: number[] = [];
  const end = performance.now() + TIME_MS;
  const least = firstMs * runner.repeats > SLOW_MS ? 1 : 3;
  while (times.length < least || (times.length < MAX_STEPS && performance.now() < end)) {
    times.push((await timed(runner)).ms);
    tell({
      stepMs: median(times),
      minMs: Math.min(...times),
      maxMs: Math.max(...times),
      steps: times.length,
    });
  }
}
