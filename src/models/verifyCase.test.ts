/**
 * @file The models against PyTorch's numbers.
 */
import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { readTensorsFile } from '../formats/checkpointFile';
import type { TensorMap } from '../formats/tensor';
import { useBackend, type TestBackend } from '../gpu/ops/testSupport';
import { verifyModelCase, type CaseQuantity } from './verifyCase';

function tensorsOf(path: string): TensorMap | null {
  return existsSync(path) ? readTensorsFile(new Uint8Array(readFileSync(path)), path).tensors : null;
}

function json(path: string): unknown {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null;
}

async function verify(folder: string): Promise<CaseQuantity[]> {
  const expected = tensorsOf(`${folder}/tensors.safetensors`) as TensorMap;
  const checkpoint = tensorsOf(`${folder}/checkpoint.pth`) ?? tensorsOf(`${folder}/model.safetensors`);
  return verifyModelCase(json(`${folder}/case.json`), expected, checkpoint, json(`${folder}/config.json`));
}

const SMALL = [
  ['public/cases/tinyusfm-binary', 9],
  ['public/cases/segformer-binary', 9],
  ['e2e/cases/tinyusfm-multiclass', 9],
  ['e2e/cases/segformer-multiclass', 9],
] as const;
const FULL = ['e2e/cases/tinyusfm-full', 'e2e/cases/segformer-b0-full'];
const backend = (process.env['STUDIO_TEST_BACKEND'] ?? 'wasm') as TestBackend;

describe(`cases on ${backend}`, () => {
  beforeAll(() => useBackend(backend));

  it.each(SMALL)('%s', async (folder) => {
    const results = await verify(folder);
    console.log(
      folder,
      results
        .map(
          (r) => `${r.pass ? 'ok  ' : 'BAD '} ${r.relativeError.toExponential(2)} ${r.bound} ${r.quantity}`,
        )
        .join('\n'),
    );
    expect(results.filter((r) => !r.pass)).toEqual([]);
  });

  it.each(FULL)('%s', async (folder) => {
    const results = await verify(folder);
    console.log(
      folder,
      results
        .map(
          (r) => `${r.pass ? 'ok  ' : 'BAD '} ${r.relativeError.toExponential(2)} ${r.bound} ${r.quantity}`,
        )
        .join('\n'),
    );
    expect(results.filter((r) => !r.pass)).toEqual([]);
  });
});
