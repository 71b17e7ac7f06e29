/**
 * @file The models against PyTorch's numbers on WASM: small cases with training, full-size models forward.
 */
import { beforeAll, expect, it } from 'vitest';
import type { HostTensor, TensorMap } from '../formats/tensor';
import { useBackend } from '../gpu/ops/testSupport';
import { jsonOf, tensorsOf, verifyFolder } from './testSupport';
import { verifyModelCase } from './verifyCase';

beforeAll(() => useBackend('wasm'));

const TRAINED = [
  'public/cases/tinyusfm-binary',
  'public/cases/segformer-binary',
  'e2e/cases/tinyusfm-multiclass',
  'e2e/cases/segformer-multiclass',
];

it.each(TRAINED)('%s: features, logits, gradients, trajectory', async (folder) => {
  const results = await verifyFolder(folder);
  expect(results.filter((r) => !r.pass)).toEqual([]);
  const kinds = results.map((r) => r.quantity.split(' (')[0]);
  expect(kinds).toEqual(expect.arrayContaining(['feature.0', 'feature.3', 'logits.eval', 'gradients']));
  expect(kinds).toEqual(
    expect.arrayContaining(['zero gradients, absolute', 'loss of 8 steps', 'trained weights']),
  );
});

it.each(['e2e/cases/tinyusfm-full', 'e2e/cases/segformer-b0-full'])(
  '%s: full size, forward',
  async (folder) => {
    const results = await verifyFolder(folder);
    expect(results.filter((r) => !r.pass)).toEqual([]);
    expect(results.length).toBe(5);
  },
);

it('misses a bound when the expected numbers are others', async () => {
  const folder = 'e2e/cases/segformer-b0-full';
  const expected = tensorsOf(`${folder}/tensors.safetensors`) as TensorMap;
  const { data } = expected.get('feature.2') as HostTensor;
  data[7] = 3;
  const results = await verifyModelCase(jsonOf(`${folder}/case.json`), expected, null);
  expect(results.filter((r) => !r.pass).map((r) => r.quantity)).toEqual(['feature.2']);
});

it('refuses a case of an unknown model', async () => {
  await expect(verifyModelCase({ model: 'unet' }, new Map(), null)).rejects.toMatchObject({
    code: 'case-unknown',
  });
});
