/** @file Types of modules that ship none. */
declare module '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.worker.js' {
  /** Source of the thread worker, as the package embeds it. */
  export const wasmWorkerContents: string;
}

declare module '*/chromium.mjs' {
  /** Path of a Chromium executable, or null. */
  export function findChromium(): string | null;
}
