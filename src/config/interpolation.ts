/**
 * @file OmegaConf interpolation: ${a.b}, nested, inside text; ${now:%Y-%m-%d}, ${hydra:...}. Imports lib.
 */
import type { YamlValue } from '../formats/yaml';
import { UserError } from '../lib/errors';
import { getPath, isTree, type Tree } from './tree';

export interface InterpolationContext {
  readonly now: Date;
  readonly outputDir: YamlValue | undefined;
  readonly choices: Readonly<Record<string, string>>;
}

const MAX_DEPTH = 32;

/** Every ${...} replaced. Throws UserError 'config-interpolation' naming the key; '???' values throw 'config-missing-value'. */
export function interpolate(tree: Tree, context: InterpolationContext): Tree {
  const resolve = (value: YamlValue, path: string, open: readonly string[]): YamlValue => {
    if (typeof value === 'string') {
      if (value === '???') {
        throw new UserError('config-missing-value', `${path} must be given`, {
          subject: path,
          hint: `Add ${path}=...`,
        });
      }
      return value.includes('${') ? resolveText(value, path, open) : value;
    }
    if (Array.isArray(value)) return value.map((v, i) => resolve(v, `${path}.${i}`, open));
    if (isTree(value)) {
      return Object.fromEntries(
        Object.entries(value).map(([k, v]) => [k, resolve(v, path === '' ? k : `${path}.${k}`, open)]),
      );
    }
    return value;
  };

  const resolveText = (text: string, path: string, open: readonly string[]): YamlValue => {
    if (open.length > MAX_DEPTH) throw problem(path, 'interpolations are nested too deeply');
    const whole = innermost(text);
    if (whole === null) return text;
    const [start, end] = whole;
    const value = lookup(text.slice(start + 2, end).trim(), path, open);
    if (start === 0 && end === text.length - 1) return value;
    if (isTree(value) || Array.isArray(value))
      throw problem(path, `${text.slice(start, end + 1)} is not a single value`);
    return resolveText(text.slice(0, start) + String(value) + text.slice(end + 1), path, [...open, path]);
  };

  const lookup = (expression: string, path: string, open: readonly string[]): YamlValue => {
    const colon = expression.indexOf(':');
    if (colon >= 0) return resolver(expression.slice(0, colon), expression.slice(colon + 1), path, context);
    if (open.includes(expression)) throw problem(path, `\${${expression}} refers to itself`);
    const key = expression.startsWith('.') ? relative(path, expression) : expression;
    const value = getPath(tree, key);
    if (value === undefined) throw problem(path, `\${${expression}} names no key`);
    return resolve(value, key, [...open, path, expression]);
  };

  return resolve(tree, '', []) as Tree;
}

/** Start and end of the first ${...} that holds no other. */
function innermost(text: string): [number, number] | null {
  const end = text.indexOf('}', text.indexOf('${'));
  if (end < 0) return null;
  const start = text.lastIndexOf('${', end);
  return start < 0 ? null : [start, end];
}

/** OmegaConf's leading dots: one is the parent dictionary, each further one goes up. */
function relative(path: string, expression: string): string {
  const dots = /^\.+/.exec(expression)?.[0].length ?? 0;
  const base = path.split('.').slice(0, -dots);
  return [...base, expression.slice(dots)].filter((p) => p !== '').join('.');
}

function resolver(name: string, argument: string, path: string, context: InterpolationContext): YamlValue {
  if (name === 'now') return formatTime(context.now, argument);
  if (name === 'hydra') {
    if (argument === 'runtime.output_dir') return context.outputDir ?? null;
    const choice = /^runtime\.choices\.(.+)$/.exec(argument)?.[1];
    if (choice !== undefined && context.choices[choice] !== undefined) return context.choices[choice];
    throw problem(path, `\${hydra:${argument}} is not known here`);
  }
  if (name === 'oc.env')
    throw problem(
      path,
      'environment variables (oc.env) are not read: a run must be described by its config alone',
    );
  throw problem(path, `the resolver "${name}" is not known`);
}

/** strftime's common fields. */
function formatTime(at: Date, format: string): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const fields: Record<string, string> = {
    Y: String(at.getFullYear()),
    m: two(at.getMonth() + 1),
    d: two(at.getDate()),
    H: two(at.getHours()),
    M: two(at.getMinutes()),
    S: two(at.getSeconds()),
  };
  return format.replaceAll(/%([YmdHMS])/g, (_, f: string) => fields[f] ?? '');
}

function problem(path: string, what: string): UserError {
  return new UserError('config-interpolation', `${path}: ${what}`, { subject: path });
}
