/**
 * @file What a backend is, in plain data, and what the surroundings (a browser worker, Node) must hand over to start one.
 * Types only.
 */

/** Which backend and adapter a run uses; stored with the run. */
export interface DeviceInfo {
  readonly backend: 'webgpu' | 'wasm' | 'cpu';
  /** "NVIDIA RTX 4070", "SwiftShader (software)", "WASM SIMD, 4 threads". */
  readonly name: string;
  readonly software: boolean;
  readonly threads?: number;
  readonly features?: readonly string[];
  readonly limits?: Readonly<Record<string, number>>;
  /** Why this backend: "no WebGPU adapter: ...", "hardware.backend=wasm". Shown on screen and in the log. */
  readonly reason: string;
}

export interface MemoryUse {
  readonly tensors: number;
  readonly bytes: number; // live tensor bytes
  readonly poolBytes: number; // bytes held by the backend, pools included (webgpu); = bytes elsewhere
}

/** The binaries of @tensorflow/tfjs-backend-wasm. */
export type WasmBinaryName =
  'tfjs-backend-wasm.wasm' | 'tfjs-backend-wasm-simd.wasm' | 'tfjs-backend-wasm-threaded-simd.wasm';

/** Where the scripts of the WASM threads lie: URLs of the page's own origin, or file paths in Node. */
export interface WasmThreadScripts {
  readonly worker: string;
  readonly glue: string;
  readonly cores: number; // logical cores of the machine
}

/** What differs between a browser worker and Node. Implemented in worker/ and cli/. */
export interface BackendPlatform {
  /** The WebGPU entry point, or null; `note` says in one sentence what was found or why there is none. */
  gpu(): Promise<{ readonly gpu: GPU | null; readonly note: string }>;
  wasmBinary(name: WasmBinaryName): Promise<Uint8Array<ArrayBuffer>>;
  /** Scripts for threads, or the reason why threads cannot be used here. */
  wasmThreads(): Promise<WasmThreadScripts | { readonly reason: string }>;
}
