/** @file A store whose frozen weights are halves: the model is that with rounded weights, on WebGPU and WASM. */
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import type { HostTensor, TensorMap } from '../formats/tensor';
import { toFloat32 } from '../formats/tensorConvert';
import { packHalves, unpackHalves } from '../gpu/halves';
import { distance, normals } from '../gpu/kernels/testValues';
import { studioBackend } from '../gpu/launch';
import { useBackend } from '../gpu/ops/testSupport';
import type { StudioBackend } from '../gpu/studioBackend';
import { linearLayer } from '../nn/layers';
import { DeviceStep } from './deviceStep';
import { initialTensors } from './initialize';
import { ParameterStore } from './parameters';
import type { ForwardContext, ParameterSpec } from './types';

/** Three linear layers over the channels; the one in the middle is frozen. A small model: what takes time here is compiling kernels. */
const LAYERS = [['a', 3, 41], ['b', 41, 33], ['head', 33, 2]] as const; // prettier-ignore
const trained = ['a.weight', 'a.bias', 'head.weight', 'head.bias'];
const specs = LAYERS.flatMap(([name, inner, out]): ParameterSpec[] => [
  {
    name: `${name}.weight`,
    shape: [out, inner],
    kind: 'parameter',
    init: { kind: 'normal', std: 0.5 },
    decay: true,
  },
  { name: `${name}.bias`, shape: [out], kind: 'parameter', init: { kind: 'normal', std: 0.5 }, decay: false },
]);
const given = initialTensors(specs, 7);
const isHalf = ({ shape, name }: ParameterSpec): boolean => shape.length === 2 && !trained.includes(name);

function forward(ctx: ForwardContext, images: tf.Tensor4D): tf.Tensor4D {
  const hidden = linearLayer(ctx, 'a', images, { activation: 'gelu' });
  // Read as float32, which need not know of halves.
  const scale = tf.mean(ctx.param('b.weight'));
  return tf.mul(linearLayer(ctx, 'head', linearLayer(ctx, 'b', hidden)), scale) as tf.Tensor4D;
}

/** What halves make of a tensor. */
const rounded = (t: HostTensor): HostTensor => {
  const values = toFloat32(t);
  return { ...t, dtype: 'float32', data: unpackHalves(packHalves(values), values.length) };
};

/** Logits, and the gradients of what trains, in part through the frozen layer. */
async function pass(store: ParameterStore): Promise<Float32Array[]> {
  const images = tf.tensor4d(normals(2 * 4 * 4 * 3, 'images'), [2, 4, 4, 3]);
  const variables = store
    .trainable()
    .flatMap(({ spec, variable }) => (trained.includes(spec.name) ? [variable] : []));
  const ctx = store.context({ training: false, seed: 1, step: 0 });
  const logits = tf.tidy(() => forward(ctx, images));
  const { value, grads } = tf.variableGrads(
    () => tf.tidy(() => tf.mean(tf.square(forward(ctx, images))) as tf.Scalar),
    variables,
  );
  const made = [logits, ...variables.map(({ name }) => grads[name] as tf.Tensor)];
  const values = (await Promise.all(made.map((t) => t.data()))) as Float32Array[];
  tf.dispose([images, logits, value, ...Object.values(grads)]);
  return values.map((v) => v.slice());
}

it.each(['webgpu', 'wasm'] as const)(
  'layers on %s',
  async (name) => {
    await useBackend(name);
    const before = tf.memory().numTensors;
    const expected: TensorMap = new Map(
      specs.map((spec) => {
        const t = given.get(spec.name) as HostTensor;
        return [spec.name, isHalf(spec) ? rounded(t) : t];
      }),
    );
    const plain = new ParameterStore(specs, expected, trained);
    const halves = new ParameterStore(specs, given, trained, { frozenHalf: () => true });
    const [wanted, got] = [await pass(plain), await pass(halves)];
    expect(got.length).toBe(trained.length + 1);
    got.forEach((v, i) => expect(distance(v, wanted[i] as Float32Array), String(i)).toBeLessThan(1e-5));

    const some = specs.find(isHalf) as ParameterSpec;
    expect(halves.trainable().some(({ spec }) => spec.name === some.name)).toBe(false);
    expect(() => halves.get(some.name)).toThrow(some.name);
    for (const [key, t] of await halves.toTensorMap()) {
      expect(t.data, key).toEqual(toFloat32(expected.get(key) as HostTensor));
    }
    if (name === 'webgpu') halves.assertInPlace(studioBackend() as StudioBackend);
    if (name === 'webgpu') expect(halves.arenaBytes).toBeLessThan(plain.arenaBytes);

    const zeros = specs.map(({ name: key, shape }): [string, HostTensor] => {
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
      return [key, { dtype: 'float32', shape, data }];
    });
    halves.assign(new Map(zeros));
    expect((await halves.toTensorMap()).get(some.name)?.data.every((v) => v === 0)).toBe(true);
    plain.dispose();
    halves.dispose();
    expect(tf.memory().numTensors).toBe(before);
  },
  120_000,
);

it('is recorded and replayed like any other', async () => {
  await useBackend('webgpu');
  const backend = studioBackend() as StudioBackend;
  const store = new ParameterStore(specs, given, trained, { frozenHalf: () => true });
  const device = new DeviceStep(backend, {
    store,
    seed: 1,
    forward,
    loss: (logits) => ({ total: tf.mean(logits), terms: {} }),
    recompute: false,
    execution: 'plan',
  });
  const images = normals(2 * 4 * 4 * 3, 'images');
  const replayed = await device.predict(images, 2, 4);
  const x = tf.tensor4d(images, [2, 4, 4, 3]);
  const ctx = store.context({ training: false, seed: 1, step: 0 });
  const direct = tf.tidy(() => forward(ctx, x));
  expect(await replayed.data()).toEqual(await direct.data());
  tf.dispose([replayed, direct, x]);
  device.dispose();
  store.dispose();
}, 120_000);
