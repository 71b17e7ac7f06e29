/**
 * @file Opens a FolderAccess as the data layer's Folder: a directory handle, dropped files, a zip, the phantom generator.
 * Runs in workers. Imports lib, formats and data. Names and sizes are read now, bytes only when asked for.
 * Caps: depth 32, 200,000 entries (reference/reliability.md C11).
 */
import { mapLimit, throwIfAborted } from '../lib/async';
import { UserError } from '../lib/errors';
import type { FileRef, Folder } from '../data/types';
import { phantomFolder } from '../data/phantom';
import { openZip } from '../formats/zip';
import type { FolderAccess } from './types';

export const MAX_DEPTH = 32;
export const MAX_ENTRIES = 200_000;
const PARALLEL_STATS = 32;

export interface OpenOptions {
  readonly signal?: AbortSignal;
  /** Files seen so far; called at most every 500 files. */
  readonly onProgress?: (files: number) => void;
}

/** Folders that never hold data: archives of macOS, version control, hidden ones. Junk files are left to the scan, which counts them. */
export function isJunkFolder(name: string): boolean {
  return name === '__MACOSX' || name.startsWith('.') || name === '$RECYCLE.BIN' || name === 'node_modules';
}

/** Opens a folder. Throws 'folder-missing', 'folder-permission', 'folder-too-large', and the zip reader's errors. */
export async function openFolder(access: FolderAccess, options: OpenOptions = {}): Promise<Folder> {
  switch (access.kind) {
    case 'handle':
      return openHandle(access, options);
    case 'files':
      return filesFolder(access, access.files);
    case 'zip':
      return openZipFolder(access);
    case 'phantom':
      return phantomFolder({
        id: access.id,
        name: access.name,
        testOnly: access.testOnly,
        count: access.count,
        size: access.size,
        seed: access.seed,
      });
  }
}

/**
 * The same for reading paths that are known already (a worker handed a scanned data set): a directory handle is not walked, so
 * `files` is empty there; paths are resolved when read.
 */
export async function readerFolder(access: FolderAccess): Promise<Folder> {
  if (access.kind !== 'handle') return openFolder(access);
  const directories = new Map<string, Promise<FileSystemDirectoryHandle>>([
    ['', Promise.resolve(access.handle)],
  ]);
  const directory = (path: string): Promise<FileSystemDirectoryHandle> => {
    const known = directories.get(path);
    if (known) return known;
    const slash = path.lastIndexOf('/');
    const found = directory(path.slice(0, Math.max(0, slash))).then((parent) =>
      parent.getDirectoryHandle(path.slice(slash + 1)),
    );
    directories.set(path, found);
    found.catch(() => directories.delete(path));
    return found;
  };
  return {
    ...named(access),
    files: [],
    async read(path) {
      const slash = path.lastIndexOf('/');
      let file: File;
      try {
        const parent = await directory(path.slice(0, Math.max(0, slash)));
        file = await (await parent.getFileHandle(path.slice(slash + 1))).getFile();
      } catch (cause) {
        throw unreadable(access.name, path, cause);
      }
      return readFile(file, access.name, path);
    },
  };
}

type Named = Pick<FolderAccess, 'id' | 'name' | 'testOnly'>;

/** A folder over File objects with paths relative to it. */
export function filesFolder(
  access: Named,
  files: readonly { readonly path: string; readonly file: File }[],
): Folder {
  const byPath = new Map<string, File>();
  const refs: FileRef[] = [];
  for (const { path, file } of files) {
    byPath.set(path, file);
    refs.push({ folder: access.id, path, size: file.size, modified: file.lastModified });
  }
  return {
    ...named(access),
    files: refs,
    read: async (path) => readFile(byPath.get(path), access.name, path),
  };
}

function named(access: Named): Named {
  return { id: access.id, name: access.name, testOnly: access.testOnly };
}

async function readFile(file: File | undefined, folder: string, path: string): Promise<Uint8Array> {
  if (file) {
    try {
      return new Uint8Array(await file.arrayBuffer());
    } catch (cause) {
      throw unreadable(folder, path, cause);
    }
  }
  throw unreadable(folder, path, undefined);
}

function unreadable(folder: string, path: string, cause: unknown): UserError {
  return new UserError('file-unreadable', `${folder}/${path} could not be read`, {
    subject: `${folder}/${path}`,
    hint: 'It may have been moved, changed or deleted since the folder was added. Link the folder again.',
    cause,
  });
}

async function openHandle(
  access: Extract<FolderAccess, { kind: 'handle' }>,
  options: OpenOptions,
): Promise<Folder> {
  const handles = await walkHandle(access.handle, access.name, options);
  let seen = 0;
  const found = await mapLimit(
    handles,
    PARALLEL_STATS,
    async ({ path, handle }): Promise<FileRef | null> => {
      if (++seen % 500 === 0) options.onProgress?.(seen);
      try {
        const file = await handle.getFile();
        return { folder: access.id, path, size: file.size, modified: file.lastModified };
      } catch {
        // Listed but not readable (a broken link, a file deleted a moment ago): the reader says so, size 0 marks it.
        return { folder: access.id, path, size: 0, modified: 0 };
      }
    },
    options.signal,
  );
  options.onProgress?.(seen);
  const byPath = new Map(handles.map(({ path, handle }) => [path, handle]));
  return {
    ...named(access),
    files: found.filter((file) => file !== null),
    async read(path) {
      let file: File | undefined;
      try {
        file = await byPath.get(path)?.getFile();
      } catch (cause) {
        throw unreadable(access.name, path, cause);
      }
      return readFile(file, access.name, path);
    },
  };
}

interface FoundHandle {
  readonly path: string;
  readonly handle: FileSystemFileHandle;
}

async function walkHandle(
  root: FileSystemDirectoryHandle,
  name: string,
  options: OpenOptions,
): Promise<FoundHandle[]> {
  const out: FoundHandle[] = [];
  const visit = async (
    directory: FileSystemDirectoryHandle,
    prefix: string,
    depth: number,
  ): Promise<void> => {
    if (depth > MAX_DEPTH) return; // nothing a data set needs lies that deep; a loop of links would
    for await (const entry of directory.values()) {
      throwIfAborted(options.signal);
      if (entry.kind === 'directory') {
        if (!isJunkFolder(entry.name)) await visit(entry, `${prefix}${entry.name}/`, depth + 1);
      } else {
        out.push({ path: prefix + entry.name, handle: entry });
        if (out.length > MAX_ENTRIES) throw tooLarge(name);
      }
    }
  };
  try {
    await visit(root, '', 0);
  } catch (cause) {
    throw folderError(cause, name);
  }
  return out;
}

function tooLarge(name: string): UserError {
  return new UserError('folder-too-large', `${name} holds more than 200,000 files`, {
    subject: name,
    hint: 'Choose the folder of the data set itself, not one above it.',
  });
}

function folderError(cause: unknown, name: string): unknown {
  if (!(cause instanceof DOMException)) return cause;
  if (cause.name === 'NotFoundError') {
    return new UserError('folder-missing', `${name} is no longer where it was`, {
      subject: name,
      hint: 'Link the folder again.',
      cause,
    });
  }
  if (cause.name === 'NotAllowedError' || cause.name === 'SecurityError') {
    return new UserError('folder-permission', `The browser needs your permission to read ${name} again`, {
      subject: name,
      hint: 'Choose "Allow access" on the folder.',
      cause,
    });
  }
  return cause;
}

async function openZipFolder(access: Extract<FolderAccess, { kind: 'zip' }>): Promise<Folder> {
  const bytes = await readFile(access.file, access.name, access.file.name);
  const archive = openZip(bytes, access.file.name);
  const entries = archive.entries.filter((entry) => !entry.name.split('/').slice(0, -1).some(isJunkFolder));
  if (entries.length > MAX_ENTRIES) throw tooLarge(access.name);
  const root = commonRoot(entries.map((entry) => entry.name));
  const byPath = new Map(entries.map((entry) => [entry.name.slice(root.length), entry]));
  return {
    ...named(access),
    files: [...byPath].map(([path, entry]) => ({
      folder: access.id,
      path,
      size: entry.size,
      modified: access.file.lastModified,
    })),
    async read(path) {
      const entry = byPath.get(path);
      if (!entry) throw unreadable(access.name, path, undefined);
      return archive.read(entry);
    },
  };
}

/** "busi/" when every path lies in that one folder, else "". */
export function commonRoot(paths: readonly string[]): string {
  const first = paths[0];
  const slash = first?.indexOf('/') ?? -1;
  if (first === undefined || slash < 0) return '';
  const root = first.slice(0, slash + 1);
  return paths.every((path) => path.startsWith(root)) ? root : '';
}
