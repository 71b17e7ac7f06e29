/** @file The static server tells the truth about the built site and nothing else; the launchers notice changed sources. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serve } from './serve.mjs';
import { fingerprint } from './sources.mjs';

const outside = mkdtempSync(path.join(tmpdir(), 'studio-serve-'));
const site = path.join(outside, 'site');
let server: Server;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** A request whose path is sent as it is: fetch would normalise `..` away. */
function ask(rawPath: string, method = 'GET'): Promise<Answer> {
  const { port } = server.address() as AddressInfo;
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path: rawPath, method }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    sent.on('error', reject);
    sent.end();
  });
}

beforeAll(async () => {
  mkdirSync(path.join(site, 'assets'), { recursive: true });
  writeFileSync(path.join(outside, 'secret.txt'), 'secret');
  writeFileSync(`${site}-sibling.txt`, 'secret');
  writeFileSync(path.join(site, 'index.html'), '<!doctype html>');
  writeFileSync(path.join(site, 'assets', 'kernel-abc.wasm'), 'asm');
  server = await serve({ dir: site, port: 0 });
});

afterAll(() => {
  server.close();
  rmSync(outside, { recursive: true, force: true });
});

describe('static server', () => {
  test('serves the page with the policy and the isolation headers', async () => {
    const { status, headers, body } = await ask('/');
    expect(status).toBe(200);
    expect(body).toBe('<!doctype html>');
    expect(headers['content-type']).toBe('text/html; charset=utf-8');
    const policy = String(headers['content-security-policy']);
    expect(policy.startsWith("default-src 'none';")).toBe(true);
    for (const rule of [
      "connect-src 'self'",
      "worker-src 'self'",
      "frame-ancestors 'none'",
      "object-src 'none'",
    ]) {
      expect(policy).toContain(rule);
    }
    expect(policy).not.toMatch(/unsafe-inline|'unsafe-eval'|https?:|\*/);
    expect(headers['cross-origin-opener-policy']).toBe('same-origin');
    expect(headers['cross-origin-embedder-policy']).toBe('require-corp');
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['referrer-policy']).toBe('no-referrer');
  });

  test('sends WASM with its type and lets hashed files be cached', async () => {
    const { headers } = await ask('/assets/kernel-abc.wasm?x=1');
    expect(headers['content-type']).toBe('application/wasm');
    expect(headers['cache-control']).toContain('immutable');
  });

  test.each([
    '/../secret.txt',
    '/%2e%2e/secret.txt',
    '/assets/..%2f..%2fsecret.txt',
    '/..%5csecret.txt',
    '/%00',
    '/%zz',
  ])('refuses %s', async (rawPath) => {
    const { status, body } = await ask(rawPath);
    expect(status).toBe(404);
    expect(body).not.toContain('secret\n');
    expect(body).toBe('Not found\n');
  });

  test('does not take a folder beside it for its own', async () => {
    expect((await ask('/../site-sibling.txt')).status).toBe(404);
  });

  test('only reads', async () => {
    expect((await ask('/', 'POST')).status).toBe(405);
    const head = await ask('/', 'HEAD');
    expect([head.status, head.body]).toEqual([200, '']);
  });

  test('says when the port is taken', async () => {
    const { port } = server.address() as AddressInfo;
    await expect(serve({ dir: site, port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});

describe('fingerprint of sources', () => {
  test('changes with a file, not with a test or by reading again', () => {
    const folder = path.relative(process.cwd(), site);
    const before = fingerprint([folder]);
    expect(fingerprint([folder])).toBe(before);
    writeFileSync(path.join(site, 'x.test.ts'), 'test');
    expect(fingerprint([folder])).toBe(before);
    utimesSync(path.join(site, 'index.html'), 1, 1);
    expect(fingerprint([folder])).not.toBe(before);
  });
});
