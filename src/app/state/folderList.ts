/**
 * @file The folders the page holds: their access, what the browser lets us read after a reload, and unique names. Pure apart from
 * permission queries. Imports storage.
 */
import { folderPermission } from '../../storage/drops';
import type { SavedFolder } from '../../storage/session';
import type { FolderAccess } from '../../storage/types';
import type { FolderCard } from './types';

/** A card on screen with, when it is known, the way to its bytes. */
export interface HeldFolder {
  readonly card: FolderCard;
  readonly access: FolderAccess | null;
}

export function holdFolder(access: FolderAccess, state: FolderCard['access'] = 'ok'): HeldFolder {
  const { id, name, testOnly, kind } = access;
  return { access, card: { id, name, testOnly, kind, access: state, fileCount: 0, convention: null } };
}

/** Sample ids begin with the folder's name, so names must differ: "BUSI", "BUSI (2)". */
export function uniqueName(name: string, taken: readonly string[]): string {
  const clean = name.normalize('NFC').replaceAll('/', '-').trim() || 'Folder';
  if (!taken.includes(clean)) return clean;
  let n = 2;
  while (taken.includes(`${clean} (${n})`)) n++;
  return `${clean} (${n})`;
}

export function withName(held: HeldFolder, name: string): HeldFolder {
  return { card: { ...held.card, name }, access: held.access && { ...held.access, name } };
}

export function withTestOnly(held: HeldFolder, testOnly: boolean): HeldFolder {
  return { card: { ...held.card, testOnly }, access: held.access && { ...held.access, testOnly } };
}

/** The newly linked folder keeps the old one's id and name, so that its samples keep their ids. */
export function relinked(held: HeldFolder, access: FolderAccess): HeldFolder {
  const { id, name, testOnly } = held.card;
  return holdFolder({ ...access, id, name, testOnly });
}

/** What of a folder survives a reload. Dropped files cannot be reopened, and a zip's bytes are not copied into the browser. */
export function savedFolder({ card, access }: HeldFolder): SavedFolder {
  if (access && (access.kind === 'handle' || access.kind === 'phantom')) return { state: 'access', access };
  return { state: 'name', id: card.id, name: card.name, testOnly: card.testOnly, kind: card.kind };
}

/** A remembered folder and whether it can be read now. */
export async function restoreFolder(saved: SavedFolder): Promise<HeldFolder> {
  if (saved.state === 'access') return holdFolder(saved.access, await folderPermission(saved.access, false));
  const { id, name, testOnly, kind } = saved;
  return {
    access: null,
    card: { id, name, testOnly, kind, access: 'missing', fileCount: 0, convention: null },
  };
}
