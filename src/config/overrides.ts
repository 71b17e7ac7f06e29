/**
 * @file Hydra's override grammar for one run: key=value, +key, ++key, ~key, group=option. Imports lib.
 * Source: hydra.cc "Basic override syntax" and "Extended override syntax"; what a single run has no use for (sweeps, casts) is recognised
 * and refused with a sentence, never taken as text.
 */
import { UserError } from '../lib/errors';
import type { YamlValue } from '../formats/yaml';

export interface Override {
  /** set: the key must exist. add (+): it must not. force (++): either. remove (~). */
  readonly action: 'set' | 'add' | 'force' | 'remove';
  /** "training.base_lr"; for groups "model" or "model/encoder". */
  readonly key: string;
  readonly value: YamlValue | undefined; // undefined: removal without a value
  readonly text: string; // as typed
}

const SWEEP_FUNCTIONS = new Set([
  'choice',
  'range',
  'glob',
  'interval',
  'tag',
  'shuffle',
  'sort',
  'extend_list',
]);
const CASTS = new Set(['int', 'float', 'str', 'bool', 'json_str']);

function invalid(text: string, what: string, hint?: string): UserError {
  return new UserError('override-invalid', `"${text}": ${what}`, {
    subject: text,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Parses one override. Throws UserError 'override-invalid' with the text. */
export function parseOverride(text: string): Override {
  const trimmed = text.trim();
  const match = /^(\+\+|\+|~)?([A-Za-z_][\w./@-]*)(?:=([\s\S]*))?$/.exec(trimmed);
  if (match === null)
    throw invalid(trimmed, 'expected key=value', 'For example training.base_lr=3e-4 or model=tinyusfm_nano.');
  const [, prefix, key, raw] = match as unknown as [string, string | undefined, string, string | undefined];
  if (key.includes('..') || key.includes('@')) throw invalid(trimmed, `the key "${key}" is not supported`);
  const action = prefix === '++' ? 'force' : prefix === '+' ? 'add' : prefix === '~' ? 'remove' : 'set';
  if (raw === undefined) {
    if (action === 'remove') return { action, key, value: undefined, text: trimmed };
    throw invalid(trimmed, 'the value is missing', `Write ${key}=value.`);
  }
  return { action, key, value: new ValueParser(raw, trimmed).parse(), text: trimmed };
}

/** Splits a line or several ("a=1 b='x y'") into overrides at spaces and newlines outside quotes and brackets. */
export function splitOverrides(text: string): string[] {
  const out: string[] = [];
  let current = '';
  let quote = '';
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (c === '\\' && i + 1 < text.length) {
      current += c + (text[++i] as string);
      continue;
    }
    if (quote !== '') {
      if (c === quote) quote = '';
    } else if (c === '"' || c === "'") quote = c;
    else if ('[{('.includes(c)) depth++;
    else if (']})'.includes(c)) depth--;
    if (/\s/.test(c) && quote === '' && depth <= 0) {
      if (current !== '') out.push(current);
      current = '';
    } else current += c;
  }
  if (current !== '') out.push(current);
  return out;
}

/** A value typed without quotes: null, booleans, numbers, else text. */
export function primitive(word: string): YamlValue {
  if (word === '' || /^(null|~)$/i.test(word)) return null;
  if (/^(true|false)$/i.test(word)) return word.toLowerCase() === 'true';
  if (/^[-+]?\d+$/.test(word)) {
    const n = Number(word);
    if (Number.isSafeInteger(n)) return n;
  }
  if (/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(word)) return Number(word);
  return word;
}

class ValueParser {
  private at = 0;

  constructor(
    private readonly source: string,
    private readonly whole: string,
  ) {}

  parse(): YamlValue {
    const value = this.value('');
    this.space();
    if (this.source[this.at] === ',') {
      throw invalid(
        this.whole,
        'a comma lists several values to sweep over',
        'One run takes one value; write a list as [a,b]. Sweeps come with a later version.',
      );
    }
    if (this.at < this.source.length) throw invalid(this.whole, `unexpected "${this.source.slice(this.at)}"`);
    return value;
  }

  private value(stops: string): YamlValue {
    this.space();
    const c = this.source[this.at];
    if (c === '[') return this.list();
    if (c === '{') return this.dict();
    if (c === '"' || c === "'") return this.quoted(c);
    return this.word(stops);
  }

  private list(): YamlValue[] {
    const out: YamlValue[] = [];
    this.at++;
    for (;;) {
      this.space();
      if (this.take(']')) return out;
      out.push(this.value(',]'));
      this.space();
      if (!this.take(',') && this.source[this.at] !== ']')
        throw invalid(this.whole, 'the list has no closing "]"');
    }
  }

  private dict(): YamlValue {
    const out: { [key: string]: YamlValue } = Object.create(null) as { [key: string]: YamlValue };
    this.at++;
    for (;;) {
      this.space();
      if (this.take('}')) return { ...out };
      const c = this.source[this.at];
      const key = String(c === '"' || c === "'" ? this.quoted(c) : this.rawWord(':,}'));
      if (key === '__proto__') throw invalid(this.whole, 'the key "__proto__" is not allowed');
      this.space();
      if (!this.take(':')) throw invalid(this.whole, `the key "${key}" has no value`);
      out[key] = this.value(',}');
      this.space();
      if (!this.take(',') && this.source[this.at] !== '}')
        throw invalid(this.whole, 'the dictionary has no closing "}"');
    }
  }

  private quoted(quote: string): string {
    let out = '';
    for (this.at++; this.at < this.source.length; this.at++) {
      const c = this.source[this.at] as string;
      if (c === '\\' && this.source[this.at + 1] === quote) out += this.source[++this.at] as string;
      else if (c === quote) {
        this.at++;
        return out;
      } else out += c;
    }
    throw invalid(this.whole, `the text has no closing ${quote}`);
  }

  private word(stops: string): YamlValue {
    const start = this.at;
    const text = this.rawWord(stops === '' ? ',' : stops);
    const call = /^([A-Za-z_]\w*)\(/.exec(text);
    if (call !== null && !text.startsWith('${')) {
      const name = call[1] as string;
      if (SWEEP_FUNCTIONS.has(name))
        throw invalid(this.whole, `${name}(...) is for sweeps, which come with a later version`);
      if (CASTS.has(name))
        throw invalid(
          this.whole,
          `casts like ${name}(...) are not supported`,
          'Write the value itself; quote it to make it text.',
        );
    }
    const escaped = this.source.slice(start, this.at).includes('\\');
    return escaped ? text : primitive(text);
  }

  /** Text up to an unescaped stop; interpolations ${...} are taken whole. */
  private rawWord(stops: string): string {
    let out = '';
    let depth = 0;
    for (; this.at < this.source.length; this.at++) {
      const c = this.source[this.at] as string;
      if (c === '\\' && this.at + 1 < this.source.length) {
        out += this.source[++this.at] as string;
        continue;
      }
      if (c === '(' || (c === '{' && out.endsWith('$'))) depth++;
      else if (depth > 0 && (c === ')' || c === '}')) depth--;
      else if (depth === 0 && stops.includes(c)) break;
      out += c;
    }
    return out.trim();
  }

  private space(): void {
    while (/\s/.test(this.source[this.at] ?? '')) this.at++;
  }

  private take(c: string): boolean {
    if (this.source[this.at] !== c) return false;
    this.at++;
    return true;
  }
}
