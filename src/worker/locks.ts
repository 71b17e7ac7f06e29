/**
 * @file One trainer per run across tabs: the Web Lock `run:<id>`, held by the train worker for as long as it trains (the browser
 * releases it when the worker dies, measured 27-41 ms). Imports lib.
 */
import { UserError } from '../lib/errors';

function lockName(runId: string): string {
  return `run:${runId}`;
}

/** Runs `work` while holding the run's lock. Throws 'run-in-other-tab' when another tab or worker holds it for over 2 s. */
export async function withRunLock<T>(runId: string, work: () => Promise<T>): Promise<T> {
  const taken = new AbortController();
  const timer = setTimeout(() => taken.abort(), 2000); // a terminated worker's lock is released a moment later
  try {
    return await navigator.locks.request(lockName(runId), { signal: taken.signal }, () => {
      clearTimeout(timer);
      return work();
    });
  } catch (error) {
    if (!taken.signal.aborted || !(error instanceof DOMException)) throw error;
    throw new UserError('run-in-other-tab', 'Another tab is training this run', {
      subject: runId,
      hint: 'Watch it here, or stop it there first.',
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Ids of the runs that some tab is training now. */
export async function lockedRuns(): Promise<ReadonlySet<string>> {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  const ids = held.map((lock) => lock.name ?? '').filter((name) => name.startsWith('run:'));
  return new Set(ids.map((name) => name.slice('run:'.length)));
}
