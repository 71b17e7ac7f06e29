/**
 * @file Hydra composition: defaults list, packages, overrides, interpolation. Imports formats/yaml, lib.
 * Rules: reference/peers.md section 4.3 (the subset this project supports; the rest is refused with a sentence).
 */
import { parseYaml } from '../formats/yaml';
import type { YamlValue } from '../formats/yaml';
import { UserError } from '../lib/errors';
import { interpolate } from './interpolation';
import { parseOverride, type Override } from './overrides';
import { getPath, isTree, mergeTrees, withPath, type Tree } from './tree';

/** Path below configs/ ("model/tinyusfm.yaml") to text. */
export type ConfigFiles = ReadonlyMap<string, string>;

export interface Composed {
  readonly tree: Tree;
  /** Files merged, in order. */
  readonly sources: readonly string[];
  /** Group choices: model -> tinyusfm_nano. */
  readonly choices: Readonly<Record<string, string>>;
}

type DefaultsEntry =
  | { readonly kind: 'self' }
  | { readonly kind: 'file'; readonly path: string }
  | {
      readonly kind: 'group';
      readonly group: string;
      readonly option: string | null;
      readonly optional: boolean;
    }
  | { readonly kind: 'override'; readonly group: string; readonly option: string | null };

/** Options of a group: the YAML files directly in its folder. */
export function groupOptions(files: ConfigFiles, group: string): string[] {
  const out: string[] = [];
  for (const path of files.keys()) {
    if (!path.startsWith(`${group}/`)) continue;
    const rest = path.slice(group.length + 1);
    if (!rest.includes('/') && rest.endsWith('.yaml')) out.push(rest.slice(0, -5));
  }
  return out.sort();
}

function isGroup(files: ConfigFiles, name: string): boolean {
  return [...files.keys()].some((path) => path.startsWith(`${name}/`));
}

/**
 * Composes `name`.yaml with overrides, interpolations resolved.
 * @throws UserError 'override-invalid', 'config-unknown-key', 'config-unknown-option', 'config-missing-value', 'yaml-invalid'.
 */
export function compose(
  files: ConfigFiles,
  name: string,
  overrides: readonly string[],
  now = new Date(),
): Composed {
  const parsed = overrides.map(parseOverride);
  const groups = parsed.filter(
    (o) => isGroup(files, o.key) && !isTree(o.value as YamlValue) && o.action !== 'remove',
  );
  const values = parsed.filter((o) => !groups.includes(o));
  const composer = new Composer(files, choicesOf(groups, files));
  const base = composer.file(`${name}.yaml`, '', '');
  composer.assertAllChosen();
  let tree = base;
  for (const override of values) tree = applyOverride(tree, override);
  tree = interpolate(tree, { now, outputDir: getPath(tree, 'output_dir'), choices: composer.choices });
  return { tree, sources: composer.sources, choices: composer.choices };
}

function choicesOf(groups: readonly Override[], files: ConfigFiles): Map<string, string | null> {
  const out = new Map<string, string | null>();
  for (const { key, value, text } of groups) {
    if (value !== null && typeof value !== 'string' && typeof value !== 'number') {
      throw new UserError(
        'config-unknown-option',
        `"${text}": "${key}" is a group; choose one of ${groupOptions(files, key).join(', ')}`,
        { subject: key },
      );
    }
    out.set(key, value === null ? null : String(value));
  }
  return out;
}

class Composer {
  readonly sources: string[] = [];
  readonly choices: Record<string, string> = {};
  private readonly used = new Set<string>();

  constructor(
    private readonly files: ConfigFiles,
    private readonly chosen: Map<string, string | null>,
  ) {}

  /** One file with its defaults, placed at its package. */
  file(path: string, group: string, parentPackage: string): Tree {
    const text = this.files.get(path);
    if (text === undefined) throw this.unknownOption(path, group);
    this.sources.push(path);
    const parsed = parseYaml(text, `configs/${path}`) ?? {};
    if (!isTree(parsed))
      throw new UserError('yaml-invalid', `"configs/${path}" is not a dictionary`, { subject: path });
    const { defaults, ...own } = parsed;
    const pack = packageOf(text, group, parentPackage);
    const placed = pack === '' ? own : withPath({}, pack, own);
    const entries = parseDefaults(defaults, path);
    if (!entries.some((e) => e.kind === 'self')) entries.push({ kind: 'self' });
    this.takeOverrides(entries);
    let out: Tree = {};
    for (const entry of entries) {
      if (entry.kind === 'self') out = mergeTrees(out, placed);
      else if (entry.kind !== 'override') out = mergeTrees(out, this.entry(entry, group, pack));
    }
    return out;
  }

  /** "override /group: option" decides for the rest of the composition unless the command line did. */
  private takeOverrides(entries: readonly DefaultsEntry[]): void {
    for (const entry of entries) {
      if (entry.kind === 'override' && !this.chosen.has(entry.group))
        this.chosen.set(entry.group, entry.option);
    }
  }

  private entry(
    entry: Extract<DefaultsEntry, { kind: 'file' | 'group' }>,
    group: string,
    pack: string,
  ): Tree {
    if (entry.kind === 'file') {
      const absolute = entry.path.startsWith('/');
      const path = absolute ? entry.path.slice(1) : group === '' ? entry.path : `${group}/${entry.path}`;
      return this.file(`${path}.yaml`, path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '', pack);
    }
    const full = entry.group.startsWith('/')
      ? entry.group.slice(1)
      : group === ''
        ? entry.group
        : `${group}/${entry.group}`;
    const option = this.chosen.has(full) ? (this.chosen.get(full) ?? null) : entry.option;
    this.used.add(full);
    if (option === null) return {};
    if (entry.optional && !this.files.has(`${full}/${option}.yaml`)) return {};
    this.choices[full] = option;
    return this.file(`${full}/${option}.yaml`, full, full.replaceAll('/', '.'));
  }

  /** A group chosen on the command line that no defaults list asked for must not be lost. */
  assertAllChosen(): void {
    for (const group of this.chosen.keys()) {
      if (this.used.has(group)) continue;
      throw new UserError('config-unknown-key', `"${group}" is no choice of this configuration`, {
        subject: group,
        hint: `Choices: ${[...this.used].join(', ')}.`,
      });
    }
  }

  private unknownOption(path: string, group: string): UserError {
    const option = path.slice(group === '' ? 0 : group.length + 1).replace(/\.yaml$/, '');
    return new UserError(
      'config-unknown-option',
      `${group === '' ? 'config' : group}=${option}: there is no such option`,
      {
        subject: group,
        hint: `Options: ${groupOptions(this.files, group).join(', ')}.`,
      },
    );
  }
}

/** "# @package _global_" or a dotted path in the first comment lines; default: the group's path. */
function packageOf(text: string, group: string, parentPackage: string): string {
  const header = /^#\s*@package\s+(\S+)/m.exec(text.split('\n').slice(0, 5).join('\n'))?.[1];
  if (header === '_global_') return '';
  if (header !== undefined && header !== '_group_') return header;
  return parentPackage !== '' ? parentPackage : group.replaceAll('/', '.');
}

function parseDefaults(value: YamlValue | undefined, path: string): DefaultsEntry[] {
  if (value === undefined || value === null) return [];
  const bad = (what: string): UserError =>
    new UserError('yaml-invalid', `"configs/${path}": ${what} in the defaults list`, { subject: path });
  if (!Array.isArray(value)) throw bad('expected a list');
  return value.map((entry): DefaultsEntry => {
    if (entry === '_self_') return { kind: 'self' };
    if (typeof entry === 'string') {
      if (entry.includes('..') || entry.includes('\\')) throw bad(`"${entry}" leaves the folder`);
      return { kind: 'file', path: entry };
    }
    const pairs = isTree(entry) ? Object.entries(entry) : [];
    const [first] = pairs;
    if (first === undefined || pairs.length > 1) throw bad('expected "- group: option"');
    const [key, raw] = first;
    if (raw !== null && typeof raw !== 'string') throw bad(`the option of "${key}" is no name`);
    if (key.includes('..') || key.includes('\\') || raw?.includes('..'))
      throw bad(`"${key}" leaves the folder`);
    const words = key.trim().split(/\s+/);
    const group = words.at(-1) as string;
    if (words[0] === 'override') return { kind: 'override', group: group.replace(/^\//, ''), option: raw };
    return { kind: 'group', group, option: raw, optional: words[0] === 'optional' };
  });
}

function applyOverride(tree: Tree, override: Override): Tree {
  const { action, value, text } = override;
  const key = override.key.replaceAll('/', '.');
  const before = getPath(tree, key);
  if (action === 'remove') {
    if (before === undefined) throw unknownKey(tree, key, text);
    if (value !== undefined && value !== before) {
      throw new UserError(
        'override-invalid',
        `"${text}": the value is ${JSON.stringify(before)}, not ${JSON.stringify(value)}`,
        { subject: key },
      );
    }
    return withPath(tree, key, undefined);
  }
  if (action === 'add' && before !== undefined) {
    throw new UserError('override-invalid', `"${text}": the key exists already`, {
      subject: key,
      hint: `Write ++${key}=... to set it either way.`,
    });
  }
  if (action === 'set' && before === undefined) throw unknownKey(tree, key, text);
  const merged = isTree(value as YamlValue) && isTree(before) ? mergeTrees(before, value as Tree) : value;
  return withPath(tree, key, merged);
}

function unknownKey(tree: Tree, key: string, text: string): UserError {
  const near = nearest(key, allKeys(tree));
  return new UserError('config-unknown-key', `"${text}": there is no key "${key}"`, {
    subject: key,
    hint: near === null ? `+${key}=... adds a key.` : `Did you mean "${near}"?`,
  });
}

function allKeys(tree: Tree, prefix = ''): string[] {
  return Object.entries(tree).flatMap(([key, value]) => [
    `${prefix}${key}`,
    ...(isTree(value) ? allKeys(value, `${prefix}${key}.`) : []),
  ]);
}

/** The candidate with the smallest edit distance, if close; a last path component that matches counts as close. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  const tail = word.split('.').at(-1) as string;
  const sameTail = candidates.find((c) => c.split('.').at(-1) === tail);
  if (sameTail !== undefined) return sameTail;
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(word.length / 4)) + 1;
  for (const candidate of candidates) {
    const d = Math.min(distance(word, candidate), distance(tail, candidate.split('.').at(-1) as string));
    if (d < bestDistance) {
      best = candidate;
      bestDistance = d;
    }
  }
  return best;
}

/** Levenshtein. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      next.push(Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, (row[j - 1] as number) + cost));
    }
    row = next;
  }
  return row[b.length] as number;
}
