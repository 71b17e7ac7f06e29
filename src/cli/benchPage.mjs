/**
 * @file The page under load, for npm run bench: trains on phantom data in headless Chromium and watches the main thread.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { findChromium } from './chromium.mjs';
import { ROOT, SetupError } from './setup.mjs';

const PORT = 5198;
const EPOCHS = 5;
/** Of a Chromium that measures. */
export const FLAGS = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--disable-quic',
];

/** {firstEpochS, longestTaskMs}: from the click on "Try with phantom data"; tasks from the end of epoch 1 to the end of epoch 5. */
export async function measurePage() {
  const { chromium } = await import('@playwright/test');
  const executablePath = findChromium();
  if (executablePath === null) throw new SetupError('No Chromium was found; set CHROME_PATH');
  const server = spawn(
    process.execPath,
    [path.join(ROOT, 'src/cli/serve.mjs'), '--dir', 'dist', '--port', String(PORT)],
    {
      cwd: ROOT,
      stdio: 'ignore',
    },
  );
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  try {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    await page.addInitScript(() => {
      globalThis.longTasks = [];
      new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) globalThis.longTasks.push(duration);
      }).observe({ entryTypes: ['longtask'] });
    });
    const url = `http://127.0.0.1:${PORT}/`;
    for (let i = 0; i < 100 && !(await fetch(url).catch(() => null))?.ok; i++) await page.waitForTimeout(100);
    await page.goto(url);
    const clicked = performance.now();
    await page.getByRole('button', { name: 'Try with phantom data' }).click();
    const epoch = async () =>
      Number(
        (
          await page
            .getByTestId('numbers')
            .locator('b')
            .first()
            .innerText()
            .catch(() => '0')
        ).split('/')[0],
      );
    const reach = async (n) => {
      while ((await epoch()) < n) await page.waitForTimeout(100);
    };
    await reach(1);
    const firstEpochS = (performance.now() - clicked) / 1000;
    await page.evaluate(() => {
      globalThis.longTasks.length = 0;
    });
    await reach(EPOCHS);
    const longestTaskMs = await page.evaluate(() => Math.max(0, ...globalThis.longTasks));
    return { firstEpochS, longestTaskMs };
  } finally {
    await browser.close();
    server.kill();
  }
}
