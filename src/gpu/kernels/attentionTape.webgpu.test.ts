/** @file Attention on the tape: joint = separate, every option as its composition of plain operations, values and all gradients. */
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { setKernels, studioBackend } from '../launch';
import { attention, attentionPacked, type AttentionOptions } from '../ops/attention';
import { useBackend } from '../ops/testSupport';
import { Plan } from '../plan/plan';
import { Recording, type VirtualBuffer } from '../plan/recording';
import { SlotPool } from '../plan/slots';
import type { StudioBackend } from '../studioBackend';
import { distance, gradients, normals } from './testValues';

beforeAll(() => useBackend('webgpu'));
afterEach(() => void setKernels(true));

type T3 = tf.Tensor3D;
const random = (shape: [number, number, number], key: string): T3 =>
  tf.tensor3d(normals(shape[0] * shape[1] * shape[2], key), shape);

/** Value and gradients with the kernels and with the twin; they must agree. */
async function agree(
  f: (...x: tf.Tensor[]) => tf.Tensor,
  inputs: tf.Tensor[],
  key: string,
): Promise<Float32Array[]> {
  const results: Float32Array[][] = [];
  for (const on of [true, false]) {
    setKernels(on);
    const y = f(...inputs);
    const dy = random(y.shape as [number, number, number], `dy ${key}`);
    results.push([(await y.data()) as Float32Array, ...(await gradients(f, inputs, dy))]);
    tf.dispose([y, dy]);
  }
  const [ours, twin] = results as [Float32Array[], Float32Array[]];
  ours.forEach((values, i) =>
    expect(distance(values, twin[i] as Float32Array), `${key} ${i}`).toBeLessThan(2e-5),
  );
  return ours;
}

it('joint product = separate q, k, v', async () => {
  const qkv = random([2, 9, 24], 'qkv');
  const joint = await agree((x) => attentionPacked(x as T3, 2), [qkv], 'parts');
  const parts = tf.split(qkv, 3, 2);
  const separate = await agree((q, k, v) => attention(q as T3, k as T3, v as T3, 2), parts, 'parts');
  expect(joint[0]).toEqual(separate[0]);
  const whole = tf.tidy(() =>
    tf.concat(
      separate.slice(1).map((g) => tf.tensor3d(g, [2, 9, 8])),
      2,
    ),
  );
  expect(joint[1]).toEqual(await whole.data());
  tf.dispose([qkv, whole, ...parts]);
});

it('cross attention of other lengths with a mask and with a bias', async () => {
  const inputs = [random([2, 6, 10], 'q'), random([2, 4, 10], 'k'), random([2, 4, 10], 'v')];
  const keyMask = tf.tensor2d([1, 0, 1, 1, 0, 0, 0, 0], [2, 4], 'int32');
  const bias = random([2, 6, 4], 'bias');
  const f = (options: AttentionOptions) => (q?: tf.Tensor, k?: tf.Tensor, v?: tf.Tensor, b?: tf.Tensor) =>
    attention(q as T3, k as T3, v as T3, 2, 0.7, b ? { ...options, bias: b as T3 } : options);
  const [y] = await agree(f({ keyMask }), inputs, 'mask');
  expect([...(y as Float32Array).slice(60)]).toEqual(Array(60).fill(0)); // the second image has no keys
  await agree(f({}), [...inputs, bias], 'bias');
  await agree(f({ keyMask }), [...inputs, bias], 'mask and bias');
  // A bias that is not trained costs no gradient of its own.
  await agree(f({ bias }), inputs, 'fixed bias');
  tf.dispose([...inputs, keyMask, bias]);
});

it('relative position of a joint product, its tables trained through their product with q', async () => {
  const [kh, kw, heads, d, b] = [3, 4, 2, 4, 2];
  const n = kh * kw;
  const qkv = random([b, n, 3 * heads * d], 'qkv');
  const [relH, relW] = [random([b * heads, n, kh], 'h'), random([b * heads, n, kw], 'w')];
  await agree(
    (x, h, w) =>
      attentionPacked(x as T3, heads, undefined, {
        relativePosition: { relH: h as T3, relW: w as T3, kh, kw },
      }),
    [qkv, relH, relW],
    'relative',
  );
  tf.dispose([qkv, relH, relW]);
});

it('rotary positions, joint and separate', async () => {
  const [b, n, heads, d] = [2, 7, 2, 6];
  const angles = normals((n * d) / 2, 'angle');
  const table = (f: (x: number) => number): tf.Tensor2D =>
    tf.tensor2d(
      Float32Array.from({ length: n * d }, (_, i) => f(angles[Math.floor(i / 2)] as number)),
      [n, d],
    );
  const rope = { cos: table(Math.cos), sin: table(Math.sin) };
  const qkv = random([b, n, 3 * heads * d], 'qkv');
  const joint = await agree((x) => attentionPacked(x as T3, heads, undefined, { rope }), [qkv], 'rope joint');
  const parts = tf.split(qkv, 3, 2);
  const keyMask = tf.tensor2d([1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1], [b, n]);
  const apart = await agree((q, k, v) => attention(q as T3, k as T3, v as T3, heads, undefined, { rope }), parts, 'rope'); // prettier-ignore
  expect(joint[0]).toEqual(apart[0]);
  await agree((x) => attentionPacked(x as T3, heads, undefined, { rope, keyMask }), [qkv], 'rope masked');
  tf.dispose([rope.cos, rope.sin, keyMask, qkv, ...parts]);
});

it.each([16, 64])('heads of %i channels in a recording: the kernel of the tape, the same bits', async (d) => {
  const backend = studioBackend() as StudioBackend;
  const n = 5;
  const values = normals(n * 3 * d, `recorded ${d}`);
  const buffer = backend.allocate(values.byteLength);
  backend.queue.writeBuffer(buffer, 0, values as Float32Array<ArrayBuffer>);
  const qkv = backend.viewTensor({ buffer, offset: 0, size: values.byteLength }, [1, n, 3 * d]) as T3;
  const taped = attentionPacked(qkv, 1);
  const recording = new Recording(backend);
  const result = recording.run((): VirtualBuffer => {
    const y = attentionPacked(qkv, 1);
    const virtual = recording.virtualOf(y.dataId);
    y.dispose();
    return virtual;
  });
  const pool = new SlotPool(backend);
  const plan = new Plan(backend, pool, recording.dispatches, new Map(), new Set([result]));
  await plan.compile();
  plan.bind();
  const encoder = backend.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  plan.encode(pass);
  pass.end();
  backend.queue.submit([encoder.finish()]);
  const replayed = backend.viewTensor(plan.viewOf(result), [1, n, d]);
  expect(await replayed.data()).toEqual(await taped.data());
  tf.dispose([qkv, taped, replayed]);
  plan.dispose();
  pool.dispose();
  backend.free(buffer);
});

it('wide heads go to the twin; wrong shapes are named', async () => {
  const qkv = random([1, 3, 3 * 130], 'qkv');
  await agree((x) => attentionPacked(x as T3, 1), [qkv], 'wide');
  const keyMask = tf.ones([1, 4]) as tf.Tensor2D;
  expect(() => attentionPacked(qkv, 1, 1, { keyMask })).toThrow('keyMask has shape [1,4]; expected [1,3]');
  expect(() => attentionPacked(qkv, 4)).toThrow('130 channels in 4 heads');
  tf.dispose([qkv, keyMask]);
});
