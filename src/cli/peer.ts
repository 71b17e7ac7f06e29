/**
 * @file Our engine as a peer of ../shared/peerbench: the same training steps as TensorFlow.js, jax-js and PyTorch there, through our
 * kernels, recorded once and replayed. Runs in a browser worker; bundled by peerbench.
 */
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import { studioBackend } from '../gpu/launch';
import type { StudioBackend } from '../gpu/studioBackend';
import { findAdapter, startWebGpu } from '../gpu/webgpu';
import { RecordedStep } from './bench/recordedStep';
import type { Values, Workload } from './bench/workload';

let backend: StudioBackend;
let current: RecordedStep | null = null;

export async function init(): Promise<Record<string, string>> {
  const report = await findAdapter(navigator.gpu);
  if (report === null) throw new Error('no WebGPU adapter');
  const info = await startWebGpu(report, 'benchmark');
  backend = studioBackend() as StudioBackend;
  return { 'TinyUSFM Studio': info.name };
}

/** @param spec an entry of peerbench's makeWorkloads(); `separable` is another library's way to the same result. */
export async function prepare(spec: Workload, values: Values): Promise<{ note: string } | null> {
  if (spec['separable'] === true) return null;
  current = new RecordedStep(backend, spec, values);
  await current.prepare();
  const sum = (key: 'slotBytes' | 'liveBytes' | 'dispatches'): number =>
    prepared().plans.reduce((n, figures) => n + figures[key], 0);
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const temporaries = `temporaries ${mb(sum('slotBytes'))} MB of at least ${mb(sum('liveBytes'))} MB`;
  return { note: `${sum('dispatches')} recorded, ${temporaries}` };
}

const prepared = (): RecordedStep => {
  if (current === null) throw new Error('prepare() was not called');
  return current;
};

export const step = (): Promise<number> => prepared().step();
export const probe = (): Promise<Record<string, Float32Array>> => prepared().probe();

export async function dispose(): Promise<void> {
  prepared().dispose();
  current = null;
}
