/**
 * @file The models against PyTorch's numbers on WebGPU (Dawn; slow on a software adapter, so by default one case per family).
 * STUDIO_ALL_CASES=1 runs all six.
 */
import { beforeAll, expect, it } from 'vitest';
import { useBackend } from '../gpu/ops/testSupport';
import { reportOf, verifyFolder } from './testSupport';

beforeAll(() => useBackend('webgpu'));

const FOLDERS = ['public/cases/tinyusfm-binary', 'public/cases/segformer-binary'];
const MORE = ['tinyusfm-multiclass', 'segformer-multiclass', 'tinyusfm-full', 'segformer-b0-full'];
const all = process.env['STUDIO_ALL_CASES'] === '1';

it.each([...FOLDERS, ...(all ? MORE.map((name) => `e2e/cases/${name}`) : [])])(
  '%s',
  async (folder) => {
    const results = await verifyFolder(folder);
    if (all) console.log(`${folder}\n${reportOf(results)}`);
    expect(results.filter((r) => !r.pass)).toEqual([]);
  },
  180_000,
);
