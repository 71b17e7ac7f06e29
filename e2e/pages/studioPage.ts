/**
 * @file The studio's page as a user sees it, for the end-to-end tests.
 */
import { expect, type Page } from '@playwright/test';

type Station = 'data' | 'train' | 'inspect' | 'runs' | 'device';

/** What must never happen: requests to other origins, requests with a body, violations of the policy, errors in the console. */
export interface Watch {
  readonly foreign: string[];
  readonly bodies: string[];
  readonly errors: string[];
}

/** Records from now on; call before the first `goto`. */
export async function watch(page: Page, origin: string): Promise<Watch> {
  const seen: Watch = { foreign: [], bodies: [], errors: [] };
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !/^(blob|data):/.test(url)) seen.foreign.push(url);
    if (request.postData() !== null) seen.bodies.push(url);
  });
  page.on('console', (message) => {
    if (message.type() === 'error') seen.errors.push(message.text());
  });
  page.on('pageerror', (error) => seen.errors.push(error.message));
  await page.addInitScript(() => {
    const long: number[] = [];
    Object.assign(globalThis, { longTasks: long });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) long.push(entry.duration);
    }).observe({ entryTypes: ['longtask'] });
    addEventListener('securitypolicyviolation', (e) =>
      console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`),
    );
  });
  return seen;
}

export async function station(page: Page, name: Station): Promise<void> {
  await page.getByRole('navigation').getByRole('link', { name, exact: false }).click();
  await expect(page.getByRole('banner').getByRole('heading')).toHaveText(new RegExp(name, 'i'));
}

/** One figure of the running training: "Epoch" -> "3 / 12". */
export async function figure(page: Page, label: string): Promise<string> {
  const text = await page
    .getByTestId('numbers')
    .locator('.figure', { hasText: label })
    .first()
    .locator('b')
    .innerText();
  return text.trim();
}

export async function epochDone(page: Page): Promise<number> {
  return (await page.getByTestId('numbers').count()) === 0
    ? 0
    : Number((await figure(page, 'Epoch')).split('/')[0]);
}

/** Types overrides into the box of the configuration. */
export async function override(page: Page, text: string): Promise<void> {
  const box = page.getByTestId('override-input');
  await box.fill(text);
  await box.press('Enter');
}

/** The text of a cell of the test's summary: mean Dice. */
export async function meanDice(page: Page): Promise<string> {
  await expect(page.getByTestId('summary')).toBeVisible({ timeout: 120_000 });
  return (
    await page.getByTestId('summary').locator('tbody tr').first().locator('td').nth(1).innerText()
  ).trim();
}
