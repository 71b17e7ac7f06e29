/**
 * @file Starts TensorFlow.js' WASM backend. May import lib, tfjs.
 * The package's own start-up builds its threads from `blob:` URLs, which our Content-Security-Policy forbids, and refuses threads in
 * Node. So the Emscripten module is made here: its thread scripts are files of our own origin, its bytes come from the platform.
 */
import * as tf from '@tensorflow/tfjs-core';
import { BackendWasm, setThreadsCount } from '@tensorflow/tfjs-backend-wasm';
import * as plainGlue from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm.js';
import * as threadedGlue from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.js';
import { UserError } from '../lib/errors';
import type { BackendPlatform, DeviceInfo, WasmBinaryName, WasmThreadScripts } from './device';
import { outOfMemoryError, unwatchDevice } from './health';

type BackendModule = ConstructorParameters<typeof BackendWasm>[0];

/** The parts of Emscripten's module used here; the package's own types need the whole of @types/emscripten. */
type WasmModule = BackendModule & {
  readonly HEAPU8: Uint8Array;
  _malloc: (bytes: number) => number;
  readonly _free: (address: number) => void;
  cwrap(name: 'get_threads_count', result: 'number', parameters: readonly string[]): () => number;
  cwrap(name: string, result: null, parameters: readonly string[]): (...values: number[]) => void;
};
type Factory = (settings: Record<string, unknown>) => Promise<WasmModule>;

/** Emscripten starts this many threads up front; asking XNNPACK for more would wait for a worker that cannot start. */
const POOL_SIZE = 8;
/** Thread start-up takes well under a second; a blocked worker script never answers. */
const START_TIMEOUT_MS = 20_000;

/** CommonJS modules arrive as the function itself or under `default`, depending on the bundler. */
const factoryOf = (glue: object): Factory => ('default' in glue ? glue.default : glue) as Factory;

/**
 * Calls a glue's factory. In Node the glue also takes over uncaught errors of the whole process, once per start, printing its own
 * source and changing the exit code; those handlers are taken away again.
 */
function createModule(glue: object, settings: Record<string, unknown>): Promise<WasmModule> {
  const events = ['uncaughtException', 'unhandledRejection'] as const;
  if (typeof process !== 'object' || typeof process.listeners !== 'function')
    return factoryOf(glue)(settings);
  const before = events.map((event) => new Set<unknown>(process.listeners(event as 'uncaughtException')));
  const module = factoryOf(glue)(settings); // adds its handlers before it returns
  events.forEach((event, i) => {
    for (const listener of process.listeners(event as 'uncaughtException')) {
      if (before[i]?.has(listener) === false) process.removeListener(event, listener);
    }
  });
  return module;
}

/**
 * Registers and starts the fastest WASM build the machine can run: SIMD with threads, SIMD, plain.
 * `threads`: 'auto' = one per logical core, at most 8.
 */
export async function startWasm(
  platform: BackendPlatform,
  threads: number | 'auto',
  reason: string,
): Promise<DeviceInfo> {
  if (typeof WebAssembly !== 'object') {
    throw new UserError('no-wasm', 'This browser runs neither WebGPU nor WebAssembly', {
      hint: 'Use a current Chrome, Edge, Firefox or Safari.',
    });
  }
  unwatchDevice();
  const simd = Boolean(await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT'));
  const scripts = simd ? await platform.wasmThreads() : { reason: 'this CPU or browser has no WASM SIMD' };
  const wanted =
    'reason' in scripts ? 1 : Math.max(1, Math.min(threads === 'auto' ? scripts.cores : threads, POOL_SIZE));

  let note = 'reason' in scripts ? `one thread: ${scripts.reason}` : '';
  if (!('reason' in scripts) && wanted > 1) {
    try {
      const module = await createThreaded(platform, scripts);
      await register(module, wanted);
      return info(`WASM SIMD, ${wanted} threads`, wanted, reason);
    } catch (error) {
      note = `one thread: threads did not start (${error instanceof Error ? error.message : String(error)})`;
    }
  }
  const name: WasmBinaryName = simd ? 'tfjs-backend-wasm-simd.wasm' : 'tfjs-backend-wasm.wasm';
  const module = await createModule(plainGlue, { wasmBinary: await platform.wasmBinary(name) });
  await register(module, 1);
  return info(
    `WASM${simd ? ' SIMD' : ''}, 1 thread`,
    1,
    [reason, note].filter((part) => part !== '').join('; '),
  );
}

const info = (name: string, threads: number, reason: string): DeviceInfo => ({
  backend: 'wasm',
  name,
  software: true,
  threads,
  reason,
});

/** The threaded module; rejects when its workers do not answer in time. */
async function createThreaded(platform: BackendPlatform, scripts: WasmThreadScripts): Promise<WasmModule> {
  const wasmBinary = await platform.wasmBinary('tfjs-backend-wasm-threaded-simd.wasm');
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer from the thread workers')), START_TIMEOUT_MS);
  });
  const started = createModule(threadedGlue, {
    wasmBinary,
    mainScriptUrlOrBlob: scripts.glue,
    locateFile: (path: string) => (path.endsWith('.worker.js') ? scripts.worker : path),
  });
  try {
    return await Promise.race([started, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Adds what tfjs expects on the module, guards its allocator, and makes it the current backend. */
async function register(module: WasmModule, threads: number): Promise<void> {
  module.tfjs = {
    init: module.cwrap('init', null, []),
    initWithThreadsCount: module.cwrap('init_with_threads_count', null, ['number']),
    getThreadsCount: module.cwrap('get_threads_count', 'number', []),
    registerTensor: module.cwrap('register_tensor', null, ['number', 'number', 'number']),
    disposeData: module.cwrap('dispose_data', null, ['number']),
    dispose: module.cwrap('dispose', null, []),
  };
  guardAllocator(module);
  setThreadsCount(threads);
  if (tf.findBackendFactory('wasm') !== null) tf.removeBackend('wasm');
  tf.registerBackend('wasm', () => new BackendWasm(module), 2);
  await tf.setBackend('wasm');
}

/**
 * malloc answers 0 when the heap cannot grow, and tfjs would then write tensors over address 0: silently wrong
 * numbers. Here that becomes an error.
 */
function guardAllocator(module: WasmModule): void {
  module._free(module._malloc(8)); // Emscripten replaces its exported stubs at the first call; wrap after that
  const allocate = module._malloc;
  module._malloc = (bytes: number): number => {
    const address = allocate(bytes) >>> 0; // above 2 GiB the i32 result is negative
    if (address === 0 && bytes > 0) {
      const heap = Math.round(module.HEAPU8.length / 2 ** 20);
      throw outOfMemoryError(`${bytes} bytes in a WASM heap of ${heap} MiB (the limit is 4096 MiB)`);
    }
    return address;
  };
}

/** Bytes of the WASM heap, which never shrinks; 0 on other backends. */
export function wasmHeapBytes(): number {
  if (tf.getBackend() !== 'wasm') return 0;
  const backend = tf.backend();
  return backend instanceof BackendWasm ? (backend.wasm as WasmModule).HEAPU8.length : 0;
}
