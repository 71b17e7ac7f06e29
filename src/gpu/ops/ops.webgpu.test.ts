/** @file The operations of ops.test.ts on WebGPU (Dawn; a software adapter where there is no GPU). */
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { checkOperations } from './operationCases';
import { softmax } from './softmax';

describe('webgpu', () => checkOperations('webgpu'));

it('softmax keeps its last row above 65,535 rows, where the stock kernel corrupts it', async () => {
  const rows = 66_044;
  const x = tf.tensor2d(
    Float32Array.from({ length: 2 * rows }, (_, i) => (i % 7) / 3),
    [rows, 2],
  );
  const y = softmax(x);
  const values = await y.data();
  const last = 2 * (rows - 1);
  for (const row of [0, last / 2 - 1, last / 2]) {
    const [a, b] = [Math.exp(((2 * row) % 7) / 3), Math.exp(((2 * row + 1) % 7) / 3)];
    expect(values[2 * row]).toBeCloseTo(a / (a + b), 5);
  }
  tf.dispose([x, y]);
});
