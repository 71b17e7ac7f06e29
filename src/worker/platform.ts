/**
 * @file The browser worker as the backend's platform: its WebGPU entry, the WASM binaries and thread scripts of our own origin.
 * Imports gpu types; used by train.worker.ts only.
 */
import plainBinary from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm.wasm?url';
import simdBinary from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-simd.wasm?url';
import threadedBinary from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.wasm?url';
import threadedGlue from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.js?url';
import threadWorker from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.worker.js?url';
import type { BackendPlatform, WasmBinaryName } from '../gpu/device';
import { UserError } from '../lib/errors';

const BINARIES: Readonly<Record<WasmBinaryName, string>> = {
  'tfjs-backend-wasm.wasm': plainBinary,
  'tfjs-backend-wasm-simd.wasm': simdBinary,
  'tfjs-backend-wasm-threaded-simd.wasm': threadedBinary,
};

async function wasmBinary(name: WasmBinaryName): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(BINARIES[name]);
  if (!response.ok) {
    throw new UserError('no-wasm', `${name} could not be loaded from this site (HTTP ${response.status})`, {
      subject: name,
      hint: 'Reload the page; the site may be incomplete.',
    });
  }
  return new Uint8Array(await response.arrayBuffer());
}

export const browserPlatform: BackendPlatform = {
  async gpu() {
    const gpu = (navigator as Navigator & { readonly gpu?: GPU }).gpu ?? null;
    return { gpu, note: gpu === null ? 'this browser offers no WebGPU' : '' };
  },
  wasmBinary,
  async wasmThreads() {
    if (!globalThis.crossOriginIsolated) {
      return { reason: 'the page is not cross-origin isolated (its server sends no COOP and COEP headers)' };
    }
    return {
      worker: new URL(threadWorker, self.location.href).href,
      glue: new URL(threadedGlue, self.location.href).href,
      cores: navigator.hardwareConcurrency,
    };
  },
};
