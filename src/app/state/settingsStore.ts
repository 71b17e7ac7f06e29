/**
 * @file Settings that must be known before the first paint, so they live in localStorage (synchronous), not in IndexedDB.
 * What the theme does to the document is in ../theme.ts.
 */
import { create } from 'zustand';
import type { SettingsState } from './types';

const KEY = 'studio.settings';
type Saved = Pick<SettingsState, 'theme' | 'singleKeys'>;
const DEFAULTS: Saved = { theme: 'system', singleKeys: true };

/** Reads saved settings; anything unreadable or unknown falls back to the default of that key. */
export function readSettings(text: string | null): Saved {
  let raw: unknown = null;
  try {
    raw = text === null ? null : JSON.parse(text);
  } catch {
    return DEFAULTS; // not our JSON: nothing worth keeping
  }
  if (typeof raw !== 'object' || raw === null) return DEFAULTS;
  const { theme, singleKeys } = raw as Record<string, unknown>;
  return {
    theme: theme === 'light' || theme === 'dark' || theme === 'system' ? theme : DEFAULTS.theme,
    singleKeys: typeof singleKeys === 'boolean' ? singleKeys : DEFAULTS.singleKeys,
  };
}

function storage(): Storage | null {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null; // blocked by the browser's settings: settings last for the session
  }
}

function save(state: Saved): void {
  try {
    storage()?.setItem(KEY, JSON.stringify({ theme: state.theme, singleKeys: state.singleKeys }));
  } catch {
    // A full or blocked localStorage must not break the page over a theme.
  }
}

export const useSettings = create<SettingsState>()((set, get) => {
  const saved = readSettings(storage()?.getItem(KEY) ?? null);
  return {
    ...saved,
    setTheme(theme) {
      set({ theme });
      save(get());
    },
    setSingleKeys(singleKeys) {
      set({ singleKeys });
      save(get());
    },
  };
});
