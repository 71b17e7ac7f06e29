/**
 * @file Mesa's lavapipe, the second software adapter of the tests: it compiles by LLVM, drops writes out of bounds where SwiftShader
 * clamps them, has shader-f16, and binds at most 128 MiB. Needs no rights: the package is unpacked beside node_modules, not installed.
 *
 * Dawn refuses lavapipe below version 24 (Debian 12 has 22, its backports 25), so a driver counts only once Dawn has taken it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { findChromium } from './chromium.mjs';
import { ROOT } from './setup.mjs';

const CACHE = path.join(ROOT, 'node_modules/.cache/lavapipe');
const DRIVER_FILE = path.join(CACHE, 'lvp_icd.json');
const SYSTEM_DRIVERS = '/usr/share/vulkan/icd.d';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const LIMIT_MS = 5 * 60_000;

const PROBE = `import { create, globals } from 'webgpu';
Object.assign(globalThis, globals);
const adapter = await create([]).requestAdapter();
console.log(adapter === null ? 'none' : 'architecture ' + adapter.info.vendor);
process.exit(0);`;

/** Environment under which Dawn uses this driver; the Vulkan loader is Chromium's where the system has none. */
export function lavapipeEnvironment(driver) {
  const chromium = findChromium();
  const loader = ['/usr/lib/chromium', chromium === null ? '' : path.dirname(chromium)].find(
    (folder) => folder !== '' && existsSync(path.join(folder, 'libvulkan.so.1')),
  );
  const libraries = [process.env.LD_LIBRARY_PATH, loader].filter(Boolean).join(':');
  return {
    ...process.env,
    VK_DRIVER_FILES: driver,
    XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? '/tmp',
    ...(libraries === '' ? {} : { LD_LIBRARY_PATH: libraries }),
  };
}

function dawnTakes(driver) {
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', PROBE], {
    cwd: ROOT,
    env: lavapipeEnvironment(driver),
    encoding: 'utf8',
    timeout: 60_000,
  });
  return stdout?.includes('architecture mesa') ?? false;
}

function run(command, args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  const result = spawnSync(command, args, { cwd: CACHE, env, encoding: 'utf8', timeout: LIMIT_MS });
  if (result.status === 0) return;
  throw new Error(`${command}: ${result.stderr?.trim().split('\n').at(-1) ?? result.error?.message}`);
}

const listed = (folder) => (existsSync(folder) ? readdirSync(folder).map((n) => path.join(folder, n)) : []);

/** The archive that this machine's own package lists name. */
function debianArchive() {
  const files = ['/etc/apt/sources.list', ...listed('/etc/apt/sources.list.d')].filter(existsSync);
  for (const file of files) {
    const found = /https?:\/\/\S+\/debian\/?(?=\s|$)/.exec(readFileSync(file, 'utf8'));
    if (found !== null) return found[0];
  }
  throw new Error('the package lists name no Debian archive');
}

/** Downloads the package from the release's backports and unpacks it; the system's own package lists stay as they are. */
function unpackFromBackports() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (!/^ID=debian$/m.test(release) || codename === undefined) throw new Error('this is not Debian');
  rmSync(CACHE, { recursive: true, force: true });
  mkdirSync(path.join(CACHE, 'lists/partial'), { recursive: true });
  mkdirSync(path.join(CACHE, 'packages/archives/partial'), { recursive: true });
  const sources = path.join(CACHE, 'sources.list');
  writeFileSync(sources, `deb [signed-by=${KEYRING}] ${debianArchive()} ${codename}-backports main\n`);
  const options = [
    ['Dir::Etc::sourcelist', sources],
    ['Dir::Etc::sourceparts', '/dev/null'],
    ['Dir::State::lists', path.join(CACHE, 'lists')],
    ['Dir::Cache', path.join(CACHE, 'packages')],
  ].flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  run('apt-get', [...options, '-qq', 'update']);
  run('apt-get', [...options, '-qq', 'download', 'mesa-vulkan-drivers']);
  const [file] = readdirSync(CACHE).filter((name) => name.endsWith('.deb'));
  run('dpkg-deb', ['-x', file, 'root']);
  const [description] = listed(path.join(CACHE, 'root/usr/share/vulkan/icd.d')).filter(isLavapipe);
  const driver = JSON.parse(readFileSync(description, 'utf8'));
  const library = readdirSync(path.join(CACHE, 'root/usr/lib')).map((folder) =>
    path.join(CACHE, 'root/usr/lib', folder, 'libvulkan_lvp.so'),
  );
  driver.ICD.library_path = library.find(existsSync);
  writeFileSync(DRIVER_FILE, JSON.stringify(driver));
}

const isLavapipe = (file) => /lvp_icd.*\.json$/.test(file);

/**
 * A lavapipe that Dawn takes: unpacked before, installed, or from Debian's backports.
 * @returns {{ driver: string } | { reason: string }} the driver's description file, or why there is none
 */
export function ensureLavapipe() {
  if (process.platform !== 'linux') return { reason: 'lavapipe is for Linux' };
  const known = [DRIVER_FILE, ...listed(SYSTEM_DRIVERS).filter(isLavapipe)].filter(existsSync);
  const found = known.find(dawnTakes);
  if (found !== undefined) return { driver: found };
  console.log('Fetching lavapipe (mesa-vulkan-drivers from backports) ...');
  try {
    unpackFromBackports();
  } catch (error) {
    return { reason: error.message };
  }
  return dawnTakes(DRIVER_FILE) ? { driver: DRIVER_FILE } : { reason: 'Dawn does not take it' };
}
