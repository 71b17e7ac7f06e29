/**
 * @file One GPU, one job at a time: estimates, tests and self-tests queue behind each other; while a run trains they are refused
 * with a reason, while it is paused they may go ahead. Imports lib.
 */
import { UserError } from '../lib/errors';

export class GpuLane {
  private queue: Promise<unknown> = Promise.resolve();
  private training: 'no' | 'running' | 'paused' = 'no';

  /** Runs a short job after the ones before it. Throws 'gpu-busy' while a run trains. */
  job<T>(work: () => Promise<T>): Promise<T> {
    if (this.training === 'running') {
      return Promise.reject(
        new UserError('gpu-busy', 'The GPU is training a run', { hint: 'Pause or stop the run first.' }),
      );
    }
    const result = this.queue.then(work);
    this.queue = result.catch(() => undefined);
    return result;
  }

  /** Runs a training after the jobs before it. Throws 'gpu-busy' when one is active. */
  async train<T>(work: () => Promise<T>): Promise<T> {
    if (this.training !== 'no') {
      throw new UserError('gpu-busy', 'A run is active already', { hint: 'Stop it first.' });
    }
    this.training = 'running';
    await this.queue;
    try {
      return await work();
    } finally {
      this.training = 'no';
    }
  }

  /** Resolves when no short job is left: before a paused run goes on. */
  async idle(): Promise<void> {
    await this.queue;
  }

  setPaused(paused: boolean): void {
    if (this.training !== 'no') this.training = paused ? 'paused' : 'running';
  }
}
