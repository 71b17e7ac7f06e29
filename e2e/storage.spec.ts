/**
 * @file Checkpoints in a real browser's IndexedDB: a checkpoint is complete or invisible, "saved" is never said falsely.
 * Figures of reference/reliability.md section 2.A, at counts that fit a test run.
 */
import { chromium, expect, test } from '@playwright/test';
import type { Page } from '@playwright/test';
import { PAGES_PORT } from './playwright.config';

const ORIGIN = `http://127.0.0.1:${PAGES_PORT}`;
const MB = 1_000_000;

async function open(page: Page): Promise<void> {
  await page.goto(`${ORIGIN}/`);
  await page.waitForFunction(() => 'studioStorage' in globalThis);
}

test('keeps the last two and the best, and deletes older ones with their parts', async ({ page }) => {
  await open(page);
  const kept = await page.evaluate(async () => {
    await studioStorage.createRun('r');
    await studioStorage.save('r', 1, 20_000_000, 'best');
    for (const step of [2, 3, 4, 5]) await studioStorage.save('r', step, 20_000_000);
    const rows = await studioStorage.listCheckpoints('r');
    return { steps: rows.map((row) => row.step), orphans: await studioStorage.orphans() };
  });
  expect(kept.steps).toEqual([5, 4, 1]);
  expect(kept.orphans).toBe(0);
  expect(await page.evaluate(() => studioStorage.load('r'))).toMatchObject({ step: 5, intact: true });
});

test('a full disk never yields a false "saved", and the old checkpoint stays', async ({
  launchOptions,
}, info) => {
  // On disk: a context in memory ignores the quota override.
  const context = await chromium.launchPersistentContext(info.outputPath('profile'), launchOptions);
  const page = await context.newPage();
  await open(page);
  const cdp = await context.newCDPSession(page);
  const bytes = 6 * MB;
  expect(
    await page.evaluate(async (size) => {
      await studioStorage.createRun('r');
      return studioStorage.save('r', 1, size);
    }, bytes),
  ).toBe('saved 1');
  const used = (await page.evaluate(() => studioStorage.storageUse()))?.usage ?? 0;
  let good = 1;
  let refused = 0;
  // From far below what is used already to one byte less than one more checkpoint. What the browser counts as used moves while
  // it compacts its files, so a save near the limit may pass; then it must really be there.
  for (const quotaSize of [1, used / 2, used, used + bytes / 2, used + bytes - 1].map(Math.floor)) {
    await cdp.send('Storage.overrideQuotaForOrigin', { origin: ORIGIN, quotaSize });
    // Chromium remembers the room left while the database is open, and for 2 s more.
    await page.goto('about:blank');
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await open(page);
    const next = good + 1;
    const said = await page.evaluate(([step, size]) => studioStorage.save('r', step, size), [
      next,
      bytes,
    ] as const);
    expect(['storage-full', `saved ${next}`]).toContain(said);
    if (said === 'storage-full') refused++;
    else good = next;
    expect(await page.evaluate(() => studioStorage.load('r'))).toMatchObject({ step: good, intact: true });
    expect(await page.evaluate(() => studioStorage.orphans())).toBe(0);
  }
  expect(refused).toBeGreaterThanOrEqual(2);
  await cdp.send('Storage.overrideQuotaForOrigin', { origin: ORIGIN });
  await open(page);
  expect(await page.evaluate((size) => studioStorage.save('r', 30, size), bytes)).toBe('saved 30');
  expect(await page.evaluate(() => studioStorage.load('r'))).toMatchObject({ step: 30, intact: true });
  await context.close();
});

test('the n-th store call fails: the old checkpoint loads, nothing is announced, the next save works', async ({
  page,
}) => {
  await open(page);
  const outcome = await page.evaluate(async () => {
    await studioStorage.createRun('r');
    const first = await studioStorage.save('r', 1, 18_000_000);
    const wrong: string[] = [];
    let n = 0;
    let failed = 0;
    const prototype = IDBObjectStore.prototype;
    const names = ['put', 'get'] as const;
    const originals = names.map((name) => prototype[name]);
    for (n = 1; n <= 60; n++) {
      let calls = 0;
      let injected = false;
      names.forEach((name, index) => {
        prototype[name] = function (this: IDBObjectStore, ...args: unknown[]) {
          if (++calls === n) {
            injected = true;
            throw new DOMException('injected', 'UnknownError');
          }
          return (originals[index] as (...rest: unknown[]) => IDBRequest).apply(this, args);
        } as never;
      });
      const said = await studioStorage.save('r', 1 + n, 18_000_000);
      names.forEach((name, index) => {
        prototype[name] = originals[index] as never;
      });
      const loaded = await studioStorage.load('r');
      const claimed = said === `saved ${1 + n}`;
      if (!injected) {
        if (!claimed) wrong.push(`n=${n}: ${said} without a fault`);
        break;
      }
      failed++;
      if (claimed) wrong.push(`n=${n}: claimed although a call failed`);
      if (!loaded.intact || loaded.step === null) wrong.push(`n=${n}: ${JSON.stringify(loaded)}`);
      if ((await studioStorage.orphans()) > 0) wrong.push(`n=${n}: orphans`);
    }
    return { first, wrong, failed };
  });
  expect(outcome.first).toBe('saved 1');
  expect(outcome.wrong).toEqual([]);
  expect(outcome.failed).toBeGreaterThan(4); // every put and every read-back was hit once
});

test('a flipped bit is found, the previous checkpoint is used, and it says so', async ({ page }) => {
  await open(page);
  const results = await page.evaluate(async () => {
    const out: unknown[] = [];
    for (let seed = 1; seed <= 20; seed++) {
      const run = `r${seed}`;
      await studioStorage.createRun(run);
      await studioStorage.save(run, 1, 300_000);
      await studioStorage.save(run, 2, 300_000);
      await studioStorage.flipBit(run, seed);
      const loaded = await studioStorage.load(run);
      if (loaded.step !== 1 || !loaded.intact || loaded.passedOver !== 1) out.push({ seed, loaded });
    }
    const problems = await studioStorage.checkIntegrity();
    return { wrong: out, problems: problems.length };
  });
  expect(results.wrong).toEqual([]);
  expect(results.problems).toBe(20);
});

test('a page killed while saving loses no announced checkpoint and leaves no torn one', async ({
  launchOptions,
}, info) => {
  const context = await chromium.launchPersistentContext(info.outputPath('profile'), launchOptions);
  await context.newPage(); // keeps the window open while the others die
  const wrong: unknown[] = [];
  const announced: number[] = [];
  let next = 1;
  for (let kill = 0; kill < 15; kill++) {
    const page = await context.newPage();
    await page.exposeFunction('announce', (step: number) => announced.push(step));
    await open(page);
    const before = await page.evaluate(async () => {
      await studioStorage.createRun('r');
      await studioStorage.collectGarbage();
      return studioStorage.load('r');
    });
    const last = announced.at(-1) ?? null;
    if (last !== null && (before.step === null || before.step < last || !before.intact)) {
      wrong.push({ kill, last, before });
    }
    next = Math.max(next, (before.step ?? 0) + 1);
    page
      .evaluate(async (from) => {
        const { announce } = globalThis as unknown as { announce: (step: number) => Promise<void> };
        for (let step = from; ; step++) {
          if ((await studioStorage.save('r', step, 6_000_000)) === `saved ${step}`) await announce(step);
        }
      }, next)
      .catch(() => undefined); // it never ends by itself
    await new Promise((resolve) => setTimeout(resolve, 60 + ((kill * 137) % 500)));
    if (kill % 2 === 0) {
      const cdp = await context.newCDPSession(page);
      void cdp.send('Page.crash').catch(() => undefined); // a crashed page does not answer
      await page.waitForEvent('crash');
    }
    await page.close();
  }
  const page = await context.newPage();
  await open(page);
  const end = await page.evaluate(async () => ({
    loaded: await studioStorage.load('r'),
    problems: await studioStorage.checkIntegrity(),
    garbage: await studioStorage.collectGarbage(),
  }));
  expect(wrong).toEqual([]);
  expect(announced.length).toBeGreaterThan(0);
  expect(end.loaded).toMatchObject({ intact: true });
  expect(end.loaded.step).toBeGreaterThanOrEqual(announced.at(-1) ?? 0);
  expect(end.problems).toEqual([]);
  expect(end.garbage.parts).toBe(0); // one transaction leaves no orphans
  await context.close();
});

test('history, weights, deletion and erasure', async ({ page }) => {
  await open(page);
  const out = await page.evaluate(async () => {
    await studioStorage.createRun('r');
    await studioStorage.appendSteps('r', 1, 10);
    await studioStorage.appendSteps('r', 11, 20);
    await studioStorage.appendSteps('r', 16, 18); // a resumed run takes steps again
    const steps = await studioStorage.historySteps('r');
    const kept = await studioStorage.addWeights('a.pth', 20_000_000);
    const again = await studioStorage.addWeights('same bytes.pth', 20_000_000);
    const back = await studioStorage.readWeights(kept.id);
    await studioStorage.save('r', 1, 100_000);
    await studioStorage.deleteRun('r');
    const left = {
      history: await studioStorage.countRows('history'),
      checkpoints: await studioStorage.countRows('checkpoints'),
      parts: await studioStorage.countRows('parts'),
    };
    await studioStorage.eraseEverything();
    const use = await studioStorage.storageUse();
    return { steps, same: kept.id === again.id, back, left, usage: use?.usage ?? -1 };
  });
  expect(out.steps).toEqual(Array.from({ length: 18 }, (_, i) => i + 1));
  expect(out.same).toBe(true);
  expect(out.back).toEqual({ fileName: 'a.pth', length: 20_000_000, intact: true });
  expect(out.left).toEqual({ history: 0, checkpoints: 0, parts: 2 }); // the weights' own parts stay
  expect(out.usage).toBeLessThan(100_000);
});

test('an older tab gives way to a newer version of the database', async ({ page, context }) => {
  await open(page);
  await page.evaluate(() => studioStorage.createRun('r'));
  const other = await context.newPage();
  await other.goto(`${ORIGIN}/`);
  const waited = await other.evaluate(
    () =>
      new Promise<number>((resolve, reject) => {
        const start = performance.now();
        const request = indexedDB.open('tinyusfm-studio', 99);
        request.addEventListener('success', () => {
          request.result.close();
          resolve(performance.now() - start);
        });
        request.addEventListener('error', () => reject(new Error(request.error?.message ?? 'failed')));
      }),
  );
  expect(waited).toBeLessThan(5000);
  const code = await page.evaluate(() =>
    studioStorage.listRuns().then(
      () => 'read',
      (error: { code?: string }) => error.code ?? 'unexpected',
    ),
  );
  expect(code).toBe('storage-outdated'); // and says so instead of overwriting what it does not know
});
