/**
 * @file Reading architecture keys of `config.model` with errors that name key, value and what is allowed. Imports lib only.
 */
import { UserError } from '../lib/errors';

type Keys = Readonly<Record<string, unknown>>;

interface Range {
  readonly min: number;
  readonly max: number;
}

function refuse(key: string, value: unknown, allowed: string): never {
  const shown = value === undefined ? 'is missing' : `is ${JSON.stringify(value)}`;
  throw new UserError('model-config', `model.${key} ${shown}; allowed: ${allowed}`, {
    subject: `model.${key}`,
    hint: 'Correct the key in the model part of the config.',
  });
}

function isInteger(value: unknown, { min, max }: Range): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
}

/** A whole number in [min, max]. */
export function integerKey(model: Keys, key: string, range: Range): number {
  const value = model[key];
  if (!isInteger(value, range)) refuse(key, value, `a whole number from ${range.min} to ${range.max}`);
  return value;
}

/** A number in [min, max]. */
export function numberKey(model: Keys, key: string, range: Range): number {
  const value = model[key];
  if (typeof value !== 'number' || !(value >= range.min && value <= range.max)) {
    refuse(key, value, `a number from ${range.min} to ${range.max}`);
  }
  return value;
}

/** A list of `length` whole numbers, each in [min, max]. */
export function integersKey(model: Keys, key: string, length: number, range: Range): readonly number[] {
  const value = model[key];
  if (!Array.isArray(value) || value.length !== length || !value.every((v) => isInteger(v, range))) {
    refuse(key, value, `a list of ${length} whole numbers from ${range.min} to ${range.max}`);
  }
  return value as number[];
}

/** Throws unless `ok`; for rules between keys. */
export function requireKey(ok: boolean, key: string, value: unknown, allowed: string): void {
  if (!ok) refuse(key, value, allowed);
}
