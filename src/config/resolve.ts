/**
 * @file From files and overrides to a checked configuration and back to overrides: form, text and command line are views of one list.
 * Imports formats/yaml, lib.
 */
import { dumpYaml, parseYaml, type YamlValue } from '../formats/yaml';
import { UserError } from '../lib/errors';
import { compose, type Composed, type ConfigFiles } from './compose';
import { parseOverride, primitive } from './overrides';
import { checkConfig } from './schema';
import { getPath, isTree, leaves, type Tree } from './tree';
import type { StudioConfig } from './types';

export interface Resolved {
  readonly config: StudioConfig;
  readonly composed: Composed;
}

/** Composes configs/`name`.yaml with overrides and checks it. */
export function resolveConfig(files: ConfigFiles, name: string, overrides: readonly string[]): Resolved {
  const composed = compose(files, name, overrides);
  return { config: checkConfig(composed.tree), composed };
}

/** The text view. */
export function configText(config: StudioConfig): string {
  return dumpYaml(config as unknown as YamlValue);
}

/** The configuration of an edited text view; the model's recipe is not applied again. */
export function configFromText(text: string, fileName = 'config.yaml'): StudioConfig {
  const tree = parseYaml(text, fileName);
  if (!isTree(tree))
    throw new UserError('config-invalid', `"${fileName}" is not a dictionary of settings`, {
      subject: fileName,
    });
  return checkConfig(tree);
}

/** A value as the override grammar reads it back. */
export function overrideValue(value: YamlValue): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return plain(value) ? value : `'${value.replaceAll("'", "\\'")}'`;
  if (Array.isArray(value)) return `[${value.map(overrideValue).join(',')}]`;
  if (isTree(value))
    return `{${Object.entries(value)
      .map(([k, v]) => `${k}:${overrideValue(v)}`)
      .join(',')}}`;
  return String(value);
}

function plain(text: string): boolean {
  return /^[\w./:-]+$/.test(text) && primitive(text) === text;
}

/**
 * The shortest overrides that turn the defaults into `config`: the model and data choices, then every differing key.
 * @param dataChoice an option of configs/data.
 */
export function overridesFor(
  files: ConfigFiles,
  name: string,
  config: StudioConfig,
  dataChoice: string,
): string[] {
  const choices = [`model=${config.model.name}`, `data=${dataChoice}`];
  const base = compose(files, name, choices).tree;
  const target = config as unknown as Tree;
  const out = choices.slice();
  for (const [path, value] of leaves(target)) {
    const before = getPath(base, path);
    if (JSON.stringify(before) !== JSON.stringify(value)) {
      out.push(`${before === undefined ? '++' : ''}${path}=${overrideValue(value)}`);
    }
  }
  return out;
}

/** Replaces or adds the override of one key (or group), keeping the order of the others. */
export function withOverride(overrides: readonly string[], path: string, value: YamlValue): string[] {
  const text = `${path}=${overrideValue(value)}`;
  const at = overrides.findIndex((o) => parseOverride(o).key === path);
  return at < 0 ? [...overrides, text] : overrides.map((o, i) => (i === at ? text : o));
}

/** Without the override of a key and of keys below it. */
export function withoutOverride(overrides: readonly string[], path: string): string[] {
  return overrides.filter((o) => {
    const { key } = parseOverride(o);
    return key !== path && !key.startsWith(`${path}.`);
  });
}
