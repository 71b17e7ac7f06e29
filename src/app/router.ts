/**
 * @file Hash routes: they work from any folder of any static host. "#/inspect?run=abc".
 */
import { useSyncExternalStore } from 'react';

export const stations = ['data', 'train', 'inspect', 'runs', 'device'] as const;
export type Station = (typeof stations)[number];

export interface Route {
  readonly station: Station;
  readonly query: URLSearchParams;
}

function parse(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?');
  const station = stations.find((s) => s === path) ?? 'data';
  return { station, query: new URLSearchParams(query) };
}

let current = parse(globalThis.location?.hash ?? '');

function subscribe(listener: () => void): () => void {
  const changed = (): void => {
    current = parse(globalThis.location.hash);
    listener();
  };
  addEventListener('hashchange', changed);
  return () => removeEventListener('hashchange', changed);
}

export function useRoute(): Route {
  return useSyncExternalStore(subscribe, () => current);
}

export function href(station: Station, query: Readonly<Record<string, string>> = {}): string {
  const text = new URLSearchParams(query).toString();
  return `#/${station}${text === '' ? '' : `?${text}`}`;
}

/** Moves within the page by the History API: no navigation leaves the document. */
export function goTo(station: Station, query: Readonly<Record<string, string>> = {}): void {
  history.pushState(null, '', href(station, query));
  dispatchEvent(new HashChangeEvent('hashchange'));
}
