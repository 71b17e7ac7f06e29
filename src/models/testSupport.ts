/**
 * @file For tests only: reads the numeric cases that the project carries.
 */
import { existsSync, readFileSync } from 'node:fs';
import { readTensorsFile } from '../formats/checkpointFile';
import type { TensorMap } from '../formats/tensor';
import { verifyModelCase, type CaseOptions, type CaseQuantity } from './verifyCase';

export function tensorsOf(path: string): TensorMap | null {
  return existsSync(path) ? readTensorsFile(new Uint8Array(readFileSync(path)), path).tensors : null;
}

export function jsonOf(path: string): unknown {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null;
}

/** Verifies the case in a folder on the current backend. */
export async function verifyFolder(folder: string, options: CaseOptions = {}): Promise<CaseQuantity[]> {
  const expected = tensorsOf(`${folder}/tensors.safetensors`) as TensorMap;
  const checkpoint = tensorsOf(`${folder}/checkpoint.pth`) ?? tensorsOf(`${folder}/model.safetensors`);
  return verifyModelCase(
    jsonOf(`${folder}/case.json`),
    expected,
    checkpoint,
    jsonOf(`${folder}/config.json`),
    options,
  );
}

/** Lines for a report, one per quantity. */
export function reportOf(results: readonly CaseQuantity[]): string {
  return results
    .map((r) => `${r.pass ? 'ok' : 'MISSED'} ${r.relativeError.toExponential(2)} / ${r.bound} ${r.quantity}`)
    .join('\n');
}
