/**
 * @file Checkpoints survive the way to bytes and back exactly; damage and mixed parts are seen; weights that must not be saved.
 */
import { describe, expect, it } from 'vitest';
import type { TensorMap } from '../formats/tensor';
import { UserError } from '../lib/errors';
import { CHECKPOINT_PART_BYTES, checkpointMoments, checkpointWeights, decodeCheckpoint, encodeCheckpoint } from './checkpoint'; // prettier-ignore
import { assertUsableWeights } from './guards';
import { binaryLabels, bits, smallConfig, split, testDevice } from './testSupport';
import type { Checkpoint } from './types';

const odd = Float32Array.of(0, -0, 1e-45, 3.4e38, 0.1, -1 / 3);

function checkpoint(big = 0): Checkpoint {
  const tensors: TensorMap = new Map([
    ['weights.a.weight', { dtype: 'float32', shape: [2, 3], data: odd }],
    ['weights.bn.num_batches_tracked', { dtype: 'int64', shape: [], data: BigInt64Array.of(2n ** 53n + 1n) }],
    ['optimizer.exp_avg.a.weight', { dtype: 'float32', shape: [2, 3], data: odd.map((v) => -v) }],
    ['weights.big', { dtype: 'float32', shape: [big], data: new Float32Array(big).fill(1.5) }],
  ]);
  return {
    kind: 'last',
    state: {
      schema: 1,
      runId: 'run-ü',
      epoch: 3,
      batchInEpoch: 2,
      step: 41,
      epochLossSum: 0.1 + 0.2,
      epochTermSums: { bce: 1 / 3 },
      epochImages: 16,
      best: { epoch: 2, dice: 0.875 },
      earlyStopping: { best: 0.875, counter: 1 },
      plateau: null,
      counters: { 'bn.num_batches_tracked': 41 },
      history: [{ epoch: 1, step: 13, metrics: { 'val/dice': 2 / 3 } }],
      device: testDevice,
    },
    config: smallConfig(),
    labels: binaryLabels,
    split: split(3, 1),
    tensors,
  };
}

describe('encode and decode', () => {
  it('is exact, through JSON too', async () => {
    const original = checkpoint();
    const encoded = await encodeCheckpoint(original);
    const manifest = JSON.parse(JSON.stringify(encoded.manifest)) as typeof encoded.manifest;
    const copy = await decodeCheckpoint({ manifest, parts: encoded.parts });
    expect({ ...copy, tensors: null }).toEqual({ ...original, tensors: null });
    expect([...copy.tensors.keys()]).toEqual([...original.tensors.keys()]);
    for (const [name, t] of original.tensors)
      expect(bits(copy.tensors.get(name) ?? t), name).toEqual(bits(t));
    expect([...checkpointWeights(copy).keys()]).toEqual(['a.weight', 'bn.num_batches_tracked', 'big']);
    expect([...checkpointMoments(copy).keys()]).toEqual(['exp_avg.a.weight']);
  });

  it('cuts large states into parts of 4 to 16 MB, and joins them', async () => {
    const original = checkpoint((2.5 * CHECKPOINT_PART_BYTES) / 4);
    const { manifest, parts } = await encodeCheckpoint(original);
    expect(parts).toHaveLength(3);
    expect(parts.slice(0, -1).every((p) => p.length >= 4e6 && p.length <= 16.8e6)).toBe(true);
    expect((await decodeCheckpoint({ manifest, parts })).tensors.get('weights.big')?.data).toHaveLength(
      (2.5 * CHECKPOINT_PART_BYTES) / 4,
    );
  });

  it('sees every flipped bit, missing and foreign parts, other schemas', async () => {
    const { manifest, parts } = await encodeCheckpoint(checkpoint());
    const [part] = parts as [Uint8Array];
    const corrupt = expect.objectContaining({ code: 'checkpoint-corrupt' }) as Error;
    for (let i = 0; i < part.length; i += 41) {
      const damaged = part.slice();
      damaged[i] = (damaged[i] as number) ^ (1 << (i % 8));
      await expect(decodeCheckpoint({ manifest, parts: [damaged] }), `byte ${i}`).rejects.toThrow(corrupt);
    }
    await expect(decodeCheckpoint({ manifest, parts: [] })).rejects.toThrow(corrupt);
    await expect(decodeCheckpoint({ manifest, parts: [part, part] })).rejects.toThrow(corrupt);
    const newer = { ...manifest, schema: 2 } as unknown as typeof manifest;
    await expect(decodeCheckpoint({ manifest: newer, parts })).rejects.toThrow(
      expect.objectContaining({ code: 'checkpoint-version' }) as Error,
    );
  });
});

describe('what may be saved', () => {
  const weights = (data: Float32Array): TensorMap => new Map([['weights.a', { dtype: 'float32', shape: [data.length], data }]]); // prettier-ignore
  it.each([
    [Float32Array.of(1, Number.NaN), 'weights-not-finite'],
    [Float32Array.of(1, Number.NEGATIVE_INFINITY), 'weights-not-finite'],
    [new Float32Array(3), 'weights-zero'],
  ])('refuses %s as %s', (data, code) => {
    expect(() => assertUsableWeights(weights(data), 'at step 3')).toThrow(UserError);
    expect(() => assertUsableWeights(weights(data), 'at step 3')).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining('at step 3') as string }) as Error,
    );
  });
  it('lets others pass', () => {
    expect(() => assertUsableWeights(weights(Float32Array.of(0, 1e-30)), '')).not.toThrow();
  });
});
