/**
 * @file npm test: installs what is missing, finds a Chromium, then lint, format, types, unit tests, build and end-to-end tests.
 * Goes on after a failure; logs and results are kept in test-results/. The last line is "N passed, N failed".
 * Names of stages as arguments run only those: npm test -- unit e2e
 */
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { ensureLavapipe, lavapipeEnvironment } from './lavapipe.mjs';
import { ROOT, SetupError, ensureChromium, ensureDependencies, runLauncher } from './setup.mjs';

const RESULTS = path.join(ROOT, 'test-results');
const STAGE_LIMIT_MS = 40 * 60_000;
const UNIT_JSON = path.join(RESULTS, 'unit.json');
const LAVAPIPE_JSON = path.join(RESULTS, 'lavapipe.json');
const E2E_JSON = path.join(RESULTS, 'e2e.json');

const once = (ok) => ({ passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 });
const readJson = (file) => {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return null; // the runner died before it wrote its report
  }
};

/** Cases of a unit test run; a file that could not be loaded counts as one failure. */
const countUnit = (file) => (ok) => {
  const report = readJson(file);
  if (report === null) return once(false);
  const unloaded = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && assertionResults.every((each) => each.status !== 'failed'),
  ).length;
  const failed = report.numFailedTests + unloaded;
  // An error outside of any test fails the run although every case passed.
  return {
    passed: report.numPassedTests,
    failed: !ok && failed === 0 ? 1 : failed,
    skipped: report.numPendingTests,
  };
};

function countEndToEnd(ok) {
  const stats = readJson(E2E_JSON)?.stats;
  if (stats === undefined) return once(false);
  const failed = stats.unexpected + stats.flaky;
  return { passed: stats.expected, failed: !ok && failed === 0 ? 1 : failed, skipped: stats.skipped };
}

const vitest = (file, ...filters) => ({
  script: 'vitest/vitest.mjs',
  args: ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...filters],
  count: countUnit(file),
});

/** Kernels, operations and a whole step on the second software adapter: out-of-bounds writes and compiler differ there. */
function onLavapipe() {
  const { driver, reason } = ensureLavapipe();
  return driver === undefined ? { reason } : { env: lavapipeEnvironment(driver) };
}

const STAGES = [
  { name: 'lint', script: 'oxlint/bin/oxlint', args: ['--deny-warnings', 'src', 'e2e'], count: once },
  { name: 'format', script: 'prettier/bin/prettier.cjs', args: ['--check', '.'], count: once },
  { name: 'types', script: 'typescript/bin/tsc', args: ['--noEmit'], count: once },
  { name: 'unit', ...vitest(UNIT_JSON) },
  { name: 'lavapipe', ...vitest(LAVAPIPE_JSON, '.webgpu.test'), prepare: onLavapipe },
  { name: 'build', script: 'vite/bin/vite.js', args: ['build', '--logLevel', 'warn'], count: once },
  {
    name: 'e2e',
    script: '@playwright/test/cli.js',
    args: ['test', '-c', 'e2e/playwright.config.ts'],
    count: countEndToEnd,
  },
];

/** Runs one stage, showing and keeping its output; resolves to whether it exited with 0. */
function runStage({ name, script, args }, env) {
  const log = createWriteStream(path.join(RESULTS, `${name}.log`));
  const file = path.join(ROOT, 'node_modules', script);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [file, ...args], {
      cwd: ROOT,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: STAGE_LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    for (const [stream, shown] of [
      [child.stdout, process.stdout],
      [child.stderr, process.stderr],
    ]) {
      stream.on('data', (chunk) => {
        shown.write(chunk);
        log.write(chunk);
      });
    }
    child.on('error', (error) => log.write(String(error)));
    child.on('close', (code) => log.end(() => resolve(code === 0)));
  });
}

await runLauncher(async () => {
  const asked = process.argv.slice(2);
  const unknown = asked.find((name) => STAGES.every((stage) => stage.name !== name));
  if (unknown !== undefined) {
    throw new SetupError(`No stage ${unknown}: there are ${STAGES.map(({ name }) => name).join(', ')}`);
  }
  rmSync(RESULTS, { recursive: true, force: true });
  mkdirSync(RESULTS, { recursive: true });
  ensureDependencies();
  const chromium = ensureChromium();
  process.env.CHROME_PATH = chromium;
  console.log(`Node ${process.version}, Chromium ${chromium}`);

  const total = { passed: 0, failed: 0, skipped: 0 };
  const lines = [];
  for (const stage of STAGES.filter(({ name }) => asked.length === 0 || asked.includes(name))) {
    console.log(`\n== ${stage.name} ==`);
    const start = performance.now();
    const { env = process.env, reason } = stage.prepare?.() ?? {};
    if (reason !== undefined) {
      const line = `${stage.name}: not run: ${reason}`;
      console.log(line);
      lines.push(line);
      continue;
    }
    const result = stage.count(await runStage(stage, env));
    for (const key of Object.keys(total)) total[key] += result[key];
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const skipped = result.skipped > 0 ? `, ${result.skipped} skipped` : '';
    const line = `${stage.name}: ${result.passed} passed, ${result.failed} failed${skipped} (${seconds} s)`;
    console.log(line);
    lines.push(line);
  }
  console.log(`\n${lines.join('\n')}\nLogs: ${path.relative(ROOT, RESULTS)}/`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  process.exitCode = total.failed === 0 ? 0 : 1;
});
