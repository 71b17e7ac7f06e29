/**
 * @file Where engine workloads are measured: Node processes on Dawn, and workers of a headless Chromium. Each measurement has a process
 * or a worker of its own and a time limit; past it, what was found so far counts.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { FLAGS } from '../benchPage.mjs';
import { findChromium } from '../chromium.mjs';
import { ROOT, SetupError } from '../setup.mjs';
import { bundleEntry } from '../sources.mjs';

const withFailure = (result, failure) => (failure === null ? result : { ...result, failure });

/** @returns {Promise<{name: string, measure: Function, close: Function}>} */
export async function nodeHost() {
  const bundles = {
    ours: await bundleEntry('bench/engineNode'),
    stock: await bundleEntry('bench/engineNode', { stock: true }),
  };
  const measure = (kind, request, limitMs) =>
    new Promise((resolve) => {
      const child = spawn(process.execPath, [bundles[kind], JSON.stringify(request)], {
        cwd: ROOT,
        env: { ...process.env, STUDIO_ROOT: ROOT },
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: limitMs,
        killSignal: 'SIGKILL',
      });
      let out = '';
      let err = '';
      child.stdout.on('data', (chunk) => (out += chunk));
      child.stderr.on('data', (chunk) => (err += chunk));
      child.on('close', (code, signal) => {
        const line = out.split('\n').findLast((each) => each.startsWith('{') && each.endsWith('}'));
        const result = line === undefined ? {} : JSON.parse(line);
        const reason =
          err.split('\n').find((each) => /^\w*Error: /.test(each)) ?? err.trim().split('\n').at(-1);
        const failure =
          signal === 'SIGKILL'
            ? `stopped after ${limitMs / 1000} s`
            : code === 0
              ? null
              : reason || `exit code ${code}`;
        resolve(withFailure(result, failure));
      });
    });
  return { name: 'node', measure, close: async () => undefined };
}

/** Cross-origin isolated, so that performance.now() counts in steps of 5 us. */
const HEADERS = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cache-Control': 'no-store',
};

async function serveScripts(scripts) {
  const server = createServer((request, response) => {
    const script = scripts[request.url?.slice(1) ?? ''];
    const type = script === undefined ? 'text/html' : 'text/javascript';
    response
      .writeHead(200, { ...HEADERS, 'Content-Type': type })
      .end(script ?? '<!doctype html><title>bench</title>');
  });
  await new Promise((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return server;
}

/** In the page: runs one worker to its end. */
function runWorker({ script, request, limitMs }) {
  return new Promise((resolve) => {
    const worker = new Worker(script, { type: 'module' });
    let result = {};
    const finish = (failure) => {
      worker.terminate();
      resolve({ result, failure });
    };
    setTimeout(() => finish(`stopped after ${limitMs / 1000} s`), limitMs);
    worker.addEventListener('error', (event) => finish(`worker: ${event.message}`));
    worker.addEventListener('message', ({ data }) => {
      if (data.result !== undefined) ({ result } = data);
      else finish(data.failure ?? null);
    });
    worker.postMessage(request, []);
  });
}

/** A browser per failure: one whose GPU process was lost, or still computes, must not taint the next measurement. */
export async function chromiumHost() {
  const { chromium } = await import('@playwright/test');
  const executablePath = findChromium();
  if (executablePath === null) throw new SetupError('No Chromium was found; set CHROME_PATH');
  const scripts = {
    'ours.mjs': readFileSync(await bundleEntry('bench/engineWorker', { target: 'browser' })),
    'stock.mjs': readFileSync(await bundleEntry('bench/engineWorker', { target: 'browser', stock: true })),
  };
  const server = await serveScripts(scripts);
  let browser = null;
  const close = async () => {
    await browser?.close();
    browser = null;
  };
  const measure = async (kind, request, limitMs) => {
    try {
      browser ??= await chromium.launch({ executablePath, args: FLAGS });
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${server.address().port}/`);
      const { result, failure } = await page.evaluate(runWorker, {
        script: `/${kind}.mjs`,
        request,
        limitMs,
      });
      if (failure === null) await page.close();
      else await close();
      return withFailure(result, failure);
    } catch (error) {
      await close().catch(() => undefined);
      return { failure: error.message.split('\n')[0] };
    }
  };
  return {
    name: 'chromium',
    measure,
    close: async () => {
      await close();
      server.close();
    },
  };
}
