/**
 * @file The BroadcastChannel between tabs. Imports worker protocol types.
 */
import { CHANNEL } from '../../worker/channel';
import type { TabMessage } from '../../worker/protocol';

let channel: BroadcastChannel | null = null;

function open(): BroadcastChannel | null {
  if (typeof BroadcastChannel !== 'function' || typeof document === 'undefined') return null; // tests in Node
  channel ??= new BroadcastChannel(CHANNEL);
  return channel;
}

/** Messages of other tabs and of workers (also this tab's own train worker). */
export function onTabMessage(listener: (message: TabMessage) => void): void {
  open()?.addEventListener('message', (event: MessageEvent<TabMessage>) => listener(event.data));
}

/** Tells the other tabs that the run table changed. */
export function announceRuns(): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a BroadcastChannel has none
  open()?.postMessage({ kind: 'runs' } satisfies TabMessage);
}
