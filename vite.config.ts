/**
 * @file Build and unit-test configuration.
 * The build is a static site that works from any folder of any host, under a strict Content-Security-Policy (reference/reliability.md F1).
 */
import { createRequire } from 'node:module';
import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import headers from './src/cli/headers.json' with { type: 'json' };

/** `frame-ancestors` is ignored (with a console error) in a <meta>; the server sends it as a header. */
const META_CSP = headers['Content-Security-Policy'].replace(/ frame-ancestors [^;]*;/, '');

/**
 * Puts the policy into index.html, for hosts that cannot send headers, and writes `_headers` for those that read such a file.
 * Build only: the development server injects inline scripts.
 */
function contentSecurityPolicy(): Plugin {
  return {
    name: 'studio:content-security-policy',
    apply: 'build',
    transformIndexHtml: () => [
      {
        tag: 'meta',
        attrs: { 'http-equiv': 'Content-Security-Policy', content: META_CSP },
        injectTo: 'head-prepend',
      },
      { tag: 'meta', attrs: { name: 'referrer', content: 'no-referrer' }, injectTo: 'head-prepend' },
    ],
    generateBundle() {
      const lines = Object.entries(headers).map(([name, value]) => `  ${name}: ${value}`);
      this.emitFile({ type: 'asset', fileName: '_headers', source: `/*\n${lines.join('\n')}\n` });
    },
  };
}

const THREAD_WORKER = 'tfjs-backend-wasm-threaded-simd.worker.js';
const THREAD_WORKER_DEV_PATH = '/@studio/wasm-thread.js';

/** The script that the package carries as a string; its line ends were `\\n` escapes before it went into a template literal. */
function threadWorkerSource(): string {
  const require = createRequire(import.meta.url);
  const module = require(`@tensorflow/tfjs-backend-wasm/wasm-out/${THREAD_WORKER}`) as {
    wasmWorkerContents: string;
  };
  return module.wasmWorkerContents.replaceAll('\n', '\\n');
}

/**
 * The WASM backend's thread worker as a file of our own origin. The package runs it from a `blob:` URL, which `worker-src 'self'`
 * forbids; importing its `.worker.js?url` gives the URL of the script itself instead (used in src/worker/platform.ts).
 */
function threadWorker(): Plugin {
  let building = true;
  return {
    name: 'studio:wasm-thread-worker',
    enforce: 'pre',
    configResolved(config) {
      building = config.command === 'build';
    },
    load(id) {
      if (!id.endsWith(`${THREAD_WORKER}?url`)) return null;
      if (!building) return `export default ${JSON.stringify(THREAD_WORKER_DEV_PATH)}`;
      const file = this.emitFile({ type: 'asset', name: 'wasm-thread.js', source: threadWorkerSource() });
      return `export default import.meta.ROLLUP_FILE_URL_${file}`;
    },
    configureServer(server) {
      server.middlewares.use(THREAD_WORKER_DEV_PATH, (_request, response) => {
        response.setHeader('Content-Type', 'text/javascript');
        for (const [name, value] of Object.entries(isolation)) response.setHeader(name, value);
        response.end(threadWorkerSource());
      });
    },
  };
}

/** The development server needs the isolation headers for WASM threads, but not the policy (see above). */
const isolation = {
  'Cross-Origin-Opener-Policy': headers['Cross-Origin-Opener-Policy'],
  'Cross-Origin-Embedder-Policy': headers['Cross-Origin-Embedder-Policy'],
};

export default defineConfig({
  base: './',
  plugins: [react(), contentSecurityPolicy(), threadWorker()],
  // Always tfjs' ES modules, in Node too: one copy of the core, the one whose gradients are registered.
  resolve: {
    alias: [{ find: /^@tensorflow\/(tfjs-[a-z-]+)$/, replacement: '@tensorflow/$1/dist/index.js' }],
  },
  server: { headers: isolation, port: 5177 },
  preview: { headers, port: 5176 },
  build: {
    target: 'es2023',
    // Nothing inlined as data: URLs: the policy allows them for images only.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1500, // kB; tfjs lives in the worker chunk
  },
  worker: { format: 'es', plugins: () => [threadWorker()] },
  test: {
    environment: 'node',
    include: ['src/**/*.test.ts'],
    // tfjs' ES modules have no file extensions in their imports: only Vite can load them, not Node.
    server: { deps: { inline: [/@tensorflow\//] } },
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    experimental: { fsModuleCache: true },
    coverage: { enabled: false },
  },
});
