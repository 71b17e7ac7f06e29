/**
 * @file Who may know whom: reads the imports of src/ and enforces the direction of ARCHITECTURE.md, with a few bans on what
 * is silently wrong (reference/reliability.md findings 2 and F2).
 */
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';

const SRC = import.meta.dirname;

/** What each folder may import at run time, besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  formats: ['lib'],
  metrics: ['lib'],
  config: ['lib', 'formats'],
  data: ['lib', 'formats', 'metrics', 'config'],
  gpu: ['lib', 'formats', 'config'],
  nn: ['lib', 'formats', 'config', 'gpu'],
  models: ['lib', 'formats', 'config', 'gpu', 'nn'],
  training: ['lib', 'formats', 'metrics', 'config', 'data', 'gpu', 'nn', 'models'],
  storage: ['lib', 'formats', 'metrics', 'config', 'data', 'models', 'training', 'worker'],
  worker: ['lib', 'formats', 'metrics', 'config', 'data', 'gpu', 'nn', 'models', 'training', 'storage'],
  cli: ['lib', 'formats', 'metrics', 'config', 'data', 'gpu', 'nn', 'models', 'training'],
  app: ['lib', 'formats', 'metrics', 'config', 'data', 'models', 'training', 'storage', 'worker'],
};
const TFJS_FOLDERS = ['gpu', 'nn', 'models', 'training', 'worker', 'cli'];
const PURE_FOLDERS = ['lib', 'metrics', 'config', 'data', 'gpu', 'nn', 'models', 'training'];

interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
}

interface Source {
  readonly file: string; // relative to src, with /
  readonly folder: string; // "lib"; "" for files directly in src
  readonly code: string; // without comments
  readonly imports: readonly Import[];
}

/** Removes comments, keeping strings (a `//` inside a string is no comment). */
function withoutComments(code: string): string {
  const token = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return code.replace(token, (match) => (match.startsWith('/') ? ' ' : match));
}

function importsOf(code: string): Import[] {
  const found: Import[] = [];
  const statement =
    /\b(?:import|export)\s+(type\s+)?(?:[\w*${}\s,]+?\sfrom\s*)?['"]([^'"\n]+)['"]|\bimport\s*\(\s*['"]([^'"\n]+)['"]/g;
  for (const match of code.matchAll(statement)) {
    const specifier = match[2] ?? match[3];
    if (specifier !== undefined) found.push({ specifier, typeOnly: match[1] !== undefined });
  }
  return found;
}

function readSources(): Source[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .map((file) => file.split(path.sep).join('/'))
    .filter((file) => /\.tsx?$/.test(file) && !/\.test\.tsx?$|\.d\.ts$/.test(file))
    .toSorted()
    .map((file) => {
      const code = withoutComments(readFileSync(path.join(SRC, file), 'utf8'));
      const folder = file.includes('/') ? (file.split('/')[0] ?? '') : '';
      return { file, folder, code, imports: importsOf(code) };
    });
}

const sources = readSources();
const files = new Set(sources.map(({ file }) => file));

/** The file of src/ a relative import means, or null for packages, styles and assets. */
function resolve(from: string, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null;
  const base = path.posix.join(path.posix.dirname(from), specifier);
  return [`${base}.ts`, `${base}.tsx`, base].find((file) => files.has(file)) ?? null;
}

/** Helpers of tests live beside them; only tests import them. */
const product = sources.filter(
  ({ file, imports }) =>
    !/test(Support|Helpers|Kit|Util)/i.test(file) && imports.every(({ specifier }) => specifier !== 'vitest'),
);

/** "file: what" for every match of a pattern in the given files. */
function uses(pattern: RegExp, among: readonly Source[] = product): string[] {
  return among.flatMap(({ file, code }) => {
    const match = pattern.exec(code);
    return match === null ? [] : [`${file}: ${match[0]}`];
  });
}

describe('architecture', () => {
  test('the sources were read', () => {
    expect(product.length).toBeGreaterThan(20);
    expect(product.flatMap(({ imports }) => imports).length).toBeGreaterThan(50);
    expect(
      importsOf(withoutComments("import type { A } from './a'; // import './b'\nexport { c } from '../c';")),
    ).toEqual([
      { specifier: './a', typeOnly: true },
      { specifier: '../c', typeOnly: false },
    ]);
  });

  test('every folder has a place in the order', () => {
    const folders = new Set(product.map(({ folder }) => folder).filter((folder) => folder !== ''));
    expect([...folders].filter((folder) => MAY_IMPORT[folder] === undefined)).toEqual([]);
  });

  test('imports point downwards', () => {
    const wrong = product.flatMap(({ file, folder, imports }) =>
      imports.flatMap(({ specifier, typeOnly }) => {
        const target = resolve(file, specifier);
        const targetFolder = target?.split('/')[0];
        if (folder === '' || typeOnly || target === null || targetFolder === undefined) return [];
        if (targetFolder === folder || MAY_IMPORT[folder]?.includes(targetFolder)) return [];
        return [`${file} -> ${target}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test('types, too, never come from above app, worker or cli into the core', () => {
    const wrong = product.flatMap(({ file, folder, imports }) =>
      PURE_FOLDERS.includes(folder) || folder === 'formats'
        ? imports
            .map(({ specifier }) => resolve(file, specifier))
            .filter((target) => target !== null && /^(app|worker|cli|storage)\//.test(target))
            .map((target) => `${file} -> ${target}`)
        : [],
    );
    expect(wrong).toEqual([]);
  });

  test('no cycles', () => {
    const graph = new Map(
      sources.map(({ file, imports }) => [
        file,
        imports.filter(({ typeOnly }) => !typeOnly).map(({ specifier }) => resolve(file, specifier)),
      ]),
    );
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (file: string, trail: readonly string[]): void => {
      if (trail.includes(file)) {
        cycles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '));
        return;
      }
      if (done.has(file)) return;
      for (const next of graph.get(file) ?? []) if (next !== null) visit(next, [...trail, file]);
      done.add(file);
    };
    for (const { file } of sources) visit(file, []);
    expect(cycles).toEqual([]);
  });

  test('only the tensor folders import TensorFlow.js', () => {
    const wrong = product.flatMap(({ file, folder, imports }) =>
      imports.some(({ specifier, typeOnly }) => specifier.startsWith('@tensorflow/') && !typeOnly) &&
      !TFJS_FOLDERS.includes(folder)
        ? [file]
        : [],
    );
    expect(wrong).toEqual([]);
  });

  test('the core knows no React, no Node, no storage', () => {
    const wrong = product.flatMap(({ file, folder, imports }) =>
      PURE_FOLDERS.includes(folder)
        ? imports
            .filter(({ specifier }) =>
              /^(node:|react|zustand|recharts|idb-keyval|webgpu$|vite)/.test(specifier),
            )
            .map(({ specifier }) => `${file} imports ${specifier}`)
        : [],
    );
    expect(wrong).toEqual([]);
    const core = product.filter(({ folder }) =>
      ['gpu', 'nn', 'models', 'training', 'metrics'].includes(folder),
    );
    expect(uses(/\b(document|window|localStorage|indexedDB)\.\w+/, core)).toEqual([]);
  });

  test('the page imports no TensorFlow.js, not even through others', () => {
    const entry = files.has('main.tsx') ? 'main.tsx' : null;
    const reached = new Set<string>();
    const visit = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const { specifier, typeOnly } of sources.find((source) => source.file === file)?.imports ?? []) {
        const target = typeOnly ? null : resolve(file, specifier);
        if (target !== null) visit(target);
      }
    };
    if (entry !== null) visit(entry);
    const wrong = sources.filter(
      ({ file, imports }) =>
        reached.has(file) &&
        imports.some(({ specifier, typeOnly }) => specifier.startsWith('@tensorflow/') && !typeOnly),
    );
    expect(wrong.map(({ file }) => file)).toEqual([]);
  });

  test('protocol.ts and types.ts hold types only', () => {
    const wrong = product
      .filter(({ file }) => /(^|\/|\.)(protocol|types)\.ts$/.test(file))
      .filter(
        ({ code, imports }) =>
          imports.some(({ typeOnly }) => !typeOnly) ||
          /^\s*(export\s+)?(const|let|var|function|class|enum)\b/m.test(code),
      );
    expect(wrong.map(({ file }) => file)).toEqual([]);
  });

  test('named exports only', () => {
    expect(uses(/\bexport\s+default\b|\bas\s+default\b/)).toEqual([]);
  });

  test('nothing waits for the GPU synchronously or for animation frames', () => {
    // After a device loss dataSync answers zeros; in headless Chromium it breaks the WebGPU instance.
    expect(uses(/\b(dataSync|readSync|arraySync|bufferSync|nextFrame)\b/)).toEqual([]);
  });

  test('the page never navigates by script: the policy cannot stop that', () => {
    const pattern =
      /\bwindow\.open\b|\blocation\s*=[^=]|\blocation\.(href|assign|replace)\s*[=(](?!=)|dangerouslySetInnerHTML/;
    expect(uses(pattern)).toEqual([]);
  });
});
