/**
 * @file The worker's side of the protocol: answers each request once, forwards progress, aborts on request, beats every 2 s.
 * Imports lib. Used by the worker entries only.
 */
import { UserError, toPlainError } from '../lib/errors';
import type { PayloadOf, ProgressOf, ReplyMessage, RequestMessage, ResultOf } from './protocol';

export const HEARTBEAT_MS = 2000;

export interface RequestContext<Progress> {
  readonly signal: AbortSignal;
  progress(value: Progress, transfer?: readonly Transferable[]): void;
}

/** A result whose buffers move to the page instead of being copied. */
export class Transferred<T> {
  constructor(
    readonly value: T,
    readonly transfer: readonly Transferable[],
  ) {}
}

export type Handlers<R> = {
  readonly [K in keyof R]: (
    payload: PayloadOf<R, K>,
    context: RequestContext<ProgressOf<R, K>>,
  ) => Promise<ResultOf<R, K> | Transferred<ResultOf<R, K>>>;
};

/** What the server needs of a worker's global scope; a MessagePort has it too (tests). */
export interface Scope {
  postMessage(message: ReplyMessage, transfer: Transferable[]): void;
  addEventListener(type: 'message', listener: (event: MessageEvent<RequestMessage>) => void): void;
}

type AnyHandler = (payload: unknown, context: RequestContext<unknown>) => Promise<unknown>;

/** Serves requests for the life of the worker. Returns a way to post messages that answer no request. */
export function serve<R>(scope: Scope, handlers: Handlers<R>): (message: ReplyMessage) => void {
  const running = new Map<number, AbortController>();
  const table = new Map<string, AnyHandler>(Object.entries(handlers) as [string, AnyHandler][]);
  const post = (message: ReplyMessage, transfer: readonly Transferable[] = []): void =>
    scope.postMessage(message, [...transfer]);

  const answer = async (id: number, name: string, payload: unknown): Promise<void> => {
    const controller = new AbortController();
    running.set(id, controller);
    try {
      const handler = table.get(name);
      if (!handler) throw new UserError('unknown-request', `The worker knows no request "${name}"`);
      const result = await handler(payload, {
        signal: controller.signal,
        progress: (value, transfer) => post({ id, type: 'progress', value }, transfer),
      });
      if (result instanceof Transferred) post({ id, type: 'done', value: result.value }, result.transfer);
      else post({ id, type: 'done', value: result });
    } catch (error) {
      post({ id, type: 'error', error: toPlainError(error) });
    } finally {
      running.delete(id);
    }
  };

  scope.addEventListener('message', (event) => {
    const message = event.data;
    if (message.type === 'abort') {
      running.get(message.id)?.abort(new DOMException('The operation was stopped', 'AbortError'));
    } else {
      void answer(message.id, message.name, message.payload);
    }
  });
  setInterval(() => post({ id: -1, type: 'heartbeat', at: Date.now() }), HEARTBEAT_MS);
  return post;
}
