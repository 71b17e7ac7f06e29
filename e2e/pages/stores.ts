/**
 * @file Test page: the page's real stores under `window.stores`, for e2e/stores.spec.ts. The workers, storage and backends behind them
 * are the product's own; only the screens are missing.
 */
import { useConfig } from '../../src/app/state/configStore';
import { useDataset } from '../../src/app/state/datasetStore';
import { useDevice } from '../../src/app/state/deviceStore';
import { useInspect } from '../../src/app/state/inspectStore';
import { useRuns } from '../../src/app/state/runsStore';
import { useTraining } from '../../src/app/state/trainingStore';
import { openFolder, readerFolder } from '../../src/storage/folders';
import type { FolderAccess } from '../../src/storage/types';

/** The longest main-thread task since the page was opened, and what the data set was doing then. */
const longest = { duration: 0, during: '' };
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) {
    if (duration > longest.duration) {
      longest.duration = duration;
      longest.during = `${useDataset.getState().status}, ${useTraining.getState().status}`;
    }
  }
}).observe({ type: 'longtask', buffered: true });

/** Start-up as the app does it. */
async function restore(): Promise<void> {
  await useConfig.getState().restore();
  await Promise.all([useDataset.getState().restore(), useTraining.getState().restore()]);
}

/** 8-bit grey PNG of a disc, drawn by the browser. */
async function discPng(
  size: number,
  x: number,
  y: number,
  radius: number,
  grey: number,
): Promise<Uint8Array> {
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext('2d');
  if (!context) throw new Error('no 2d context');
  context.fillStyle = '#000';
  context.fillRect(0, 0, size, size);
  context.fillStyle = `rgb(${grey},${grey},${grey})`;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fill();
  return new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer());
}

/** Files as `<input webkitdirectory>` gives them: `count` pairs of images/ and masks/. */
async function manyFiles(count: number): Promise<File[]> {
  const files: File[] = [];
  for (let i = 0; i < count; i++) {
    const name = `case_${String(i).padStart(5, '0')}.png`;
    for (const kind of ['images', 'masks']) {
      const bytes = await discPng(
        32,
        8 + (i % 16),
        8 + (Math.floor(i / 16) % 16),
        3 + (i % 5),
        kind === 'masks' ? 255 : 60 + (i % 190),
      );
      const file = new File([bytes as Uint8Array<ArrayBuffer>], name, { lastModified: 1 });
      Object.defineProperty(file, 'webkitRelativePath', { value: `big/${kind}/${name}` });
      files.push(file);
    }
  }
  return files;
}

/** A real directory handle (the origin's private file system), filled and opened both ways. */
async function readHandle(): Promise<{
  paths: string[];
  text: string;
  again: string;
  missing: string;
  gone: string;
}> {
  const root = await navigator.storage.getDirectory();
  const directory = await root.getDirectoryHandle('Set', { create: true });
  for (const path of ['a.txt', 'sub/b.txt', 'sub/deep/c.txt', '__MACOSX/junk.txt', '.git/config']) {
    const names = path.split('/');
    const fileName = names.pop() ?? path;
    let at = directory;
    for (const name of names) at = await at.getDirectoryHandle(name, { create: true });
    const stream = await (await at.getFileHandle(fileName, { create: true })).createWritable();
    await stream.write(path);
    await stream.close();
  }
  const access: FolderAccess = { id: 'h', name: 'Set', testOnly: false, kind: 'handle', handle: directory };
  const code = (error: unknown): string => (error as { code?: string }).code ?? String(error);
  const opened = await openFolder(access);
  const reader = await readerFolder(access);
  const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  const out = {
    paths: opened.files.map((file) => file.path).sort(),
    text: decode(await opened.read('sub/deep/c.txt')),
    again: decode(await reader.read('sub/deep/c.txt')),
    missing: await reader.read('sub/none.txt').then(() => 'read', code),
    gone: '',
  };
  await root.removeEntry('Set', { recursive: true });
  out.gone = await openFolder(access).then(() => 'opened', code);
  return out;
}

const api = {
  useConfig,
  useDataset,
  useDevice,
  useInspect,
  useRuns,
  useTraining,
  restore,
  longest,
  manyFiles,
  readHandle,
};

declare global {
  var stores: typeof api;
}
globalThis.stores = api;
