/**
 * @file Node as a place to train: Dawn (npm `webgpu`) for WebGPU, the package's WASM files from node_modules, threads as worker_threads.
 * May import gpu types, lib, Node.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { wasmWorkerContents } from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.worker.js';
import type { BackendPlatform, WasmBinaryName, WasmThreadScripts } from '../gpu/device';
import { chooseVulkanDriver } from './vulkanDriver';

/** Resolved from the project's folder, so that it works from the bundle in node_modules/.cache as well. */
const projectRequire = createRequire(path.join(process.env['STUDIO_ROOT'] ?? process.cwd(), 'package.json'));
const wasmPackage = (): string =>
  path.dirname(projectRequire.resolve('@tensorflow/tfjs-backend-wasm/package.json'));

let started: Promise<{ gpu: GPU | null; note: string }> | null = null;

export const nodePlatform: BackendPlatform = {
  gpu() {
    started ??= startDawn();
    return started;
  },

  async wasmBinary(name: WasmBinaryName) {
    const bytes = readFileSync(path.join(wasmPackage(), 'wasm-out', name));
    return new Uint8Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
  },

  async wasmThreads(): Promise<WasmThreadScripts> {
    return {
      worker: writeThreadWorker(),
      glue: path.join(wasmPackage(), 'wasm-out', 'tfjs-backend-wasm-threaded-simd.js'),
      cores: availableParallelism(),
    };
  },
};

/** Loads Dawn and puts `navigator.gpu` and the GPU classes where tfjs looks for them. */
async function startDawn(): Promise<{ gpu: GPU | null; note: string }> {
  const note = chooseVulkanDriver(); // the loader reads the environment once, when Dawn starts
  try {
    const { create, globals } = await import('webgpu');
    Object.assign(globalThis, globals);
    const gpu = create(['enable-dawn-features=allow_unsafe_apis']);
    // Node 21 and later have a `navigator` of their own, which cannot be replaced but can be extended.
    if (globalThis.navigator === undefined) {
      Object.defineProperty(globalThis, 'navigator', {
        value: { userAgent: `Node.js/${process.version}`, hardwareConcurrency: availableParallelism() },
        configurable: true,
      });
    }
    Object.defineProperty(globalThis.navigator, 'gpu', { value: gpu, configurable: true });
    return { gpu, note };
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error);
    return { gpu: null, note: `Dawn did not start: ${why}` };
  }
}

/** The package carries its thread worker as a string; worker_threads need a CommonJS file. */
function writeThreadWorker(): string {
  const folder = path.join(path.dirname(wasmPackage()), '..', '.cache', 'studio');
  const file = path.join(folder, 'wasm-thread.cjs');
  mkdirSync(folder, { recursive: true });
  const temporary = `${file}.${process.pid}`;
  // The package embeds the script in a template literal: its escapes inside strings have become real line ends.
  writeFileSync(temporary, wasmWorkerContents.replaceAll('\n', '\\n'));
  renameSync(temporary, file); // whole or not at all: another process may be reading it
  return file;
}
