/** @file Both backends start in a browser worker under the Content-Security-Policy, with WASM threads, and nothing leaves the origin. */
import { expect, test } from '@playwright/test';
import type { BackendResult } from './pages/backends.worker';
import { PAGES_PORT } from './playwright.config';

const ORIGIN = `http://127.0.0.1:${PAGES_PORT}`;

test('WASM with threads, WASM alone and WebGPU start in a worker under the policy', async ({ page }) => {
  const elsewhere: string[] = [];
  const consoleErrors: string[] = [];
  page.context().on('request', (request) => {
    if (!request.url().startsWith(`${ORIGIN}/`)) elsewhere.push(request.url());
  });
  page.on('console', (message) => {
    if (message.type() === 'error') consoleErrors.push(message.text());
  });
  const response = await page.goto(`${ORIGIN}/`);
  const headers = response?.headers() ?? {};
  expect(headers['content-security-policy']).toContain("worker-src 'self'");
  expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
  expect(headers['x-content-type-options']).toBe('nosniff');
  expect(headers['referrer-policy']).toBe('no-referrer');
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);

  const { results, violations } = await page.evaluate(async () => {
    const { startBackends } = globalThis as unknown as {
      startBackends: () => Promise<{ results: BackendResult[]; violations: string[] }>;
    };
    return startBackends();
  });
  for (const result of results) {
    expect(result.error, result.choice).toBeNull();
    expect(result.product, result.choice).toEqual([256, 256]);
    expect(result.gradient, result.choice).toEqual([3, 12, 27]);
    expect(result.policyViolations, result.choice).toEqual([]);
  }
  const names = results.map(({ info }) => info?.name);
  expect(names.slice(0, 2)).toEqual(['WASM SIMD, 2 threads', 'WASM SIMD, 1 thread']);
  expect(results[2]?.info?.backend).toBe('webgpu');
  // This browser is started with a software adapter: the automatic choice is WASM, and it says why.
  expect(results[3]?.info?.backend).toBe('wasm');
  expect(results[3]?.info?.reason).toContain('software adapter');
  expect(violations).toEqual([]);
  expect(consoleErrors).toEqual([]);
  expect(elsewhere).toEqual([]);
});

test('the policy blocks what it must: other origins, blob workers, eval', async ({ page }) => {
  await page.goto(`${ORIGIN}/`);
  const outcome = await page.evaluate(async () => {
    const tried: Record<string, string> = {};
    tried['fetch'] = await fetch('https://example.org/').then(
      () => 'allowed',
      () => 'blocked',
    );
    // In a timer: code evaluated by the test driver itself is exempt from the policy.
    tried['eval'] = await new Promise<string>((resolve) => {
      setTimeout(() => {
        try {
          resolve(`allowed ${String(new Function('return 1')())}`);
        } catch {
          resolve('blocked');
        }
      });
    });
    tried['blob worker'] = await new Promise<string>((resolve) => {
      const url = URL.createObjectURL(new Blob(['postMessage(1)'], { type: 'text/javascript' }));
      const timer = setTimeout(() => resolve('silent'), 5000);
      const settle = (word: string): void => {
        clearTimeout(timer);
        resolve(word);
      };
      try {
        const worker = new Worker(url);
        worker.addEventListener('message', () => settle('allowed'));
        worker.addEventListener('error', () => settle('blocked'));
      } catch {
        settle('blocked');
      }
    });
    return tried;
  });
  expect(outcome).toEqual({ fetch: 'blocked', eval: 'blocked', 'blob worker': 'blocked' });
});
