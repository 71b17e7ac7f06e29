/**
 * @file The models against PyTorch's numbers on WebGPU (Dawn): every way of running a step meets the cases' tolerances.
 * Slow on a software adapter, so by default the small binary cases; STUDIO_ALL_CASES=1 runs all six, and the twins of all.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { assertDeviceHealthy } from '../gpu/health';
import { setKernels } from '../gpu/launch';
import { useBackend } from '../gpu/ops/testSupport';
import { setDoubleTrace } from './stepRecording';
import { reportOf, verifyFolder } from './testSupport';
import type { CaseOptions } from './verifyCase';

beforeAll(async () => {
  await useBackend('webgpu');
  setDoubleTrace(true);
});

const FOLDERS = ['public/cases/tinyusfm-binary', 'public/cases/segformer-binary'];
const MORE = ['tinyusfm-multiclass', 'segformer-multiclass', 'tinyusfm-full', 'segformer-b0-full'];
const all = process.env['STUDIO_ALL_CASES'] === '1';
const folders = [...FOLDERS, ...(all ? MORE.map((name) => `e2e/cases/${name}`) : [])];

const WAYS: Readonly<Record<string, CaseOptions>> = {
  'recorded and replayed': { execution: 'plan' },
  'recorded, blocks recomputed': { execution: 'plan', recompute: true },
  taped: { execution: 'tape' },
  'taped, blocks recomputed': { execution: 'tape', recompute: true },
};

async function verify(folder: string, options: CaseOptions): Promise<void> {
  const results = await verifyFolder(folder, options);
  if (all) console.log(`${folder} ${JSON.stringify(options)}\n${reportOf(results)}`);
  expect(results.filter((r) => !r.pass)).toEqual([]);
  assertDeviceHealthy();
}

describe.each(Object.entries(WAYS))('our kernels, %s', (_, options) => {
  it.each(folders)('%s', (folder) => verify(folder, options), 240_000);
});

// The twins of plain tfjs operations take a minute a case here.
it.each(all ? folders : ['public/cases/segformer-binary'])(
  'plain tfjs operations: %s',
  async (folder) => {
    setKernels(false);
    await verify(folder, {}).finally(() => setKernels(true));
  },
  240_000,
);
