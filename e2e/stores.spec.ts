/**
 * @file The page's stores with the real workers, storage and backends: train, reload, resume, watch, test, export, import, lose the GPU.
 * The promises are those of reference/reliability.md sections 2.A and 2.B.
 */
import { readFile } from 'node:fs/promises';
import { chromium, expect, test } from '@playwright/test';
import type { Page } from '@playwright/test';
import { PAGES_PORT } from './playwright.config';

const ORIGIN = `http://127.0.0.1:${PAGES_PORT}`;
const SMALL =
  'training.num_epochs=3 training.batch_size=4 model.image_size=32 data.phantom.count=24 data.phantom.size=64';

async function open(page: Page): Promise<void> {
  await page.goto(`${ORIGIN}/`);
  await page.waitForFunction(() => 'stores' in globalThis);
}

/** Phantom data and the nano model. */
async function prepare(page: Page, overrides: string): Promise<void> {
  const error = await page.evaluate(async (text) => {
    const config = stores.useConfig.getState();
    config.setModel('tinyusfm_nano');
    config.applyOverrides(text);
    await stores.useDataset.getState().addPhantom();
    return stores.useConfig.getState().error ?? stores.useDataset.getState().error;
  }, overrides);
  expect(error).toBeNull();
}

const start = (page: Page): Promise<void> => page.evaluate(() => stores.useTraining.getState().start());

async function reach(page: Page, statuses: readonly string[], timeout = 120_000): Promise<void> {
  await page.waitForFunction((wanted) => wanted.includes(stores.useTraining.getState().status), statuses, {
    timeout,
    polling: 100,
  });
}

const reachStep = (page: Page, step: number): Promise<unknown> =>
  page.waitForFunction((n) => stores.useTraining.getState().step >= n, step, { polling: 50 });

const losses = (page: Page): Promise<number[]> =>
  page.evaluate(() => stores.useTraining.getState().series.steps.map((row) => row.loss));

/** Test split of a run's best checkpoint: mean Dice. */
async function testDice(page: Page, runId: string): Promise<number> {
  return page.evaluate(async (id) => {
    const checkpoint = (await stores.useRuns.getState().checkpoints(id)).find((one) => one.kind === 'best');
    if (!checkpoint) throw new Error('no best checkpoint');
    await stores.useInspect.getState().evaluate({
      runId: id,
      checkpointId: checkpoint.id,
      target: { kind: 'split', split: 'test' },
      convention: 'framework',
      resolution: 'model',
    });
    const { result, error } = stores.useInspect.getState();
    if (error) throw new Error(error.message);
    return result?.summary.find((row) => row.metric === 'dice')?.mean ?? Number.NaN;
  }, runId);
}

test('a run cut off by a reload is offered, watched until then by another tab, and ends bit-identical', async ({
  page,
  context,
}) => {
  const other = await context.newPage();
  await open(other);
  await open(page);
  // Long enough that the second tab and the reload come in the middle of it.
  await prepare(page, `${SMALL} training.batch_size=8 model.image_size=96 data.phantom.count=40`);
  await start(page);
  await reach(page, ['ended', 'failed']);
  const straight = await losses(page);
  expect(straight.length).toBeGreaterThan(8);

  await start(page);
  await reachStep(page, Math.ceil(straight.length / 2));
  await other.evaluate(() => stores.restore());
  expect(await other.evaluate(() => stores.useTraining.getState().status)).toBe('watching');
  await open(page); // the reload kills the worker in mid-epoch
  await other.waitForFunction(() => stores.useTraining.getState().resumable !== null, undefined, {
    timeout: 10_000,
  });

  await page.evaluate(() => stores.restore());
  const restored = await page.evaluate(() => ({
    status: stores.useTraining.getState().status,
    resumable: stores.useTraining.getState().resumable,
    folders: stores.useDataset.getState().folders.map((folder) => [folder.name, folder.access]),
    overrides: stores.useConfig.getState().overrides.length,
    interrupted: stores.useRuns.getState().runs.filter((run) => run.status === 'interrupted').length,
  }));
  expect(restored).toMatchObject({ status: 'idle', folders: [['Phantom', 'ok']], interrupted: 1 });
  expect(restored.overrides).toBeGreaterThan(3);
  expect(restored.resumable).not.toBeNull();

  await page.evaluate(() => {
    const { resumable, resume } = stores.useTraining.getState();
    return resume(resumable?.runId ?? '');
  });
  await reach(page, ['ended', 'failed']);
  expect(await losses(page)).toEqual(straight);
  const stored = await page.evaluate(async () => {
    const { runId } = stores.useTraining.getState();
    return (await stores.useRuns.getState().history(runId ?? '')).steps.map((row) => row.loss);
  });
  expect(stored).toEqual(straight);
});

test('what is exported gives the same numbers when it comes back; erasing leaves nothing', async ({
  page,
}) => {
  await open(page);
  await prepare(page, SMALL);
  await start(page);
  await reach(page, ['ended', 'failed']);
  const runId = (await page.evaluate(() => stores.useTraining.getState().runId)) ?? '';
  const dice = await testDice(page, runId);
  expect(dice).toBeGreaterThan(0);

  const threshold = await page.evaluate(async () => {
    const dice = () =>
      stores.useInspect.getState().result?.summary.find((row) => row.metric === 'dice')?.mean;
    const settle = (value: number) =>
      new Promise<void>((resolve) => {
        const unsubscribe = stores.useInspect.subscribe((state) => {
          if (state.result?.threshold !== value) return;
          unsubscribe();
          resolve();
        });
        stores.useInspect.getState().setThreshold(value);
      });
    const before = dice();
    await settle(0.9);
    const other = dice();
    await settle(0.5);
    return { before, other, back: dice() };
  });
  expect(threshold.other).not.toBe(threshold.before);
  expect(threshold.back).toBe(threshold.before);

  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.evaluate((id) => stores.useRuns.getState().exportRun(id, 'zip'), runId),
  ]);
  expect(download.suggestedFilename()).toMatch(/^tinyusfm_nano_Phantom_.*\.zip$/);
  const bytes = (await readFile(await download.path())).toString('base64');
  const imported = await page.evaluate(async (data) => {
    const file = new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], 'run.zip');
    const id = await stores.useRuns.getState().importFile(file);
    const run = stores.useRuns.getState().runs.find((one) => one.id === id);
    return {
      id,
      origin: run?.origin,
      best: run?.best,
      epochs: (await stores.useRuns.getState().history(id)).epochs.length,
    };
  }, bytes);
  expect(imported).toMatchObject({ origin: 'imported', epochs: 3 });
  expect(await testDice(page, imported.id)).toBe(dice);

  await Promise.all([
    page.waitForEvent('load'),
    page.evaluate(() => void stores.useRuns.getState().eraseEverything()),
  ]);
  await page.waitForFunction(() => 'stores' in globalThis);
  expect(await page.evaluate(async () => (await indexedDB.databases()).length + localStorage.length)).toBe(0);
});

test('a lost GPU: a new worker goes on from the last checkpoint without a click, to the same bits', async ({
  launchOptions,
}, info) => {
  test.setTimeout(400_000);
  const context = await chromium.launchPersistentContext(info.outputPath('profile'), launchOptions);
  const page = await context.newPage();
  await open(page);
  await prepare(
    page,
    'hardware.backend=webgpu training.num_epochs=1 training.batch_size=4 model.image_size=32 data.phantom.count=24 ' +
      'data.phantom.size=64 checkpointing.every_steps=1',
  );
  await start(page);
  await reach(page, ['ended', 'failed'], 200_000);
  const straight = await losses(page);
  expect(straight.length).toBeGreaterThan(2);
  await start(page);
  await reachStep(page, 2);
  const cdp = await context.newCDPSession(page);
  void cdp.send('Browser.crashGpuProcess').catch(() => undefined);
  await page.waitForFunction(() => stores.useTraining.getState().recovery !== null, undefined, {
    timeout: 20_000,
  });
  await reach(page, ['ended', 'failed'], 200_000);
  expect(await page.evaluate(() => stores.useTraining.getState().error)).toBeNull();
  expect(await losses(page)).toEqual(straight);
  await context.close();
});

test('two thousand pairs: the page stays awake while they are read and checked', async ({ page }) => {
  await open(page);
  const out = await page.evaluate(async () => {
    const files = await stores.manyFiles(2000);
    stores.longest.duration = 0;
    await stores.useDataset.getState().addFiles(files as unknown as FileList);
    await new Promise((resolve) => setTimeout(resolve, 500)); // long tasks are reported later
    const { status, dataset, facts, split, error } = stores.useDataset.getState();
    const all = [...(split?.train ?? []), ...(split?.val ?? []), ...(split?.test ?? [])];
    return {
      status,
      error,
      samples: dataset?.samples.length,
      facts: facts.size,
      split: all.length,
      longest: stores.longest,
    };
  });
  expect(out).toMatchObject({ status: 'ready', error: null, samples: 2000, facts: 2000, split: 2000 });
  expect(out.longest.duration, out.longest.during).toBeLessThan(100);
});

test('a directory handle: walked without junk, read by path, told when it is gone', async ({ page }) => {
  await open(page);
  expect(await page.evaluate(() => stores.readHandle())).toEqual({
    paths: ['a.txt', 'sub/b.txt', 'sub/deep/c.txt'],
    text: 'sub/deep/c.txt',
    again: 'sub/deep/c.txt',
    missing: 'file-unreadable',
    gone: 'folder-missing',
  });
});
