/**
 * @file npm start: installs what is missing, builds when sources changed, serves the studio on a fixed port and opens a browser.
 * Options: --port N, --no-open.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT, SetupError, ensureDependencies, runLauncher } from './setup.mjs';
import { serve } from './serve.mjs';
import { fingerprint } from './sources.mjs';

/** Fixed: the browser keeps runs and checkpoints per address, port included. */
const PORT = 5178;
const STAMP = path.join(ROOT, 'node_modules/.cache/studio/site');
const SOURCES = ['index.html', 'src', 'public', 'configs', 'vite.config.ts', 'package-lock.json'];

/** Builds dist/ unless it was built from the same sources. */
function ensureBuilt() {
  const key = fingerprint(SOURCES);
  const built = existsSync(STAMP) ? readFileSync(STAMP, 'utf8') : '';
  if (built === key && existsSync(path.join(ROOT, 'dist/index.html'))) return;
  console.log('Building the studio ...');
  const vite = path.join(ROOT, 'node_modules/vite/bin/vite.js');
  const result = spawnSync(process.execPath, [vite, 'build', '--logLevel', 'warn'], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (result.status !== 0) throw new SetupError('The studio could not be built: see the messages above');
  mkdirSync(path.dirname(STAMP), { recursive: true });
  writeFileSync(STAMP, key);
}

/** Opens the address in the user's browser where there is a display; failing to is no error. */
function openBrowser(address) {
  const display = process.env.DISPLAY ?? process.env.WAYLAND_DISPLAY;
  const opener = {
    darwin: ['open', address],
    win32: ['cmd', '/c', 'start', '', address],
    linux: display ? ['xdg-open', address] : undefined,
  }[process.platform];
  if (opener === undefined || process.env.CI) return;
  const child = spawn(opener[0], opener.slice(1), { stdio: 'ignore', detached: true });
  child.on('error', () => undefined);
  child.unref();
}

function askedPort() {
  const at = process.argv.indexOf('--port');
  if (at < 0) return PORT;
  const port = Number(process.argv[at + 1]);
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  throw new SetupError(`--port wants a number from 1 to 65535, not ${process.argv[at + 1]}`);
}

await runLauncher(async () => {
  const port = askedPort();
  ensureDependencies();
  ensureBuilt();
  const address = `http://127.0.0.1:${port}/`;
  const server = await serve({ dir: path.join(ROOT, 'dist'), port }).catch((error) => {
    if (error.code !== 'EADDRINUSE') throw error;
    throw new SetupError(
      `Port ${port} is in use. If the studio is already running, open ${address}; ` +
        `else stop the other program, or take another port (which has runs of its own): npm start -- --port ${port + 1}`,
    );
  });
  console.log(`TinyUSFM Studio: ${address}  (Ctrl+C stops it)`);
  if (!process.argv.includes('--no-open')) openBrowser(address);
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      server.close();
      server.closeAllConnections();
    });
  }
});
