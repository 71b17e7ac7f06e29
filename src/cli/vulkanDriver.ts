/**
 * @file Finds a software Vulkan driver for Dawn on machines without a GPU: Mesa's lavapipe, or the SwiftShader that comes with every Chromium.
 * Node only.
 */
import { existsSync, readdirSync } from 'node:fs';
import { constants, homedir } from 'node:os';
import path from 'node:path';

/** Where the Vulkan loader looks for drivers on Linux. */
const ICD_FOLDERS = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d'];
const SYSTEM_LIBRARIES = [
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/usr/lib64',
  '/usr/lib',
];
const SOFTWARE_ICD = /lvp_icd|swiftshader/i;

/** Whether a kernel GPU device and a Vulkan driver for it are installed. */
function hasHardwareDriver(): boolean {
  const device = existsSync('/dev/nvidia0') || listed('/dev/dri').some((name) => name.startsWith('renderD'));
  const driver = ICD_FOLDERS.flatMap(listed).some(
    (name) => name.endsWith('.json') && !SOFTWARE_ICD.test(name),
  );
  return device && driver;
}

/** Folders that may hold `vk_swiftshader_icd.json`: system browsers, then Playwright's downloads. */
function swiftShaderFolders(): string[] {
  const system = [
    '/usr/lib/chromium',
    '/usr/lib/chromium-browser',
    '/usr/lib64/chromium-browser',
    '/opt/google/chrome',
    '/opt/chromium.org/chromium',
    '/snap/chromium/current/usr/lib/chromium-browser',
  ];
  const chrome = process.env['CHROME_PATH'];
  const own = chrome === undefined ? [] : [path.dirname(chrome)];
  const cache = process.env['PLAYWRIGHT_BROWSERS_PATH'] ?? path.join(homedir(), '.cache', 'ms-playwright');
  const downloads = listed(cache)
    .filter((name) => name.startsWith('chromium'))
    .flatMap((name) => listed(path.join(cache, name)).map((inner) => path.join(cache, name, inner)));
  return [...own, ...system, ...downloads];
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch {
    return []; // not there, or not ours to read
  }
}

/** glibc's RTLD_NODELETE: the library stays although Node finds that it is no addon and closes it. */
const KEEP_LOADED = 0x1000;

/**
 * Dawn opens "libvulkan.so.1" by name. Where no package installed it, the copy beside Chromium's driver is loaded first; the dynamic
 * linker then finds it by its soname. Whether it worked shows when Dawn asks for an adapter.
 */
function preloadVulkanLoader(folder: string): void {
  const file = path.join(folder, 'libvulkan.so.1');
  if (!existsSync(file)) return;
  try {
    process.dlopen(
      { exports: {} },
      file,
      constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | KEEP_LOADED,
    );
  } catch {
    // always: "Module did not self-register"; the library is loaded all the same
  }
}

/**
 * Points the Vulkan loader at a software driver when the machine has no real one; call before Dawn starts.
 * Returns one sentence on what was done, empty when nothing was needed.
 */
export function chooseVulkanDriver(): string {
  process.env['XDG_RUNTIME_DIR'] ??= '/tmp'; // Mesa and Dawn complain without it
  if (process.platform !== 'linux') return ''; // Metal and D3D12 need no driver file
  const asked = process.env['VK_DRIVER_FILES'] ?? process.env['VK_ICD_FILENAMES'];
  if (asked !== undefined) {
    if (!SYSTEM_LIBRARIES.some((folder) => existsSync(path.join(folder, 'libvulkan.so.1')))) {
      const folder = swiftShaderFolders().find((each) => existsSync(path.join(each, 'libvulkan.so.1')));
      if (folder !== undefined) preloadVulkanLoader(folder);
    }
    return `Vulkan driver from the environment: ${asked}`;
  }
  if (hasHardwareDriver()) return '';
  const candidates = [
    ...swiftShaderFolders().map((folder) => path.join(folder, 'vk_swiftshader_icd.json')),
    ...ICD_FOLDERS.flatMap((folder) => listed(folder).map((name) => path.join(folder, name))).filter((file) =>
      SOFTWARE_ICD.test(file),
    ),
  ];
  const found = candidates.find((file) => existsSync(file));
  if (found === undefined) return 'no GPU driver and no software Vulkan driver found';
  process.env['VK_DRIVER_FILES'] = found;
  preloadVulkanLoader(path.dirname(found));
  return `no GPU driver; software Vulkan driver ${found}`;
}
