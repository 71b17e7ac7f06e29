/** @file The mask drawn on the device against the host's, bit for bit. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { hashKey } from '../../lib/random';
import { dropoutMask } from '../../nn/masks';
import { dropoutWithKey } from '../ops/dropout';
import { useBackend } from '../ops/testSupport';
import { maskedByKey } from './dropout';
import { broadcastOf, type Broadcast } from './elementwise';
import { gradients, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

const CASES: readonly (readonly [shape: number[], mask: number[], keep: number])[] = [
  [[7], [7], 0.5],
  [[3, 5, 8], [3, 5, 8], 0.9],
  [[1, 1], [1, 1], 0.5],
  [[9, 11], [9, 11], 0.731],
  [[2, 3, 5, 8], [2, 1, 1, 8], 0.9],
  [[2, 3, 5, 7], [2, 1, 1, 7], 0.5],
  [[5, 7, 9], [5, 1, 1], 0.8],
  [[6, 10, 12], [6, 1, 1], 0.8],
  [[70_001, 3], [70_001, 1], 0.6],
  [[1_200_003], [1_200_003], 0.5],
  [[16, 4], [16, 4], 1],
];

it.each(CASES)('[%j] with a mask [%j], keep %d', async (shape, mask, keep) => {
  for (const parts of [
    [3, 14, 'blocks.0'],
    [2 ** 33, 1, 'head'],
  ] as const) {
    // prettier-ignore
    const size = tf.util.sizeFromShape(shape);
    const values = normals(size, 'x');
    const x = tf.tensor(values, shape);
    const key = tf.tensor1d([hashKey('dropout', ...parts) | 0], 'int32');
    const host = dropoutMask(tf.util.sizeFromShape(mask), keep, parts);
    const wide = tf.tidy(() => tf.mul(tf.tensor(host, mask), tf.ones(shape)));
    const expected = (await wide.data()).map((m, i) => m * (values[i] as number));
    const [y] = await twice(() => [dropoutWithKey(x, key, keep, mask)]);
    expect(Buffer.from(y?.buffer as ArrayBuffer).equals(Buffer.from(expected.buffer))).toBe(true);
    const along = broadcastOf(shape, mask) as Broadcast;
    for (const z of await twice(() =>
      ([4, 16] as const).map((each) => maskedByKey(x, key, keep, along, each)),
    )) {
      expect(Buffer.from(z.buffer).equals(Buffer.from(expected.buffer))).toBe(true);
    }
    const [dx] = await gradients((t) => dropoutWithKey(t as tf.Tensor, key, keep, mask), [x], x);
    expect(Buffer.from(dx?.buffer as ArrayBuffer).equals(Buffer.from(expected.buffer))).toBe(true);
    tf.dispose([x, key, wide]);
  }
});

it('names a mask that does not fit', () => {
  const [x, key] = [tf.zeros([2, 3]), tf.tensor1d([1], 'int32')];
  expect(() => dropoutWithKey(x, key, 0.5, [3, 3])).toThrow('[3,3]');
  tf.dispose([x, key]);
});
