/**
 * @file Makes a fresh clone ready: Node's version, npm packages, a Chromium. No dependencies, Node only.
 * Run alone: node src/cli/setup.mjs [--chromium]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { findChromium } from './chromium.mjs';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const MINIMUM_NODE = 20;
const DOWNLOAD_LIMIT_MS = 15 * 60_000;

/** A problem the user can mend; launchers print only its message. */
export class SetupError extends Error {}

/** Runs a launcher: prints a SetupError as one line and ends with exit code 2. */
export async function runLauncher(main) {
  try {
    const major = Number(process.versions.node.split('.')[0]);
    if (major < MINIMUM_NODE) {
      throw new SetupError(
        `Node ${MINIMUM_NODE} or later is needed; this is ${process.version}. Get it from https://nodejs.org/`,
      );
    }
    await main();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: ROOT,
    stdio: 'inherit',
    timeout: DOWNLOAD_LIMIT_MS,
    ...options,
  });
  return result.status === 0;
}

/** npm by its own script where npm started us (works on Windows too), else by name. */
function runNpm(args) {
  const script = process.env.npm_execpath;
  if (script?.endsWith('.js') && existsSync(script)) return run(process.execPath, [script, ...args]);
  return run('npm', args, { shell: process.platform === 'win32' });
}

/** Whether node_modules holds exactly what the lock file names (npm keeps its own record of what it installed). */
function dependenciesMatch() {
  try {
    const read = (file) => JSON.parse(readFileSync(path.join(ROOT, file), 'utf8')).packages;
    const installed = read('node_modules/.package-lock.json');
    return Object.entries(read('package-lock.json')).every(
      ([name, wanted]) =>
        name === '' || installed[name]?.version === wanted.version || (wanted.optional && !installed[name]),
    );
  } catch {
    return false; // no node_modules, or an unfinished installation
  }
}

/** Installs the npm packages of the lock file when they are missing or differ. No package's own scripts are run. */
export function ensureDependencies() {
  if (dependenciesMatch()) return;
  console.log('Installing packages (npm ci) ...');
  const ok = runNpm([
    'ci',
    '--ignore-scripts',
    '--include=dev',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ]);
  if (!ok || !dependenciesMatch()) {
    throw new SetupError(
      "The packages could not be installed: see npm's message above (is the network reachable?)",
    );
  }
}

const startsUp = (file) => spawnSync(file, ['--version'], { timeout: 60_000 }).status === 0;

/** Debian's own package brings its libraries along; Ubuntu's is only a pointer to a snap. */
function installWithApt() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  if (process.getuid?.() !== 0 || !/^ID=debian$/m.test(release)) return false;
  console.log('Installing Chromium (apt-get install chromium) ...');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env }); // if it fails, the package lists already there may do
  return run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium'], { env });
}

function installWithPlaywright() {
  console.log('Installing Chromium (playwright install chromium) ...');
  const asRoot = process.platform === 'linux' && process.getuid?.() === 0;
  const args = [path.join(ROOT, 'node_modules/playwright/cli.js'), 'install', 'chromium'];
  return (asRoot && run(process.execPath, [...args, '--with-deps'])) || run(process.execPath, args);
}

/**
 * Finds a Chromium that starts, or installs one: apt on Debian as root, else Playwright's download.
 * @returns {string} path of the executable
 */
export function ensureChromium() {
  const asked = process.env.CHROME_PATH;
  const found = findChromium();
  if (found !== null && startsUp(found)) return found;
  if (asked) throw new SetupError(`CHROME_PATH is ${asked}, which is not a browser that starts`);
  for (const install of [installWithApt, installWithPlaywright]) {
    if (!install()) continue;
    const chromium = findChromium();
    if (chromium !== null && startsUp(chromium)) return chromium;
  }
  throw new SetupError(
    'No Chromium found and none could be installed. Install Chromium or Chrome, or set CHROME_PATH to its executable.',
  );
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await runLauncher(() => {
    ensureDependencies();
    if (process.argv.includes('--chromium')) console.log(ensureChromium());
  });
}
