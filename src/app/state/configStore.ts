/**
 * @file The configuration being edited: one list of overrides over the tree in configs/; form and text are views of it.
 * Imports config, storage. What is refused changes nothing and says why.
 */
import { create } from 'zustand';
import { groupOptions } from '../../config/compose';
import { configFiles } from '../../config/files';
import { splitOverrides } from '../../config/overrides';
import {
  configFromText,
  configText,
  overridesFor,
  resolveConfig,
  withOverride,
  withoutOverride,
} from '../../config/resolve';
import { checkValue } from '../../config/schema';
import { getPath } from '../../config/tree';
import type { Tree } from '../../config/tree';
import type { StudioConfig } from '../../config/types';
import { toPlainError } from '../../lib/errors';
import { readOverrides, writeOverrides } from '../../storage/session';
import type { ConfigState } from './types';

const NAME = 'train';

type View = Pick<ConfigState, 'overrides' | 'config' | 'text' | 'error'>;

/** The state of a list of overrides; throws the config layer's UserError naming key, value and what is allowed. */
export function viewOf(overrides: readonly string[]): View {
  const { config } = resolveConfig(configFiles, NAME, overrides);
  return { overrides, config, text: configText(config), error: null };
}

/** Overrides with `path` set; without any when the value is the default anyway. Throws when it is refused. */
export function overrideFor(overrides: readonly string[], path: string, value: unknown): string[] {
  const checked = checkValue(path, value as Parameters<typeof checkValue>[1]);
  const rest = withoutOverride(overrides, path);
  const base = resolveConfig(configFiles, NAME, rest).config as unknown as Tree;
  if (JSON.stringify(getPath(base, path)) === JSON.stringify(checked)) return rest;
  return withOverride(overrides, path, checked);
}

const TITLES: Readonly<Record<string, string>> = { tinyusfm: 'TinyUSFM', segformer: 'SegFormer' };

/** "segformer_b0" -> "SegFormer B0". */
export function modelTitle(name: string): string {
  const [family = name, ...rest] = name.split('_');
  const words = rest.map((word) => (/^b\d$/.test(word) ? word.toUpperCase() : word));
  return [TITLES[family] ?? family, ...words].join(' ');
}

/** What a first visit shows. */
function firstView(): View {
  try {
    return viewOf([]);
  } catch (error) {
    return { overrides: [], config: null, text: '', error: toPlainError(error) };
  }
}

export const useConfig = create<ConfigState>()((set, get) => {
  /** Takes over what `make` gives, or shows why not. */
  const attempt = (make: () => readonly string[]): boolean => {
    try {
      const view = viewOf(make());
      set(view);
      // A lost override costs a click after a reload; storage in trouble is reported where data is at stake.
      void writeOverrides(view.overrides).catch(() => undefined);
      return true;
    } catch (error) {
      set({ error: toPlainError(error) });
      return false;
    }
  };

  return {
    ...firstView(),
    models: groupOptions(configFiles, 'model').map((name) => ({ name, title: modelTitle(name) })),

    setValue: (path, value) => attempt(() => overrideFor(get().overrides, path, value)),

    setModel(name) {
      // Keys of the old architecture mean nothing to the new one; the number of classes belongs to the data.
      const kept = get().overrides.filter(
        (text) => !/^\+{0,2}model\./.test(text) || /^\+{0,2}model\.num_classes=/.test(text),
      );
      attempt(() => withOverride(kept, 'model', name));
    },

    setText: (yaml) => attempt(() => overridesOf(configFromText(yaml))),

    applyOverrides: (text) =>
      attempt(() => {
        const lines = text.split(/\r?\n/).flatMap((line) => splitOverrides(line));
        return lines.reduce<readonly string[]>(appendOverride, get().overrides);
      }),

    reset(path) {
      attempt(() => (path === undefined ? [] : withoutOverride(get().overrides, path)));
    },

    load(config) {
      attempt(() => overridesOf({ ...config, data: { ...config.data, exclude: [] } }));
    },

    async restore() {
      const saved = await readOverrides().catch(() => undefined);
      if (saved && get().overrides.length === 0) attempt(() => saved);
    },
  };
});

function overridesOf(config: StudioConfig): string[] {
  const choice = groupOptions(configFiles, 'data').includes(config.data.name) ? config.data.name : 'folder';
  return overridesFor(configFiles, NAME, config, choice);
}

/** A new override replaces an older one of the same key; `~key` and `+key` stay as typed. */
function appendOverride(overrides: readonly string[], text: string): readonly string[] {
  const key = /^\+{0,2}([^=~]+)=/.exec(text)?.[1];
  if (key === undefined) return [...overrides, text];
  return [...overrides.filter((old) => /^\+{0,2}([^=~]+)=/.exec(old)?.[1] !== key), text];
}
