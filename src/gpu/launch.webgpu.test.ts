/** @file The way kernels are run: bindings, uniforms, folding of large dispatches, writes in place, views. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { FLAT_GROUP, flatGroups, launch, studioBackend } from './launch';
import { useBackend } from './ops/testSupport';
import type { StudioBackend } from './studioBackend';

beforeAll(() => useBackend('webgpu'));

const WGSL = `${FLAT_GROUP}
@compute @workgroup_size(32) fn main(@builtin(workgroup_id) g: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>,
  @builtin(local_invocation_index) l: u32) {
  let i = flatGroup(g, n) * 32 + l;
  if (i < u.size) { y[i] = x[i] * u.factor; }
}`;

const scale = (x: tf.Tensor, factor: number): tf.Tensor =>
  launch({
    name: 'test-scale',
    inputs: { x: { tensor: x, type: 'f32' } },
    outputs: { y: { shape: x.shape, type: 'f32' } },
    uniforms: { size: ['u32', x.size], factor: ['f32', factor] },
    groups: flatGroups(Math.ceil(x.size / 32)),
    wgsl: () => WGSL,
  })[0] as tf.Tensor;

it('runs between tfjs operations, in order', async () => {
  const x = tf.tensor1d([1, 2, 3, 4, 5]);
  const y = tf.tidy(() => tf.add(scale(tf.mul(x, 2), 10), 1));
  expect([...(await y.data())]).toEqual([21, 41, 61, 81, 101]);
  tf.dispose([x, y]);
});

it('covers more than 65,535 workgroups', async () => {
  const x = tf.ones([32 * 65_536 + 5]);
  const y = scale(x, 3);
  const sum = tf.sum(y);
  expect((await sum.data())[0]).toBe(3 * (32 * 65_536 + 5));
  tf.dispose([x, y, sum]);
});

it('writes in place into a view of a larger buffer and leaves the rest alone', async () => {
  const backend = studioBackend() as StudioBackend;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const buffer = backend.device.createBuffer({ size: 768, usage });
  const [first, second] = [0, 512].map((offset) => backend.viewTensor({ buffer, offset, size: 12 }, [3]));
  const fill = (tensor: tf.Tensor, value: number): void => {
    launch({
      name: 'test-fill',
      inputs: {},
      updates: { y: { tensor, type: 'f32' } },
      uniforms: { value: ['f32', value] },
      groups: [1, 1, 1],
      wgsl: () =>
        '@compute @workgroup_size(3) fn main(@builtin(local_invocation_index) i: u32) { y[i] += u.value + f32(i); }',
    });
  };
  fill(first as tf.Tensor, 1);
  fill(second as tf.Tensor, 5);
  expect([...(await (second as tf.Tensor).data())]).toEqual([5, 6, 7]);
  fill(second as tf.Tensor, 5); // after a read: no stale copy on the host
  expect([...(await (second as tf.Tensor).data())]).toEqual([10, 12, 14]);
  expect([...(await (first as tf.Tensor).data())]).toEqual([1, 2, 3]);
  tf.dispose([first as tf.Tensor, second as tf.Tensor]);
  buffer.destroy();
});
