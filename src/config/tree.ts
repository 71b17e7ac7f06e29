/**
 * @file Helpers on plain configuration trees. Imports formats/yaml types.
 */
import type { YamlValue } from '../formats/yaml';

export type Tree = { [key: string]: YamlValue };

export function isTree(value: YamlValue | undefined): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Later wins; dictionaries merge, lists and scalars are replaced. Neither argument is changed. */
export function mergeTrees(below: Tree, above: Tree): Tree {
  const out: Tree = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const before = out[key];
    out[key] = isTree(value) ? mergeTrees(isTree(before) ? before : {}, value) : value;
  }
  return out;
}

/** The value at a dotted path, or undefined. */
export function getPath(tree: Tree, path: string): YamlValue | undefined {
  let at: YamlValue | undefined = tree;
  for (const part of path.split('.')) {
    if (Array.isArray(at)) at = at[Number(part)];
    else if (isTree(at) && Object.hasOwn(at, part)) at = at[part];
    else return undefined;
  }
  return at;
}

/** A copy with the value at the path; missing dictionaries on the way are made. Undefined removes the key. */
export function withPath(tree: Tree, path: string, value: YamlValue | undefined): Tree {
  const [head, ...rest] = path.split('.') as [string, ...string[]];
  const out: Tree = { ...tree };
  if (rest.length > 0) {
    const child = out[head];
    out[head] = withPath(isTree(child) ? child : {}, rest.join('.'), value);
  } else if (value === undefined) delete out[head];
  else out[head] = value;
  return out;
}

/** Every leaf with its dotted path (lists and empty dictionaries are leaves). */
export function* leaves(tree: Tree, prefix = ''): Generator<readonly [string, YamlValue]> {
  for (const [key, value] of Object.entries(tree)) {
    if (isTree(value) && Object.keys(value).length > 0) yield* leaves(value, `${prefix}${key}.`);
    else yield [`${prefix}${key}`, value];
  }
}
