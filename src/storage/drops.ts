/**
 * @file From drops, pickers and inputs to FolderAccess. Page only. Imports lib.
 * `getAsFileSystemHandle` and `webkitGetAsEntry` must be called for every item before the first `await`: the DataTransfer is
 * emptied when the event handler returns.
 */
import { throwIfAborted } from '../lib/async';
import { UserError } from '../lib/errors';
import { MAX_DEPTH, MAX_ENTRIES, isJunkFolder } from './folders';
import type { FolderAccess } from './types';

interface PathFile {
  readonly path: string;
  readonly file: File;
}

interface DroppedItem {
  readonly handle: Promise<FileSystemHandle | null>;
  readonly entry: FileSystemEntry | null;
  readonly file: File | null;
}

export function isZip(name: string): boolean {
  return name.toLowerCase().endsWith('.zip');
}

function newId(): string {
  return crypto.randomUUID();
}

/** Call synchronously in the drop handler; the promise may be awaited later. Rejects with 'nothing-dropped'. */
export function readDrop(transfer: DataTransfer): Promise<FolderAccess[]> {
  const items: DroppedItem[] = [];
  for (const item of transfer.items) {
    if (item.kind !== 'file') continue;
    items.push({
      handle: item.getAsFileSystemHandle?.().catch(() => null) ?? Promise.resolve(null),
      entry: item.webkitGetAsEntry?.() ?? null,
      file: item.getAsFile(),
    });
  }
  return collectDrop(items);
}

async function collectDrop(items: readonly DroppedItem[]): Promise<FolderAccess[]> {
  const out: FolderAccess[] = [];
  const loose: PathFile[] = [];
  for (const item of items) {
    const handle = await item.handle;
    if (handle?.kind === 'directory') {
      out.push({
        id: newId(),
        name: handle.name,
        testOnly: false,
        kind: 'handle',
        handle: handle as FileSystemDirectoryHandle,
      });
    } else if (item.entry?.isDirectory) {
      const files = await walkEntry(item.entry as FileSystemDirectoryEntry);
      out.push({ id: newId(), name: item.entry.name, testOnly: false, kind: 'files', files });
    } else {
      const file = handle?.kind === 'file' ? await (handle as FileSystemFileHandle).getFile() : item.file;
      if (file && isZip(file.name)) out.push(zipAccess(file));
      else if (file) loose.push({ path: file.name, file });
    }
  }
  if (loose.length > 0) {
    out.push({ id: newId(), name: 'Dropped files', testOnly: false, kind: 'files', files: loose });
  }
  if (out.length === 0) {
    throw new UserError('nothing-dropped', 'No folder, zip or image was in what you dropped', {
      hint: 'Drop a folder with images and masks, or a zip of one.',
    });
  }
  return out;
}

function zipAccess(file: File): FolderAccess {
  return { id: newId(), name: file.name.replace(/\.zip$/i, ''), testOnly: false, kind: 'zip', file };
}

/** Reads a dropped directory without handles. `readEntries` gives at most 100 at a time: read until it gives none. */
export async function walkEntry(root: FileSystemDirectoryEntry, signal?: AbortSignal): Promise<PathFile[]> {
  const out: PathFile[] = [];
  const visit = async (directory: FileSystemDirectoryEntry, prefix: string, depth: number): Promise<void> => {
    if (depth > MAX_DEPTH) return;
    const reader = directory.createReader();
    for (;;) {
      throwIfAborted(signal);
      const batch = await new Promise<FileSystemEntry[]>((resolve, reject) =>
        reader.readEntries(resolve, reject),
      );
      if (batch.length === 0) return;
      const files = batch.filter((entry) => entry.isFile) as FileSystemFileEntry[];
      out.push(...(await Promise.all(files.map((entry) => entryFile(entry, prefix)))));
      if (out.length > MAX_ENTRIES) {
        throw new UserError('folder-too-large', `${root.name} holds more than 200,000 files`, {
          subject: root.name,
          hint: 'Choose the folder of the data set itself, not one above it.',
        });
      }
      for (const entry of batch) {
        if (!entry.isDirectory || isJunkFolder(entry.name)) continue;
        await visit(entry as FileSystemDirectoryEntry, `${prefix}${entry.name}/`, depth + 1);
      }
    }
  };
  await visit(root, '', 0);
  return out;
}

function entryFile(entry: FileSystemFileEntry, prefix: string): Promise<PathFile> {
  return new Promise((resolve, reject) =>
    entry.file((file) => resolve({ path: prefix + entry.name, file }), reject),
  );
}

/** From `<input webkitdirectory>` (paths with the folder's name in front) or `<input multiple>` with zips. */
export function readFileList(list: FileList | readonly File[]): FolderAccess[] {
  const out: FolderAccess[] = [];
  const byRoot = new Map<string, PathFile[]>();
  for (const file of list) {
    const path = file.webkitRelativePath;
    const slash = path.indexOf('/');
    if (slash < 0 && isZip(file.name)) {
      out.push(zipAccess(file));
      continue;
    }
    const root = slash < 0 ? 'Chosen files' : path.slice(0, slash);
    const inside = slash < 0 ? file.name : path.slice(slash + 1);
    if (inside.split('/').slice(0, -1).some(isJunkFolder)) continue;
    const files = byRoot.get(root) ?? [];
    files.push({ path: inside, file });
    byRoot.set(root, files);
  }
  for (const [name, files] of byRoot) out.push({ id: newId(), name, testOnly: false, kind: 'files', files });
  return out;
}

/** Opens the browser's folder picker (inside a click). Null when the user cancels; falls back to a file input where there is none. */
export async function pickFolder(): Promise<FolderAccess | null> {
  if (typeof globalThis.showDirectoryPicker !== 'function') return pickWithInput();
  try {
    const handle = await showDirectoryPicker({ mode: 'read' });
    return { id: newId(), name: handle.name, testOnly: false, kind: 'handle', handle };
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return null;
    throw new UserError('folder-permission', 'The browser did not open that folder', {
      hint: 'Browsers refuse system folders. Choose a folder inside your own files, or drop it here.',
      cause: error,
    });
  }
}

function pickWithInput(): Promise<FolderAccess | null> {
  return choose((input) => {
    input.webkitdirectory = true;
  });
}

/** Asks for a zip (inside a click): zips have no handle to remember. */
export function pickZip(): Promise<FolderAccess | null> {
  return choose((input) => {
    input.accept = '.zip,application/zip';
  });
}

function choose(prepare: (input: HTMLInputElement) => void): Promise<FolderAccess | null> {
  return new Promise((resolve) => {
    const input = document.createElement('input');
    input.type = 'file';
    prepare(input);
    input.addEventListener('change', () => resolve(readFileList(input.files ?? [])[0] ?? null));
    input.addEventListener('cancel', () => resolve(null));
    input.click();
  });
}

/** Whether a remembered folder can be read now. `ask` may only be true inside a click. */
export async function folderPermission(
  access: FolderAccess,
  ask: boolean,
): Promise<'ok' | 'permission' | 'missing'> {
  if (access.kind !== 'handle') return 'ok';
  const { handle } = access;
  let state = await handle.queryPermission({ mode: 'read' });
  if (state !== 'granted' && ask) state = await handle.requestPermission({ mode: 'read' });
  if (state !== 'granted') return 'permission';
  try {
    await handle.values().next(); // a moved or deleted folder fails here, not in the permission
    return 'ok';
  } catch {
    return 'missing';
  }
}
