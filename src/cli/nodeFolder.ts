/**
 * @file A folder or a zip on disk as a Folder. Imports data types, formats, Node.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import type { FileRef, Folder } from '../data/types';
import { openZip } from '../formats/zip';
import { UserError } from '../lib/errors';

const MAX_DEPTH = 32;

/** Opens `root` (a folder or a .zip). Throws UserError 'folder-missing' naming the config key it came from. */
export async function openNodeFolder(root: string, testOnly: boolean, key: string): Promise<Folder> {
  const full = path.resolve(root);
  if (!existsSync(full)) {
    throw new UserError('folder-missing', `${key}=${root}: there is no such folder`, { subject: root });
  }
  const id = createHash('sha256').update(full).digest('hex').slice(0, 16);
  const name = path.basename(full).replace(/\.zip$/i, '');
  if (statSync(full).isFile()) return zipFolder(full, id, name, testOnly);
  const files: FileRef[] = [];
  walk(full, '', 0, new Set(), (relative, size, modified) =>
    files.push({ folder: id, path: relative, size, modified }),
  );
  return {
    id,
    name,
    testOnly,
    files,
    read: async (file) => {
      try {
        return new Uint8Array(await readFile(path.join(full, file)));
      } catch (cause) {
        throw new UserError('file-unreadable', `${path.join(root, file)} cannot be read`, {
          subject: file,
          cause,
        });
      }
    },
  };
}

/** Symbolic links are followed once: a folder seen before is not entered again. */
function walk(
  root: string,
  relative: string,
  depth: number,
  seen: Set<string>,
  found: (path: string, size: number, modified: number) => void,
): void {
  const here = path.join(root, relative);
  const real = realpathSync(here);
  if (depth > MAX_DEPTH || seen.has(real)) return;
  seen.add(real);
  for (const entry of readdirSync(here).sort()) {
    const child = relative === '' ? entry : `${relative}/${entry}`;
    const info = statSync(path.join(root, child), { throwIfNoEntry: false });
    if (info === undefined) continue; // a broken link
    if (info.isDirectory()) walk(root, child, depth + 1, seen, found);
    else if (info.isFile()) found(child, info.size, Math.floor(info.mtimeMs));
  }
}

async function zipFolder(full: string, id: string, name: string, testOnly: boolean): Promise<Folder> {
  const archive = openZip(new Uint8Array(await readFile(full)), path.basename(full));
  const entries = archive.entries.filter((e) => !e.isFolder);
  const byPath = new Map(entries.map((e) => [e.name, e]));
  return {
    id,
    name,
    testOnly,
    files: entries.map((e) => ({ folder: id, path: e.name, size: e.size, modified: 0 })),
    read: async (file) => {
      const entry = byPath.get(file);
      if (entry === undefined)
        throw new UserError('file-unreadable', `${full} has no entry ${file}`, { subject: file });
      return archive.read(entry);
    },
  };
}
