/**
 * @file Where exported files go: a zip built part by part into a Blob, or a directory the user chose. Imports formats, lib.
 */
import { ZipWriter } from '../formats/zipWriter';
import { UserError } from '../lib/errors';

export interface OutputFile {
  readonly path: string;
  readonly data: Uint8Array;
  /** Text: worth deflating. */
  readonly compress?: boolean;
}

/** A zip as a Blob of parts: never one buffer as large as the archive. */
export async function zipBlob(files: AsyncIterable<OutputFile> | Iterable<OutputFile>): Promise<Blob> {
  const writer = new ZipWriter();
  const parts: BlobPart[] = [];
  const add = (bytes: readonly Uint8Array[]): void => {
    for (const part of bytes) parts.push(new Blob([part as Uint8Array<ArrayBuffer>])); // lets the browser page it out
  };
  for await (const { path, data, compress } of files) {
    add(writer.add({ name: path, data, compress: compress === true }));
  }
  add([writer.finish()]);
  return new Blob(parts, { type: 'application/zip' });
}

/** Writes files below a directory; existing ones of the same name are replaced. Throws 'export-failed' naming the file. */
export async function writeInto(
  root: FileSystemDirectoryHandle,
  files: AsyncIterable<OutputFile> | Iterable<OutputFile>,
): Promise<void> {
  for await (const { path, data } of files) {
    try {
      const names = path.split('/');
      const fileName = names.pop() ?? path;
      let directory = root;
      for (const name of names) directory = await directory.getDirectoryHandle(name, { create: true });
      const handle = await directory.getFileHandle(fileName, { create: true });
      const stream = await handle.createWritable(); // swapped in atomically by close()
      await stream.write(data as Uint8Array<ArrayBuffer>);
      await stream.close();
    } catch (cause) {
      throw new UserError('export-failed', `${path} could not be written into ${root.name}`, {
        subject: path,
        hint: 'Check the free space and the permission of that folder, or export as a zip.',
        cause,
      });
    }
  }
}

/** Either of the two. */
export async function deliver(
  name: string,
  directory: FileSystemDirectoryHandle | null,
  files: AsyncIterable<OutputFile> | Iterable<OutputFile>,
): Promise<{ readonly name: string; readonly blob: Blob | null }> {
  if (directory === null) return { name: `${name}.zip`, blob: await zipBlob(files) };
  await writeInto(await directory.getDirectoryHandle(name, { create: true }), files);
  return { name, blob: null };
}
