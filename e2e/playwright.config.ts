/**
 * @file End-to-end tests in headless Chromium with WebGPU (SwiftShader where there is no GPU), on the built site behind the server
 * that `npm start` uses. `npm test` builds dist/ first.
 */
import { defineConfig } from '@playwright/test';
import { findChromium } from '../src/cli/chromium.mjs';

/** Differs between runs at the same time; kept in the environment because Playwright's workers read this file again. */
process.env['STUDIO_E2E_PORT'] ??= String(21_000 + (process.pid % 4000) * 2);
const SITE_PORT = Number(process.env['STUDIO_E2E_PORT']);
export const PAGES_PORT = SITE_PORT + 1;
const PAGES = 'node_modules/.cache/e2e-pages';

const executablePath = findChromium();

export default defineConfig({
  testDir: '.',
  testMatch: '**/*.spec.ts',
  outputDir: '../test-results/e2e',
  workers: 1,
  fullyParallel: false,
  forbidOnly: true,
  retries: 0,
  timeout: 240_000,
  expect: { timeout: 30_000 },
  reporter: [['line'], ['json', { outputFile: '../test-results/e2e.json' }]],
  use: {
    baseURL: `http://127.0.0.1:${SITE_PORT}/`,
    viewport: { width: 1440, height: 900 },
    screenshot: 'only-on-failure',
    launchOptions: {
      ...(executablePath === null ? {} : { executablePath }),
      args: [
        '--headless=new',
        '--no-sandbox',
        '--enable-unsafe-webgpu',
        '--use-webgpu-adapter=swiftshader',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-first-run',
        '--disable-quic',
      ],
    },
  },
  webServer: [
    {
      name: 'studio',
      cwd: '..',
      command: `node src/cli/serve.mjs --dir dist --port ${SITE_PORT}`,
      port: SITE_PORT,
    },
    {
      name: 'test pages',
      cwd: '..',
      command: `npx vite build e2e/pages --config vite.config.ts --outDir ../../${PAGES} --emptyOutDir --logLevel warn && node src/cli/serve.mjs --dir ${PAGES} --port ${PAGES_PORT}`,
      port: PAGES_PORT,
      timeout: 120_000,
    },
  ],
});
