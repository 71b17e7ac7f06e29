/**
 * @file What training reads from: samples by id, prepared once and kept as bytes (least recently used go first). Imports prepare, lib.
 */
import { UserError } from '../lib/errors';
import { originalSample, type ReadFile } from './decode';
import { prepare } from './prepare';
import type {
  Dataset,
  FileRef,
  Folder,
  LabelSpec,
  OriginalSample,
  PreparedSample,
  SampleReader,
} from './types';

/** Enough for 10,000 images at 96 px or 1,700 at 224; the rest is decoded again. */
const CACHE_BYTES = 340e6;

/** A function that reads a file through its folder. Throws UserError 'folder-missing' when the folder is not open. */
export function folderReader(folders: readonly Pick<Folder, 'id' | 'name' | 'read'>[]): ReadFile {
  const byId = new Map(folders.map((f) => [f.id, f]));
  return (file: FileRef) => {
    const folder = byId.get(file.folder);
    if (folder === undefined) {
      throw new UserError('folder-missing', `The folder of "${file.path}" is not open`, {
        subject: file.path,
        hint: 'Link the folder again.',
      });
    }
    return folder.read(file.path);
  };
}

/** Samples by id. @param folders must hold every folder that the samples name. */
export function createReader(
  folders: readonly Pick<Folder, 'id' | 'name' | 'read'>[],
  samples: Dataset['samples'],
  labels: LabelSpec,
  cacheBytes = CACHE_BYTES,
): SampleReader {
  const byId = new Map(samples.map((s) => [s.id, s]));
  const read = folderReader(folders);
  const cache = new Map<string, PreparedSample>();
  let bytes = 0;

  const original = async (id: string): Promise<OriginalSample> => {
    const sample = byId.get(id);
    if (sample === undefined)
      throw new UserError('unknown-sample', `There is no sample "${id}"`, { subject: id });
    return originalSample(sample, read, labels);
  };

  return {
    original,
    prepared: async (id, size) => {
      const key = `${size}/${id}`;
      const hit = cache.get(key);
      if (hit !== undefined) {
        cache.delete(key);
        cache.set(key, hit); // newest last
        return hit;
      }
      const made = prepare(await original(id), size);
      if (!cache.has(key)) {
        cache.set(key, made);
        bytes += made.image.length + made.mask.length;
      }
      for (const [oldest, value] of cache) {
        if (bytes <= cacheBytes) break;
        cache.delete(oldest);
        bytes -= value.image.length + value.mask.length;
      }
      return made;
    },
  };
}
