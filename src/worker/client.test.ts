import { afterEach, describe, expect, it, vi } from 'vitest';
import { UserError } from '../lib/errors';
import { WorkerClient } from './client';
import type { WorkerLike } from './client';
import type { ReplyMessage, RequestMessage } from './protocol';
import { Transferred, serve } from './server';
import type { Handlers } from './server';

interface Requests {
  add: [{ readonly a: number; readonly b: number }, never, number];
  count: [{ readonly to: number }, { readonly at: number }, null];
  fail: [{ readonly name: string }, never, null];
  hang: [Record<string, never>, never, null];
  bytes: [{ readonly length: number }, never, Uint8Array];
}

const handlers: Handlers<Requests> = {
  add: async ({ a, b }) => a + b,
  count: async ({ to }, { progress }) => {
    for (let at = 1; at <= to; at++) progress({ at });
    return null;
  },
  fail: async ({ name }) => {
    throw new UserError('file-unreadable', `${name} could not be read`, {
      subject: name,
      hint: 'Try again.',
    });
  },
  hang: (_, { signal }) =>
    new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
  bytes: async ({ length }) => {
    const value = new Uint8Array(length).fill(7);
    return new Transferred(value, [value.buffer]);
  },
};

const ports: MessagePort[] = [];

/** Client and server joined by a real MessageChannel: real structured clones and transfers. */
function join(silent = false): WorkerClient<Requests> {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  port1.start();
  port2.start();
  if (!silent) {
    serve<Requests>(
      {
        postMessage: (message: ReplyMessage, transfer) => port2.postMessage(message, transfer),
        addEventListener: (type, listener) =>
          port2.addEventListener(type, listener as (event: MessageEvent<RequestMessage>) => void),
      },
      handlers,
    );
  }
  const worker: WorkerLike = {
    postMessage: (message, transfer) => port1.postMessage(message, transfer),
    addEventListener: (type, listener) => port1.addEventListener(type as 'message', listener),
    terminate: () => port1.close(),
  };
  return new WorkerClient<Requests>(worker, 'test worker');
}

afterEach(() => {
  vi.useRealTimers();
  for (const port of ports.splice(0)) port.close();
});

describe('WorkerClient and serve', () => {
  it('answers concurrent requests, each with its own result and progress', async () => {
    const client = join();
    const seen: number[] = [];
    const [sum, , other] = await Promise.all([
      client.request('add', { a: 2, b: 3 }),
      client.request('count', { to: 3 }, { onProgress: ({ at }) => seen.push(at) }),
      client.request('add', { a: -1, b: 1 }),
    ]);
    expect([sum, other]).toEqual([5, 0]);
    expect(seen).toEqual([1, 2, 3]);
    client.die();
  });

  it('carries errors with code, subject and hint', async () => {
    const client = join();
    await expect(client.request('fail', { name: 'a.png' })).rejects.toMatchObject({
      name: 'UserError',
      code: 'file-unreadable',
      subject: 'a.png',
      hint: 'Try again.',
    });
    client.die();
  });

  it('moves buffers', async () => {
    const client = join();
    const bytes = await client.request('bytes', { length: 1_000_000 });
    expect(bytes).toHaveLength(1_000_000);
    expect(bytes[999_999]).toBe(7);
    client.die();
  });

  it('aborts across the boundary', async () => {
    const client = join();
    const controller = new AbortController();
    const waiting = client.request('hang', {}, { signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
    client.die();
  });

  it('rejects what is pending and what comes after when the worker dies', async () => {
    const client = join();
    const deaths: string[] = [];
    client.onDeath((error) => deaths.push(error.code));
    const waiting = client.request('hang', {});
    client.die(new UserError('worker-crashed', 'boom'));
    await expect(waiting).rejects.toMatchObject({ code: 'worker-crashed' });
    await expect(client.request('add', { a: 1, b: 1 })).rejects.toMatchObject({ code: 'worker-crashed' });
    expect(deaths).toEqual(['worker-crashed']);
  });

  it('takes a worker for hung after 30 s of silence, not before', () => {
    vi.useFakeTimers();
    const client = join(true);
    vi.advanceTimersByTime(30_000);
    expect(client.death).toBeNull();
    vi.advanceTimersByTime(5000);
    expect(client.death?.code).toBe('worker-silent');
  });

  it('is not fooled by one late tick after a frozen tab wakes', () => {
    vi.useFakeTimers();
    const client = join(true);
    vi.setSystemTime(Date.now() + 3_600_000); // an hour passed without ticks
    vi.advanceTimersByTime(5000);
    expect(client.death).toBeNull();
    client.die();
  });
});
