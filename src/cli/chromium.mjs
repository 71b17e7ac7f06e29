/**
 * @file Finds a Chromium. No dependencies, Node only. Used by setup.mjs, the end-to-end tests and start.mjs.
 */
import { accessSync, constants, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

const isExecutable = (file) => {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

const listed = (folder) => {
  try {
    return readdirSync(folder).toSorted();
  } catch {
    return []; // not there
  }
};

function onPath() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter((folder) => folder !== '');
  return names.flatMap((name) => folders.map((folder) => path.join(folder, name)));
}

function installed() {
  if (process.platform === 'darwin') {
    return ['Chromium', 'Google Chrome'].map((name) => `/Applications/${name}.app/Contents/MacOS/${name}`);
  }
  if (process.platform === 'win32') {
    const roots = [process.env.PROGRAMFILES, process.env['PROGRAMFILES(X86)'], process.env.LOCALAPPDATA];
    return roots
      .filter((root) => root !== undefined)
      .map((root) => path.join(root, 'Google/Chrome/Application/chrome.exe'));
  }
  return ['/opt/google/chrome/chrome', '/snap/bin/chromium'];
}

/** Playwright's own downloads, newest first; the headless shell has no WebGPU and is left out. */
function playwrights() {
  const home = homedir();
  const standard = {
    darwin: path.join(home, 'Library/Caches/ms-playwright'),
    win32: path.join(process.env.LOCALAPPDATA ?? home, 'ms-playwright'),
  };
  const cache =
    process.env.PLAYWRIGHT_BROWSERS_PATH ??
    standard[process.platform] ??
    path.join(process.env.XDG_CACHE_HOME ?? path.join(home, '.cache'), 'ms-playwright');
  const inner = [
    'chrome-linux64/chrome',
    'chrome-linux/chrome',
    'chrome-mac-arm64/Google Chrome for Testing.app/Contents/MacOS/Google Chrome for Testing',
    'chrome-mac-x64/Google Chrome for Testing.app/Contents/MacOS/Google Chrome for Testing',
    'chrome-mac/Chromium.app/Contents/MacOS/Chromium',
    'chrome-win64/chrome.exe',
    'chrome-win/chrome.exe',
  ];
  return listed(cache)
    .filter((name) => /^chromium-\d+$/.test(name))
    .toSorted((a, b) => Number(b.slice(9)) - Number(a.slice(9)))
    .flatMap((name) => inner.map((file) => path.join(cache, name, file)));
}

/**
 * The Chromium to test with: CHROME_PATH, else the system's, else Playwright's.
 * @returns {string | null} path of the executable
 */
export function findChromium() {
  const asked = process.env.CHROME_PATH;
  if (asked !== undefined && asked !== '') return isExecutable(asked) ? asked : null;
  return [...onPath(), ...installed(), ...playwrights()].find(isExecutable) ?? null;
}
