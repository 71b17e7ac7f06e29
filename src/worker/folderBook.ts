/**
 * @file The folders a worker was handed, opened when first needed and read by path. Imports lib, storage, data types.
 */
import type { Folder } from '../data/types';
import { UserError } from '../lib/errors';
import { openFolder, readerFolder } from '../storage/folders';
import type { OpenOptions } from '../storage/folders';
import type { FolderAccess } from '../storage/types';
import type { FolderRequests } from './protocol';
import type { Handlers } from './server';

export class FolderBook {
  private readonly access = new Map<string, FolderAccess>();
  private readonly readers = new Map<string, Promise<Folder>>();

  /** Handlers of the two folder requests. */
  readonly handlers: Handlers<FolderRequests> = {
    openFolders: async ({ folders }) => {
      for (const folder of folders) {
        this.access.set(folder.id, folder);
        this.readers.delete(folder.id);
      }
      return null;
    },
    addFiles: async ({ folderId, files }) => {
      const folder = this.get(folderId);
      if (folder.kind !== 'files')
        throw new UserError('internal', 'Files were added to a folder of another kind');
      this.access.set(folderId, { ...folder, files: [...folder.files, ...files] });
      return null;
    },
  };

  /** Enumerates a folder (names, sizes, dates). */
  enumerate(id: string, options: OpenOptions): Promise<Folder> {
    const opening = openFolder(this.get(id), options);
    this.readers.set(id, opening);
    opening.catch(() => this.readers.delete(id));
    return opening;
  }

  /** For reading known paths: a directory handle is not walked again. */
  reader(id: string): Promise<Folder> {
    const known = this.readers.get(id);
    if (known) return known;
    const opening = readerFolder(this.get(id));
    this.readers.set(id, opening);
    opening.catch(() => this.readers.delete(id));
    return opening;
  }

  private get(id: string): FolderAccess {
    const folder = this.access.get(id);
    if (!folder) throw new UserError('internal', `The worker was not handed the folder ${id}`);
    return folder;
  }
}
