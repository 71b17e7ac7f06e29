/**
 * @file Keeps a run going over lost GPUs and crashed workers: waits, makes a new worker, resumes from the last checkpoint.
 * Pure logic, timers injected. Schedule: reference/reliability.md section 0 finding 4 (Chrome refuses a new adapter for about
 * 120 s after two GPU crashes, then gives one without a reload).
 */
import { UserError } from '../lib/errors';

/** Milliseconds before the n-th attempt (from 1): 1 s, 5 s, 30 s, 125 s, then every 120 s. */
export function retryDelay(attempt: number): number {
  return [1000, 5000, 30_000, 125_000][attempt - 1] ?? 120_000;
}

/** Losing the device is never final; a worker that dies again and again without one new checkpoint in between is. */
const MAX_CRASHES = 4;

/** While Chrome blocks the GPU after crashes there is no adapter at all: on a retry that is part of the loss, at the start it is final. */
export function isDeviceLoss(error: unknown, attempt: number): boolean {
  if (!(error instanceof UserError)) return false;
  return error.code === 'gpu-lost' || (error.code === 'no-webgpu' && attempt > 0);
}

function isCrash(error: unknown): boolean {
  return error instanceof UserError && (error.code === 'worker-crashed' || error.code === 'worker-silent');
}

export interface Supervision<T> {
  /** Makes a worker, starts its backend and trains; `attempt` 0 is the first go. Rejects when it is lost. */
  readonly run: (attempt: number) => Promise<T>;
  /** A number that grows with each checkpoint saved: progress clears the count of attempts. */
  readonly progress: () => number;
  readonly onWaiting: (state: { attempt: number; delayMs: number; error: UserError }) => void;
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Resolves with the run's result; rejects with the first error that starting again cannot help. */
export async function supervise<T>(job: Supervision<T>): Promise<T> {
  let attempt = 0;
  let crashes = 0;
  let progressed = job.progress();
  for (;;) {
    try {
      return await job.run(attempt);
    } catch (error) {
      if (job.signal.aborted) throw error;
      if (job.progress() !== progressed) {
        progressed = job.progress();
        attempt = 0;
        crashes = 0;
      }
      if (isCrash(error)) crashes++;
      if (!isDeviceLoss(error, attempt) && (!isCrash(error) || crashes >= MAX_CRASHES)) throw error;
      attempt++;
      const delayMs = retryDelay(attempt);
      job.onWaiting({ attempt, delayMs, error: error as UserError });
      await job.wait(delayMs, job.signal);
    }
  }
}

/** Waits without holding a promise for ever: an abort rejects at once. */
export function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(new UserError('aborted', 'The operation was stopped'));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}
