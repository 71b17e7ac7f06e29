/**
 * @file One trainer per run across tabs, by Web Locks (the browser releases them when their holder dies, measured 27-41 ms):
 * `run:<id>` is held by the train worker while it trains, `job:<id>` by the page that looks after the run. Imports lib.
 */
import { UserError } from '../lib/errors';

function lockName(runId: string): string {
  return `run:${runId}`;
}

function otherTab(runId: string): UserError {
  return new UserError('run-in-other-tab', 'Another tab is training this run', {
    subject: runId,
    hint: 'Watch it here, or stop it there first.',
  });
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
    throw otherTab(runId);
  } finally {
    clearTimeout(timer);
  }
}

function jobName(runId: string): string {
  return `job:${runId}`;
}

/**
 * The page's own lock, held while it looks after a run, also between a lost GPU and the next attempt. Runs `work` while holding
 * it; throws 'run-in-other-tab' at once when another tab does.
 */
export function withJobLock<T>(runId: string, work: () => Promise<T>): Promise<T> {
  return navigator.locks.request(jobName(runId), { ifAvailable: true }, (lock) => {
    if (!lock) throw otherTab(runId);
    return work();
  });
}

/** Ids of the runs that some tab looks after now. */
export async function runsInProgress(): Promise<ReadonlySet<string>> {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  const prefix = jobName('');
  const names = held.map((lock) => lock.name ?? '').filter((name) => name.startsWith(prefix));
  return new Set(names.map((name) => name.slice(prefix.length)));
}

/** Resolves once no tab looks after the run any more (it ended, or its tab is gone). */
export async function whenReleased(runId: string, signal: AbortSignal): Promise<void> {
  await navigator.locks.request(jobName(runId), { mode: 'shared', signal }, () => undefined);
}
