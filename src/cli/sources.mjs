/**
 * @file Tells whether sources changed since they were built, and bundles command-line entries. Node only; Vite is loaded when needed.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { builtinModules } from 'node:module';
import path from 'node:path';
import { ROOT } from './setup.mjs';

const CACHE = path.join(ROOT, 'node_modules/.cache/studio');

function* filesBelow(file) {
  const info = statSync(file, { throwIfNoEntry: false });
  if (info === undefined) return;
  if (!info.isDirectory()) {
    yield { file, info };
    return;
  }
  for (const name of readdirSync(file).toSorted()) yield* filesBelow(path.join(file, name));
}

/**
 * A short hash of the names, sizes and times of all files below the given paths; tests are left out.
 * @param {readonly string[]} paths relative to the project's folder
 */
export function fingerprint(paths) {
  const hash = createHash('sha256');
  for (const { file, info } of paths.flatMap((each) => [...filesBelow(path.join(ROOT, each))])) {
    if (/\.test\.tsx?$/.test(file)) continue;
    hash.update(`${path.relative(ROOT, file)} ${info.size} ${info.mtimeMs}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}

/** tfjs' modules and Emscripten's code expect CommonJS names in Node. (A bundle may have a `URL` of its own: node-fetch's.) */
const BANNER = `import { createRequire as studioCreateRequire } from 'node:module';
import { fileURLToPath as studioFileUrlToPath } from 'node:url';
const require = studioCreateRequire(import.meta.url);
const __filename = studioFileUrlToPath(import.meta.url);
const __dirname = studioFileUrlToPath(new globalThis.URL('.', import.meta.url));
`;

/** Native addons and the module that finds them by its own place on disk. */
const EXTERNAL = ['webgpu', ...builtinModules.flatMap((name) => [name, `node:${name}`])];

/** For the benchmark: TensorFlow.js's own operations in place of ours (src/cli/stock instead of src/gpu/ops). */
const stockOperations = {
  name: 'studio:stock-operations',
  enforce: 'pre',
  resolveId(specifier, importer = '') {
    const within = /\/gpu\/ops\/[^/]*$/.test(importer) ? './' : 'ops/';
    const operation = /(?:\.|ops)\/(differentiable|conv)$/.exec(specifier)?.[1];
    return operation === undefined || !specifier.includes(within)
      ? null
      : path.join(ROOT, `src/cli/stock/${operation}.ts`);
  },
};

/** What makes a bundle one for Node, or for a module worker of a browser. */
const targets = {
  node: (entry) => ({
    ssr: { noExternal: true, external: EXTERNAL, target: 'node' },
    build: { ssr: entry, target: 'node20' },
    banner: { postBanner: BANNER },
  }),
  browser: (entry) => ({ build: { modulePreload: false }, input: entry, banner: {} }),
};

/**
 * Bundles one entry of src/cli into a single file, unless the sources are unchanged.
 * @param {string} entry "main" for src/cli/main.ts
 * @param {{ stock?: boolean, target?: 'node' | 'browser' }} options stock: with TensorFlow.js's own operations
 * @returns {Promise<string>} path of the bundle
 */
export async function bundleEntry(entry, { stock = false, target = 'node' } = {}) {
  const name = path.basename(entry);
  const key = fingerprint(['src', 'configs', 'vite.config.ts', 'package-lock.json']);
  const folder = path.join(CACHE, `${name}${stock ? '.stock' : ''}-${key}`);
  const bundle = path.join(folder, `${name}.mjs`);
  if (existsSync(bundle)) return bundle;
  const { build } = await import('vite');
  const temporary = `${folder}.${process.pid}`;
  mkdirSync(CACHE, { recursive: true });
  const { banner, input, build: kind, ...rest } = targets[target](path.join(ROOT, `src/cli/${entry}.ts`));
  await build({
    root: ROOT,
    configFile: path.join(ROOT, 'vite.config.ts'),
    configLoader: 'runner',
    logLevel: 'error',
    publicDir: false,
    plugins: stock ? [stockOperations] : [],
    ...rest,
    build: {
      ...kind,
      outDir: temporary,
      minify: false,
      sourcemap: false,
      rolldownOptions: {
        ...(input === undefined ? {} : { input }),
        output: { entryFileNames: `${name}.mjs`, codeSplitting: false, ...banner },
      },
    },
  });
  try {
    renameSync(temporary, folder);
  } catch {
    rmSync(temporary, { recursive: true, force: true }); // another process was faster, with the same sources
  }
  const prefix = path.basename(folder).slice(0, -key.length - 1);
  for (const old of readdirSync(CACHE)) {
    if (old.startsWith(`${prefix}-`) && !old.startsWith(path.basename(folder))) {
      rmSync(path.join(CACHE, old), { recursive: true, force: true });
    }
  }
  return bundle;
}
