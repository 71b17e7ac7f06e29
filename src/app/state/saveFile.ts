/**
 * @file Gives files to the user: a download, or a directory of his choice. Also runs one job in a file worker. Page only.
 */
import { UserError } from '../../lib/errors';
import { WorkerClient } from '../../worker/client';
import type { Exported, FileRequests } from '../../worker/protocol';

/** Runs one job in a worker of its own; the worker ends with it. */
export async function withFileWorker<T>(job: (client: WorkerClient<FileRequests>) => Promise<T>): Promise<T> {
  const client = new WorkerClient<FileRequests>(
    new Worker(new URL('../../worker/files.worker.ts', import.meta.url), { type: 'module', name: 'files' }),
    'file worker',
  );
  client.silenceMs = 10 * 60_000; // packing a large run is one long computation
  try {
    return await job(client);
  } finally {
    client.die();
  }
}

/** Starts a download of what a worker made; nothing to do when it went into a directory. */
export function download({ name, blob }: Exported): void {
  if (!blob) return;
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads the Blob after the click returns
}

/**
 * A directory to write into (inside a click); null for 'zip'. Throws 'aborted' when the user cancels and
 * 'no-directory-picker' where the browser has none.
 */
export async function chooseDirectory(to: 'zip' | 'directory'): Promise<FileSystemDirectoryHandle | null> {
  if (to === 'zip') return null;
  if (typeof globalThis.showDirectoryPicker !== 'function') {
    throw new UserError('no-directory-picker', 'This browser cannot write into a folder', {
      hint: 'Export as a zip instead.',
    });
  }
  try {
    return await showDirectoryPicker({ mode: 'readwrite' });
  } catch (cause) {
    throw new UserError('aborted', 'No folder was chosen', { cause });
  }
}
