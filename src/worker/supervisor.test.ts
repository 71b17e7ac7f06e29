import { describe, expect, it } from 'vitest';
import { UserError } from '../lib/errors';
import { retryDelay, supervise, waitFor } from './supervisor';

const lost = (): UserError => new UserError('gpu-lost', 'gone');
const missing = (): UserError => new UserError('no-webgpu', 'none');
const crashed = (): UserError => new UserError('worker-crashed', 'gone');

function harness(script: readonly (UserError | 'done')[], savesAt: readonly number[] = []) {
  const waits: number[] = [];
  let saves = 0;
  const promise = supervise({
    run: async (attempt: number) => {
      const n = waits.length;
      if (savesAt.includes(n)) saves++;
      const step = script[n];
      if (step === 'done') return attempt;
      throw step;
    },
    progress: () => saves,
    onWaiting: ({ delayMs }) => waits.push(delayMs),
    wait: () => Promise.resolve(),
    signal: new AbortController().signal,
  });
  return { promise, waits };
}

describe('supervise', () => {
  it('waits 1 s, 5 s, 30 s, 125 s, then 120 s, and never gives up on a lost device', async () => {
    const { promise, waits } = harness([lost(), lost(), lost(), lost(), lost(), lost(), 'done']);
    expect(await promise).toBe(6);
    expect(waits).toEqual([1000, 5000, 30_000, 125_000, 120_000, 120_000]);
    expect(retryDelay(1)).toBe(1000);
  });

  it('takes a missing adapter for part of the loss on a retry only', async () => {
    await expect(harness([missing()]).promise).rejects.toMatchObject({ code: 'no-webgpu' });
    expect(await harness([lost(), missing(), 'done']).promise).toBe(2);
  });

  it('starts the schedule again after a checkpoint', async () => {
    const { promise, waits } = harness([lost(), lost(), lost(), 'done'], [2]);
    await promise;
    expect(waits).toEqual([1000, 5000, 1000]);
  });

  it('gives up on a worker that crashes four times without a checkpoint, and at once on other errors', async () => {
    const { promise, waits } = harness([crashed(), crashed(), crashed(), crashed(), 'done']);
    await expect(promise).rejects.toMatchObject({ code: 'worker-crashed' });
    expect(waits).toHaveLength(3);
    const nan = new UserError('loss-not-finite', 'NaN');
    await expect(harness([nan]).promise).rejects.toBe(nan);
  });

  it('ends the waiting when stopped', async () => {
    const controller = new AbortController();
    const waiting = waitFor(60_000, controller.signal);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
  });
});
