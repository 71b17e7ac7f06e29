/** @file For tests only: random tensors, the distance from float64 and the same bits twice. May import lib, tfjs, vitest. */
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { Random } from '../../lib/random';

/** Standard normal numbers times `scale` plus `shift`, as float32 holds them. Few are drawn, in an order that does not repeat soon. */
export function normals(size: number, key: string, scale = 1, shift = 0): Float32Array {
  const random = new Random('kernel test', key);
  const pool = Float32Array.from({ length: Math.min(size, 10_007) }, () => random.normal());
  return Float32Array.from(
    { length: size },
    (_, i) => (pool[(i + 31 * Math.floor(i / 10_007)) % pool.length] as number) * scale + shift,
  );
}

/** Largest difference over the largest expected magnitude (at least `floor`). */
export function distance(got: ArrayLike<number>, expected: ArrayLike<number>, floor = 1e-3): number {
  expect(got.length).toBe(expected.length);
  let [worst, scale] = [0, floor];
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs((got[i] as number) - (expected[i] as number));
    if (!(difference <= worst)) worst = difference; // NaN too
    scale = Math.max(scale, Math.abs(expected[i] as number));
  }
  return worst / scale;
}

/** Runs a kernel twice, asks for the same bits, and returns the values of its outputs. */
export async function twice(run: () => readonly tf.Tensor[]): Promise<Float32Array[]> {
  const [first, second] = [tf.tidy(() => [...run()]), tf.tidy(() => [...run()])];
  const values: Float32Array[] = [];
  for (const [k, tensor] of first.entries()) {
    const own = (await tensor.data()) as Float32Array;
    const other = (await (second[k] as tf.Tensor).data()) as Float32Array;
    const bits = (x: Float32Array): Buffer => Buffer.from(x.buffer, x.byteOffset, x.byteLength);
    expect(bits(own).equals(bits(other)), `output ${k}: the same bits twice`).toBe(true);
    values.push(own);
  }
  tf.dispose([...first, ...second]);
  return values;
}

/** Gradients on the tape of sum(f(inputs) * dy), twice with the same bits; nothing is left behind. */
export async function gradients(
  f: (...x: tf.Tensor[]) => tf.Tensor,
  inputs: tf.Tensor[],
  dy: tf.Tensor,
): Promise<Float32Array[]> {
  const before = tf.memory().numTensors;
  const values = await twice(() => tf.grads(f)(inputs, dy));
  expect(tf.memory().numTensors, 'tensors left behind').toBe(before);
  return values;
}
