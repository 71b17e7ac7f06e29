/**
 * @file Chooses and starts the tensor backend. May import lib, config types, tfjs.
 * `auto` takes WebGPU on a real GPU, else WASM: on a software adapter stock WebGPU is 5 to 20 times slower than WASM.
 */
import * as tf from '@tensorflow/tfjs-core';
// Node's and the browser's entry points register no gradients on their own.
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import type { BackendChoice } from '../config/types';
import { UserError } from '../lib/errors';
import type { BackendPlatform, DeviceInfo } from './device';
import { unwatchDevice } from './health';
import { findAdapter, startWebGpu, webGpuBackend } from './webgpu';
import { startWasm } from './wasm';

const COST = 'training runs on the CPU, many times slower than on a graphics card';

/**
 * Starts the backend and makes it tfjs' current one. An earlier backend's tensors become invalid when the same kind is started again.
 * Throws UserError 'no-webgpu' when WebGPU is asked for and missing, 'no-wasm' when nothing runs here.
 */
export async function startBackend(
  choice: BackendChoice,
  platform: BackendPlatform,
  threads: number | 'auto' = 'auto',
): Promise<DeviceInfo> {
  if (choice === 'wasm') return startWasm(platform, threads, 'hardware.backend=wasm');
  const { gpu, note } = await platform.gpu();
  const report = gpu === null ? null : await findAdapter(gpu);
  const because = note === '' ? '' : ` (${note})`;

  if (choice === 'webgpu') {
    if (report === null) {
      throw new UserError('no-webgpu', `hardware.backend=webgpu, but there is no WebGPU adapter${because}`, {
        subject: 'hardware.backend',
        hint: 'Use hardware.backend=auto or wasm, or a browser with WebGPU and hardware acceleration switched on.',
      });
    }
    if (report.missing.length > 0) {
      throw new UserError('no-webgpu', `${report.name} is too small: ${report.missing.join(', ')}`, {
        subject: 'hardware.backend',
        hint: 'Use hardware.backend=auto or wasm.',
      });
    }
    return startWebGpu(report, `hardware.backend=webgpu${because}`);
  }
  if (report === null) {
    return startWasm(platform, threads, `No WebGPU adapter${because}: ${COST}`);
  }
  if (report.missing.length > 0) {
    const missing = report.missing.join(', ');
    return startWasm(platform, threads, `The GPU ${report.name} is too small (${missing}): ${COST}`);
  }
  if (report.software) {
    const why = `WebGPU has only the software adapter ${report.name} here${because}, which is slower than WASM: ${COST}`;
    return startWasm(platform, threads, why);
  }
  return startWebGpu(report, `hardware adapter found${because}`);
}

/** Stops the current backend and frees its device or threads; every tensor is gone. For tests and the end of a command. */
export function stopBackend(): void {
  const name = tf.getBackend();
  if (name !== 'webgpu' && name !== 'wasm') return;
  const device = webGpuBackend()?.device;
  unwatchDevice(); // the loss that follows is our own doing
  tf.removeBackend(name);
  device?.destroy();
}
