/** @file Types of modules that ship none. */
declare module '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.worker.js' {
  /** Source of the thread worker, as the package embeds it. */
  export const wasmWorkerContents: string;
}

declare module '*/chromium.mjs' {
  /** Path of a Chromium executable, or null. */
  export function findChromium(): string | null;
}

declare module '*/serve.mjs' {
  /** Serves a folder with the security headers; rejects with the system's error when the port is taken. */
  export function serve(options: {
    dir: string;
    port: number;
    host?: string;
  }): Promise<import('node:http').Server>;
}

declare module '*/sources.mjs' {
  /** Hash of names, sizes and times below paths relative to the project. */
  export function fingerprint(paths: readonly string[]): string;
}

declare module '*/engineBounds.mjs' {
  type Result = Readonly<Record<string, number | undefined>>;
  interface Bound {
    readonly text: string;
    readonly ok: boolean | null; // null: a figure is missing
  }
  interface Listed {
    readonly id: string;
    readonly title: string;
    readonly flops: number | null;
    readonly attentionBytes?: number;
  }
  export function boundsOf(workload: Listed, host: string, ours: Result, stock: Result): Bound[];
  export function tableOf(
    rows: readonly {
      readonly workload: Listed;
      readonly ours: Result;
      readonly stock: Result;
      readonly bounds: readonly Bound[];
      readonly notes: readonly string[];
    }[],
  ): string;
}
