/**
 * @file Named tensors from any weights file, whatever its extension says. Imports lib and formats only.
 */
import { UserError } from '../lib/errors';
import { looksLikeLegacyPth, readStateDict } from './pth';
import { readSafetensors } from './safetensors';
import type { TensorMap } from './tensor';
import { looksLikeZip } from './zipDirectory';

export interface TensorsFile {
  readonly tensors: TensorMap;
  /** safetensors only; empty for `.pth`. */
  readonly metadata: Map<string, string>;
  readonly format: 'safetensors' | 'pth';
}

/**
 * Reads a weights file by its content: safetensors, or `.pth` / `.pt` / `.bin` of torch.save.
 * @throws UserError 'file-empty', 'file-corrupt', 'checkpoint-refused', 'file-unsupported', naming the file.
 */
export function readTensorsFile(bytes: Uint8Array, fileName: string): TensorsFile {
  if (looksLikeZip(bytes) || looksLikeLegacyPth(bytes)) {
    return { tensors: readStateDict(bytes, fileName).tensors, metadata: new Map(), format: 'pth' };
  }
  // safetensors: a small header length, then a JSON object.
  const isSafetensors = bytes.length >= 9 && bytes[8] === 0x7b && bytes[6] === 0 && bytes[7] === 0;
  if (isSafetensors || bytes.length === 0 || /\.safetensors$/i.test(fileName)) {
    return { ...readSafetensors(bytes, fileName), format: 'safetensors' };
  }
  throw new UserError('file-unsupported', `"${fileName}" is not a weights file`, {
    subject: fileName,
    hint: 'Expected .safetensors, or .pth / .pt / .bin written by torch.save.',
  });
}
