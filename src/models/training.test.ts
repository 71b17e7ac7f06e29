/**
 * @file Every family in a training step on WASM: same seed and step give the same bits, nothing leaks, running statistics follow
 * torch's rule, and the loss falls.
 */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../gpu/ops/testSupport';
import { Random } from '../lib/random';
import { bceWithLogits } from '../nn/losses';
import { Optimizer } from '../nn/optimizers';
import { initialTensors } from './initialize';
import { ParameterStore } from './parameters';
import { getModel } from './registry';
import { SMALL_SEGFORMER_KEYS, TINY_KEYS } from './testArchitectures';

const SETTINGS = {
  name: 'adamw',
  weight_decay: 0,
  betas: [0.9, 0.999],
  eps: 1e-8,
  momentum: 0,
  layer_decay: null,
  head_lr_multiplier: 1,
  decay_norm_and_bias: true,
} as const;

const STEPS = 24;

beforeAll(() => useBackend('wasm'));

function inside(i: number): boolean {
  const [y, x] = [Math.floor(i / 32) % 32, i % 32];
  return y > 8 && y < 20 && x > 10 && x < 26;
}

/** A bright square on noise, and its mask. */
function batch(): { images: tf.Tensor4D; labels: tf.Tensor4D } {
  const random = new Random('batch');
  const labels = Float32Array.from({ length: 2 * 32 * 32 }, (_, i) => Number(inside(i)));
  const images = Float32Array.from(
    { length: 2 * 32 * 32 * 3 },
    (_, i) => 2 * (labels[Math.floor(i / 3)] ?? 0) + random.normal(),
  );
  return { images: tf.tensor4d(images, [2, 32, 32, 3]), labels: tf.tensor4d(labels, [2, 32, 32, 1]) };
}

describe.each([
  ['tinyusfm', TINY_KEYS],
  ['segformer_b0', SMALL_SEGFORMER_KEYS],
])('%s', (name, keys) => {
  const model = getModel(name);
  const a = model.architecture(keys, 1);
  const specs = model.parameters(a);
  const initial = initialTensors(specs, 1);

  function gradientsAt(
    store: ParameterStore,
    step: number,
    data: ReturnType<typeof batch>,
  ): tf.NamedTensorMap {
    const ctx = store.context({ training: true, seed: 9, step });
    const trained = store.trainable().map((t) => t.variable);
    const { value, grads } = tf.variableGrads(
      () => bceWithLogits(model.forward(ctx, a, data.images), data.labels),
      trained,
    );
    return { loss: value, ...grads };
  }

  it('gives the same bits for the same step, others for another', async () => {
    const data = batch();
    const store = new ParameterStore(specs, initial);
    const losses: number[] = [];
    const bits: Float32Array[] = [];
    for (const step of [3, 3, 4]) {
      const g = gradientsAt(store, step, data);
      const trained = store.trainable().map((t) => g[t.variable.name] as tf.Tensor);
      losses.push((await (g['loss'] as tf.Tensor).data())[0] as number);
      const flat = tf.tidy(() => tf.concat(trained.map((t) => tf.reshape(t, [-1]))));
      bits.push(((await flat.data()) as Float32Array).slice());
      tf.dispose([flat, ...Object.values(g)]);
      store.discardBuffers();
    }
    expect(losses[0]).toBe(losses[1]);
    expect(losses[0]).not.toBe(losses[2]);
    expect(bits[0]).toEqual(bits[1]);
    store.dispose();
    tf.dispose([data.images, data.labels]);
  });

  it('learns, without leaving tensors behind', async () => {
    const before = tf.memory().numTensors;
    const data = batch();
    const store = new ParameterStore(specs, initial);
    const parameters = store
      .trainable()
      .map(({ spec, variable }) => ({ name: spec.name, variable, lrScale: 1, weightDecay: 0 }));
    const optimizer = new Optimizer(SETTINGS, parameters);
    const losses: number[] = [];
    let steady = 0;
    for (let step = 0; step < STEPS; step++) {
      const g = gradientsAt(store, step, data);
      const byName = new Map(store.trainable().map((t) => [t.spec.name, g[t.variable.name] as tf.Tensor]));
      optimizer.step(byName, 5e-3, step, null);
      store.commitBuffers();
      losses.push((await (g['loss'] as tf.Tensor).data())[0] as number);
      tf.dispose(g);
      if (step === 1) steady = tf.memory().numTensors;
    }
    expect(tf.memory().numTensors).toBe(steady);
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) * 0.8);
    expect(new Set(Object.values(store.counters))).toEqual(new Set([STEPS]));
    const weights = await store.toTensorMap();
    expect([...weights.keys()]).toEqual(specs.map((s) => s.name));
    expect(weights.get(specs.find((s) => s.kind === 'counter')?.name ?? '')?.data).toEqual(
      BigInt64Array.of(BigInt(STEPS)),
    );
    const again = new ParameterStore(specs, weights);
    expect(await again.toTensorMap()).toEqual(weights);
    again.dispose();
    optimizer.dispose();
    store.dispose();
    tf.dispose([data.images, data.labels]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('captures its features, in order and without training', () => {
    const data = batch();
    const store = new ParameterStore(specs, initial);
    const names: string[] = [];
    const capture = (feature: string): void => void names.push(feature);
    const shape = tf.tidy(
      () => model.forward(store.context({ training: false, seed: 0, step: 0, capture }), a, data.images).shape,
    ); // prettier-ignore
    expect(shape).toEqual([2, 32, 32, 1]);
    expect(names).toEqual(model.featureNames(a));
    store.dispose();
    tf.dispose([data.images, data.labels]);
  });
});

it('names a tensor that is absent or of another shape', () => {
  const model = getModel('tinyusfm');
  const specs = model.parameters(model.architecture(TINY_KEYS, 1));
  const tensors = initialTensors(specs, 1);
  tensors.delete('backbone.cls_token');
  expect(() => new ParameterStore(specs, tensors)).toThrow(
    expect.objectContaining({ code: 'weights-incomplete', subject: 'backbone.cls_token' }) as Error,
  );
});
