/**
 * @file The page's side of the protocol: typed requests with progress and abort, a watchdog, and one way to die. Imports lib.
 * A client whose worker crashed, fell silent or lost its device is finished: its pending requests reject with a code that says
 * which, and its owner makes a new one (dataPool.ts, supervisor.ts).
 */
import { UserError, fromPlainError } from '../lib/errors';
import type { PayloadOf, ProgressOf, ReplyMessage, RequestMessage, RequestName, ResultOf } from './protocol';

/** A worker that has not beaten for this long is taken for hung. */
export const SILENCE_MS = 30_000;
const TICK_MS = 5000;

export interface RequestOptions<Progress> {
  readonly signal?: AbortSignal;
  readonly onProgress?: (value: Progress) => void;
  readonly transfer?: readonly Transferable[];
}

/** What the client needs of a Worker; a MessagePort with `terminate` has it too (tests). */
export interface WorkerLike {
  postMessage(message: RequestMessage, transfer: Transferable[]): void;
  addEventListener(type: string, listener: (event: Event) => void): void;
  terminate(): void;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: UserError) => void;
  readonly onProgress: ((value: never) => void) | undefined;
}

export class WorkerClient<R> {
  private readonly pending = new Map<number, Pending>();
  private readonly deathListeners: ((error: UserError) => void)[] = [];
  private readonly timer: ReturnType<typeof setInterval>;
  private next = 1;
  private silentTicks = 0;
  /** Raise for a backend that computes on the worker's own thread and cannot beat during a step. */
  silenceMs = SILENCE_MS;
  /** Why this client is finished; null while it works. */
  death: UserError | null = null;

  constructor(
    private readonly worker: WorkerLike,
    private readonly title: string,
  ) {
    worker.addEventListener('message', (event) => this.receive((event as MessageEvent<ReplyMessage>).data));
    worker.addEventListener('error', (event) => {
      event.preventDefault();
      const message = (event as ErrorEvent).message || 'its code could not be loaded or ran out of memory';
      this.die(new UserError('worker-crashed', `The ${this.title} stopped: ${message}`));
    });
    worker.addEventListener('messageerror', () =>
      this.die(new UserError('worker-crashed', `A message of the ${this.title} could not be read`)),
    );
    // Counted in ticks, not by the clock: after a frozen tab wakes, one late tick must not kill a healthy worker.
    this.timer = setInterval(() => this.tick(), TICK_MS);
  }

  /** Sends a request. Rejects with the worker's UserError, with code 'aborted' after `signal`, or with the cause of death. */
  request<K extends RequestName<R>>(
    name: K,
    payload: PayloadOf<R, K>,
    options: RequestOptions<ProgressOf<R, K>> = {},
  ): Promise<ResultOf<R, K>> {
    if (this.death) return Promise.reject(this.death);
    const { signal, onProgress, transfer } = options;
    if (signal?.aborted) return Promise.reject(new UserError('aborted', 'The operation was stopped'));
    const id = this.next++;
    return new Promise<ResultOf<R, K>>((resolve, reject) => {
      const onAbort = (): void => {
        if (this.pending.has(id) && !this.death) this.worker.postMessage({ id, type: 'abort' }, []);
      };
      signal?.addEventListener('abort', onAbort);
      const settle = (): void => signal?.removeEventListener('abort', onAbort);
      this.pending.set(id, {
        resolve: (value) => {
          settle();
          resolve(value as ResultOf<R, K>);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
        onProgress: onProgress as ((value: never) => void) | undefined,
      });
      try {
        this.worker.postMessage({ id, type: 'request', name, payload }, [...(transfer ?? [])]);
      } catch (cause) {
        this.pending.delete(id);
        settle();
        reject(new UserError('internal', `The request "${name}" could not be sent`, { cause }));
      }
    });
  }

  get busy(): number {
    return this.pending.size;
  }

  onDeath(listener: (error: UserError) => void): void {
    this.deathListeners.push(listener);
  }

  /** Ends the worker at once; pending requests reject with `error`. */
  die(error: UserError = new UserError('aborted', 'The operation was stopped')): void {
    if (this.death) return;
    this.death = error;
    clearInterval(this.timer);
    this.worker.terminate();
    const waiting = [...this.pending.values()];
    this.pending.clear();
    for (const request of waiting) request.reject(error);
    for (const listener of this.deathListeners) listener(error);
  }

  private receive(message: ReplyMessage): void {
    this.silentTicks = 0;
    if (this.death) return;
    if (message.type === 'heartbeat') return;
    if (message.type === 'deviceLost') {
      this.die(fromPlainError(message.error));
      return;
    }
    const request = this.pending.get(message.id);
    if (!request) return;
    if (message.type === 'progress') {
      request.onProgress?.(message.value as never);
      return;
    }
    this.pending.delete(message.id);
    if (message.type === 'done') request.resolve(message.value);
    else request.reject(fromPlainError(message.error));
  }

  private tick(): void {
    this.silentTicks++;
    if (this.silentTicks * TICK_MS <= this.silenceMs) return;
    const seconds = Math.round(this.silenceMs / 1000);
    this.die(new UserError('worker-silent', `The ${this.title} has not answered for ${seconds} s`));
  }
}
