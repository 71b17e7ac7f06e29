/**
 * @file YAML for configuration files: plain data only, with limits. Imports lib and js-yaml.
 * YAML 1.2 core types plus merge keys (`<<`, which Hydra configurations use). Limits: reliability.md §2.E.
 */
import { CORE_SCHEMA, dump, load, mergeTag, YAMLException } from 'js-yaml';
import { UserError } from '../lib/errors';

export type YamlValue = null | boolean | number | string | YamlValue[] | { [key: string]: YamlValue };

const MAX_BYTES = 256 * 1024;
const MAX_DEPTH = 32;
/** Counted after aliases are written out. */
const MAX_NODES = 10_000;
const MAX_ALIASES = 100;
const SCHEMA = CORE_SCHEMA.withTags(mergeTag);
/** Names that JavaScript gives a meaning; no configuration uses them. */
const RESERVED = new Set(['__proto__', 'constructor', 'prototype']);
const NUMBER_LIKE = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;

function invalid(fileName: string, what: string, cause?: unknown): UserError {
  return new UserError('yaml-invalid', `"${fileName}" is not a valid configuration: ${what}`, {
    subject: fileName,
    ...(cause === undefined ? {} : { cause }),
  });
}

function decodeText(source: string | Uint8Array, fileName: string): string {
  const size = typeof source === 'string' ? source.length : source.byteLength;
  if (size > MAX_BYTES) throw invalid(fileName, `it is larger than ${MAX_BYTES / 1024} kB`);
  let text: string;
  if (typeof source === 'string') text = source;
  else {
    if ((source[0] === 0xff && source[1] === 0xfe) || (source[0] === 0xfe && source[1] === 0xff)) {
      throw invalid(fileName, 'it is UTF-16 text; save it as UTF-8');
    }
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(source);
    } catch (cause) {
      throw invalid(fileName, 'it is not UTF-8 text', cause);
    }
  }
  if (text.includes('\0')) throw invalid(fileName, 'it contains NUL characters');
  return text;
}

/** Copies parsed data into plain objects, writing aliases out, within the limits. */
class Copier {
  private nodes = 0;

  constructor(private readonly fileName: string) {}

  copy(value: unknown, path: string, depth: number): YamlValue {
    if (++this.nodes > MAX_NODES) throw invalid(this.fileName, `it expands to more than ${MAX_NODES} values`);
    // Also ends values that contain themselves.
    if (depth > MAX_DEPTH) throw invalid(this.fileName, `it is nested more than ${MAX_DEPTH} levels deep`);
    if (value === null || typeof value === 'boolean') return value;
    if (typeof value === 'number') return this.number(value, path);
    if (typeof value === 'string') {
      if (NUMBER_LIKE.test(value) && !Number.isFinite(Number(value))) {
        throw invalid(this.fileName, `${path}: the number ${value} is out of range`);
      }
      return value;
    }
    if (Array.isArray(value)) return value.map((v, i) => this.copy(v, `${path}[${i}]`, depth + 1));
    if (typeof value !== 'object') throw invalid(this.fileName, `${path}: a value of type ${typeof value}`);
    const out: { [key: string]: YamlValue } = {};
    for (const [key, v] of value instanceof Map ? value : Object.entries(value)) {
      const name = String(key);
      const inner = path === '' ? name : `${path}.${name}`;
      if (RESERVED.has(name)) throw invalid(this.fileName, `the key "${inner}" is not allowed`);
      out[name] = this.copy(v, inner, depth + 1);
    }
    return out;
  }

  private number(value: number, path: string): number {
    if (
      !Number.isFinite(value) ||
      (Number.isInteger(value) && Math.abs(value) > Number.MAX_SAFE_INTEGER && Math.abs(value) < 1e21)
    ) {
      throw invalid(this.fileName, `${path}: the number ${value} is out of range`);
    }
    return value;
  }
}

/**
 * Parses one YAML document. Aliases and merge keys are written out; an empty document is null.
 * @throws UserError 'yaml-invalid' naming the file and, where known, line or key.
 */
export function parseYaml(source: string | Uint8Array, fileName: string): YamlValue {
  const text = decodeText(source, fileName);
  let parsed: unknown;
  try {
    parsed =
      text.trim() === ''
        ? null
        : load(text, { schema: SCHEMA, maxDepth: MAX_DEPTH, maxAliases: MAX_ALIASES });
  } catch (cause) {
    if (cause instanceof YAMLException) {
      const line = cause.mark === undefined || cause.mark === null ? '' : `line ${cause.mark.line + 1}: `;
      throw invalid(fileName, `${line}${cause.reason}`, cause);
    }
    throw invalid(fileName, 'it cannot be parsed', cause);
  }
  return new Copier(fileName).copy(parsed, '', 0);
}

/** YAML text that js-yaml and PyYAML read back with the same types. Keys keep their order. */
export function dumpYaml(value: YamlValue): string {
  return dump(value, { noRefs: true, lineWidth: -1 });
}
