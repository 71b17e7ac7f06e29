/**
 * @file Applies the chosen theme to the document; "system" follows the browser's setting as it changes.
 */
import { useSettings } from './state/settingsStore';

const dark = globalThis.matchMedia?.('(prefers-color-scheme: dark)');

function apply(): void {
  const { theme } = useSettings.getState();
  document.documentElement.dataset['theme'] = theme === 'system' ? (dark?.matches ? 'dark' : 'light') : theme;
}

export function startTheme(): void {
  apply();
  useSettings.subscribe(apply);
  dark?.addEventListener('change', apply);
}

/** Light and dark in turn, from what is shown now. */
export function toggleTheme(): void {
  const shown = document.documentElement.dataset['theme'];
  useSettings.getState().setTheme(shown === 'dark' ? 'light' : 'dark');
}
