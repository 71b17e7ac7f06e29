/**
 * @file npm run bench: measures the bounds that the project reports and prints them as a table; details in test-results/bench.json.
 * Parts as arguments run only those: npm run bench -- engine step site page scan start. Every measurement runs in a process of its own.
 *
 * The part `engine` takes options: npm run bench -- engine --host chromium --only adamw,attention --all --limit 15
 *   --host node, chromium or both (as without)
 *   --only workloads by id, or by a part of their ids: matmul, vit, attention, mix-ffn, lora, bilinear, adamw, tinyusfm, segformer ...
 *   --all  on a software adapter too what takes it many minutes: products above 1024, stock attention over 4096 tokens
 *   --limit minutes for one measurement (8); past it, what was found so far counts
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { ROOT, SetupError, ensureDependencies, runLauncher } from './setup.mjs';

const LIMIT_MS = 8 * 60_000;
const START_PORT = 5199;
const SCAN_PAIRS = 10_000;
const MB = 2 ** 20;
const PICTURE = 'src/gpu/plan/recorded-step.svg';

/** [model, backend, batch]: small batches on WebGPU, where a software adapter takes seconds per image. */
const STEPS = [
  ['tinyusfm_nano', 'wasm', 8],
  ['segformer_nano', 'wasm', 8],
  ['tinyusfm', 'wasm', 1],
  ['tinyusfm_nano', 'webgpu', 2],
  ['segformer_nano', 'webgpu', 2],
  ['tinyusfm', 'webgpu', 1],
];

/** Runs a script of ours; resolves to its output and exit code, or rejects past the limit. */
function runNode(script, args, { limit = LIMIT_MS } = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [script, ...args], {
      cwd: ROOT,
      env: { ...process.env, STUDIO_ROOT: ROOT },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: limit,
      killSignal: 'SIGKILL',
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    child.on('close', (code, signal) => resolve({ out, err, code, killed: signal === 'SIGKILL' }));
  });
}

/** The JSON line a measurement printed, or why there is none. */
async function measure(bundle, args) {
  const { out, err, killed } = await runNode(bundle, args);
  const line = out.split('\n').findLast((each) => each.startsWith('{'));
  if (line !== undefined) return JSON.parse(line);
  if (killed) return { failure: `no result within ${LIMIT_MS / 60_000} minutes` };
  const reason = err.split('\n').find((each) => /^\w*Error: /.test(each));
  return { failure: reason ?? err.trim().split('\n').at(-1) ?? 'no output' };
}

function describeStep(result) {
  if (result.failure !== undefined) return result.failure;
  const dispatches = result.dispatches === null ? '' : `, ${result.dispatches} dispatches`;
  const memory = `${(result.peakBytes / MB).toFixed(0)} MiB held`;
  return `${result.stepMs.toFixed(0)} ms/step (first ${result.firstStepMs.toFixed(0)} ms)${dispatches}, ${memory}`;
}

async function benchSteps(report) {
  const { bundleEntry } = await import('./sources.mjs');
  const ours = await bundleEntry('bench');
  const stock = await bundleEntry('bench', { stock: true });
  for (const [model, backend, batch] of STEPS) {
    for (const [kind, bundle] of [
      ['ours', ours],
      ['stock operations', stock],
    ]) {
      const result = await measure(bundle, ['step', model, backend, String(batch)]);
      const size = result.imageSize === undefined ? '' : ` at ${result.imageSize}`;
      report(`step ${model}${size}, batch ${batch}, ${backend}, ${kind}`, describeStep(result), result);
    }
  }
}

/** Files of dist/ that the page loads before anything is clicked: scripts, their static imports, styles; workers left out. */
function firstLoadFiles(dist) {
  const seen = new Set();
  const visit = (file) => {
    if (seen.has(file)) return;
    seen.add(file);
    if (!/\.(js|html)$/.test(file)) return;
    const text = readFileSync(path.join(dist, file), 'utf8');
    const pattern = file.endsWith('.html')
      ? /(?:src|href)="(\.\/[^"]+\.(?:js|css))"/g
      : /\b(?:import|from)\s*["'](\.[^"']+\.js)["']/g;
    for (const [, target] of text.matchAll(pattern)) visit(path.join(path.dirname(file), target));
  };
  visit('index.html');
  return [...seen];
}

async function benchSite(report) {
  const { code, err } = await runNode(path.join(ROOT, 'node_modules/vite/bin/vite.js'), [
    'build',
    '--logLevel',
    'warn',
  ]);
  if (code !== 0) throw new SetupError(`The site could not be built: ${err}`);
  const dist = path.join(ROOT, 'dist');
  const sizes = firstLoadFiles(dist).map((file) => ({
    file,
    gzip: gzipSync(readFileSync(path.join(dist, file)), { level: 9 }).length,
  }));
  const total = sizes.reduce((sum, { gzip }) => sum + gzip, 0);
  report('first load, gzip, workers left out', `${(total / 1000).toFixed(1)} kB (bound 200 kB)`, {
    total,
    sizes,
  });
}

async function benchScan(report) {
  const { bundleEntry } = await import('./sources.mjs');
  const result = await measure(await bundleEntry('bench'), ['scan', String(SCAN_PAIRS)]);
  const text =
    result.failure ??
    `${(result.ms / 1000).toFixed(2)} s, ${(result.heapBytes / MB).toFixed(0)} MiB of heap (bounds 30 s, 300 MiB)`;
  report(`scan and pair ${SCAN_PAIRS} image-mask pairs from disk (Node)`, text, result);
}

/** From starting `npm start` to a page served, everything installed and built before. */
async function benchStart(report) {
  const args = [path.join(ROOT, 'src/cli/start.mjs'), '--no-open', '--port', String(START_PORT)];
  const once = async () => {
    const start = performance.now();
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'ignore' });
    const ended = new Promise((resolve) => {
      child.on('exit', resolve);
    });
    try {
      while (performance.now() - start < 120_000 && child.exitCode === null) {
        const served = await fetch(`http://127.0.0.1:${START_PORT}/`).catch(() => null);
        if (served?.ok) return performance.now() - start;
        await new Promise((resolve) => {
          setTimeout(resolve, 20);
        });
      }
      return Number.NaN;
    } finally {
      child.kill('SIGTERM');
      await ended;
    }
  };
  const cold = await once(); // builds if needed
  const ms = await once();
  if (Number.isNaN(ms)) throw new SetupError('npm start served no page within two minutes');
  report('npm start on a warm cache to a served page', `${ms.toFixed(0)} ms`, { cold, ms });
}

/** Needs dist/ (the part `site` builds it). */
async function benchPage(report) {
  const { measurePage } = await import('./benchPage.mjs');
  const result = await measurePage();
  report(
    'page: first epoch after the click on phantom data',
    `${result.firstEpochS.toFixed(1)} s (bound 60 s)`,
    result,
  );
  report(
    'page: longest main-thread task while training',
    `${result.longestTaskMs.toFixed(0)} ms (bound 100 ms)`,
    {},
  );
}

async function benchEngine(report, { host, only, all, limit }) {
  const { benchEngine: run } = await import('./bench/engine.mjs');
  const limitMs = Number(limit) * 60_000;
  if (!(limitMs > 0)) throw new SetupError(`--limit ${limit}: minutes are wanted`);
  await run(report, { host, all, limitMs, only: only.split(',').filter((part) => part !== '') });
}

/** Rewrites the picture in ARCHITECTURE.md; only when asked for. */
async function drawStep(report) {
  const { bundleEntry } = await import('./sources.mjs');
  const file = path.join(ROOT, PICTURE);
  const { code, err } = await runNode(await bundleEntry('bench'), ['picture', file]);
  if (code !== 0) throw new SetupError(`The step could not be drawn: ${err}`);
  report('picture of a recorded step', PICTURE, {});
}

const OPTIONS = {
  host: { type: 'string', default: 'both' },
  only: { type: 'string', default: '' },
  all: { type: 'boolean', default: false },
  limit: { type: 'string', default: String(LIMIT_MS / 60_000) },
};

function readArguments() {
  try {
    return parseArgs({ options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new SetupError(error.message);
  }
}

const PARTS = {
  engine: benchEngine,
  step: benchSteps,
  site: benchSite,
  page: benchPage,
  scan: benchScan,
  start: benchStart,
  picture: drawStep,
};

await runLauncher(async () => {
  const { values: options, positionals: asked } = readArguments();
  const unknown = asked.find((name) => !(name in PARTS));
  if (unknown !== undefined) {
    throw new SetupError(`No part ${unknown}: there are ${Object.keys(PARTS).join(', ')}`);
  }
  ensureDependencies();
  const rows = [];
  const report = (what, text, details) => {
    console.log(`${what}: ${text}`);
    rows.push({ what, text, ...details });
  };
  for (const [name, run] of Object.entries(PARTS)) {
    if (asked.includes(name) || (asked.length === 0 && run !== drawStep)) await run(report, options);
  }
  mkdirSync(path.join(ROOT, 'test-results'), { recursive: true });
  writeFileSync(path.join(ROOT, 'test-results/bench.json'), `${JSON.stringify(rows, null, 2)}\n`);
});
