/**
 * @file Checks a composed tree against the fields: unknown key, wrong type, out of range; each names key, value and what is allowed.
 * Imports lib. After it the tree is a StudioConfig and nobody checks again.
 */
import type { YamlValue } from '../formats/yaml';
import { UserError } from '../lib/errors';
import { nearest } from './compose';
import { familyOf, fieldByPath, fields, type Field, type FieldType } from './fields';
import { getPath, isTree, leaves, withPath, type Tree } from './tree';
import type { StudioConfig } from './types';

function shown(value: YamlValue): string {
  return typeof value === 'string' ? `"${value}"` : JSON.stringify(value);
}

/** What a field takes, in words: "an integer from 1 to 4096, or auto". */
export function allowedText(field: Field): string {
  const t = field.type;
  const range = (lo?: number, hi?: number, above = false): string =>
    lo === undefined || hi === undefined
      ? ''
      : above
        ? ` above ${lo} (at most ${hi})`
        : ` from ${lo} to ${hi}`;
  const base = ((): string => {
    switch (t.kind) {
      case 'number':
        return `${t.integer === true ? 'an integer' : 'a number'}${range(t.min, t.max, t.exclusiveMin)}`;
      case 'boolean':
        return 'true or false';
      case 'text':
        return 'text';
      case 'choice':
        return `one of ${t.options.join(', ')}`;
      case 'numbers':
        return `a list of ${t.length === undefined ? '' : `${t.length} `}${t.integer === true ? 'integers' : 'numbers'}${range(t.min, t.max)}`;
      case 'texts':
        return field.listOrOne === true ? 'text or a list of texts' : 'a list of texts';
    }
  })();
  return [base, ...(field.words ?? []), ...(field.nullable === true ? ['null'] : [])].join(', or ');
}

function fits(value: YamlValue, type: FieldType): boolean {
  switch (type.kind) {
    case 'number':
      return isNumber(value, type) && !(type.exclusiveMin === true && value === type.min);
    case 'boolean':
      return typeof value === 'boolean';
    case 'text':
      return typeof value === 'string';
    case 'choice':
      return typeof value === 'string' && type.options.includes(value);
    case 'numbers':
      return (
        Array.isArray(value) &&
        (type.length === undefined || value.length === type.length) &&
        value.every((v) => isNumber(v, type))
      );
    case 'texts':
      return Array.isArray(value) && value.every((v) => typeof v === 'string');
  }
}

function isNumber(
  value: YamlValue,
  t: { readonly integer?: boolean; readonly min?: number; readonly max?: number },
): boolean {
  return (
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (t.integer !== true || Number.isSafeInteger(value)) &&
    (t.min === undefined || value >= t.min) &&
    (t.max === undefined || value <= t.max)
  );
}

/** Throws UserError 'config-invalid' when the value does not fit the field. */
export function checkField(field: Field, value: YamlValue): void {
  if (value === null && field.nullable === true) return;
  if (typeof value === 'string' && field.words?.includes(value) === true) return;
  if (field.listOrOne === true && typeof value === 'string') return;
  if (fits(value, field.type)) return;
  throw new UserError('config-invalid', `${field.path}=${shown(value)}: expected ${allowedText(field)}`, {
    subject: field.path,
  });
}

/**
 * The checked configuration. Numbers typed as text-like folder names ("data.root=123") become text.
 * @throws UserError 'config-invalid' or 'config-unknown-key' naming the key.
 */
export function checkConfig(tree: Tree): StudioConfig {
  const name = getPath(tree, 'model.name');
  const family = familyOf(typeof name === 'string' ? name : '');
  const allowed = fields.filter((f) => f.families === undefined || f.families.includes(family));
  const known = new Set(allowed.map((f) => f.path));
  for (const [path, value] of leaves(tree)) {
    if (known.has(path)) continue;
    const near = nearest(path, [...known]);
    const isGroup = isTree(value) && [...known].some((k) => k.startsWith(`${path}.`));
    if (isGroup) continue; // an empty dictionary: its missing keys are reported below
    throw new UserError('config-unknown-key', `${path}: there is no such key`, {
      subject: path,
      ...(near === null ? {} : { hint: `Did you mean "${near}"?` }),
    });
  }
  let out = tree;
  for (const field of allowed) {
    const value = getPath(tree, field.path);
    if (value === undefined) {
      throw new UserError('config-invalid', `${field.path} is missing: expected ${allowedText(field)}`, {
        subject: field.path,
      });
    }
    const takesText = field.type.kind === 'text' || field.type.kind === 'texts';
    const fixed = takesText && typeof value === 'number' ? String(value) : value;
    checkField(field, fixed);
    if (fixed !== value) out = withPath(out, field.path, fixed);
  }
  const config = out as unknown as StudioConfig;
  checkTogether(config);
  return config;
}

/** Rules between keys. */
function checkTogether(config: StudioConfig): void {
  const { train, val, test } = config.data.split;
  const sum = train + val + test;
  if (Math.abs(sum - 1) > 1e-6 || train <= 0) {
    throw new UserError(
      'config-invalid',
      `data.split.train, val, test = ${train}, ${val}, ${test}: expected shares that sum to 1, with train above 0`,
      {
        subject: 'data.split',
      },
    );
  }
  for (const range of ['gamma', 'contrast'] as const) {
    const { min, max } = config.augmentation[range];
    if (min > max) {
      throw new UserError('config-invalid', `augmentation.${range}.min=${min} is above max=${max}`, {
        subject: `augmentation.${range}`,
      });
    }
  }
  const weights = config.loss.class_weights;
  if (weights !== null && weights.length !== config.model.num_classes) {
    throw new UserError(
      'config-invalid',
      `loss.class_weights has ${weights.length} values: expected one per class (${config.model.num_classes})`,
      {
        subject: 'loss.class_weights',
      },
    );
  }
}

/** Checks one value and returns it; for a form's input. */
export function checkValue(path: string, value: YamlValue): YamlValue {
  const field = fieldByPath.get(path);
  if (field === undefined)
    throw new UserError('config-unknown-key', `${path}: there is no such key`, { subject: path });
  checkField(field, value);
  return value;
}
