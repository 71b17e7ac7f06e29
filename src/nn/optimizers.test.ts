/**
 * @file Optimisers against PyTorch (e2e/fixtures/nn/make.py): two groups, changing rates, clipping; state in and out.
 */
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { StudioConfig } from '../config/types';
import { useBackend } from '../gpu/ops/testSupport';
import { clipCoefficient, globalNorm, Optimizer } from './optimizers';

type Values = Readonly<Record<string, number[]>>;
interface Trajectory {
  readonly end: Values;
  readonly norms: readonly number[];
}

const { optimizers: torch } = JSON.parse(readFileSync('e2e/fixtures/nn/torch.json', 'utf8')) as {
  optimizers: Readonly<Record<'adamw' | 'adam' | 'sgd' | 'adamwClipped', Trajectory>> & {
    readonly start: Values;
    readonly grads: readonly Values[];
    readonly rates: readonly number[];
  };
};

const SHAPES: Readonly<Record<string, number[]>> = { 'a.weight': [3, 2], 'a.bias': [3] };

const settings = (name: 'adamw' | 'adam' | 'sgd'): StudioConfig['optimizer'] => ({
  name, weight_decay: 0.1, betas: [0.9, 0.99], eps: 1e-6, momentum: 0.9, layer_decay: null, head_lr_multiplier: 1, decay_norm_and_bias: false,
}); // prettier-ignore

function made(name: 'adamw' | 'adam' | 'sgd'): Optimizer {
  const parameters = Object.entries(SHAPES).map(([n, shape]) => {
    const initial = tf.tensor(torch.start[n] as number[], shape);
    const variable = tf.variable(initial);
    initial.dispose();
    const bias = n === 'a.bias';
    return { name: n, variable, lrScale: bias ? 0.5 : 1, weightDecay: bias ? 0 : 0.1 };
  });
  return new Optimizer(settings(name), parameters);
}

/** Steps `from` to `to`; returns the gradient norms. */
async function run(optimizer: Optimizer, from: number, to: number, clip: number | null): Promise<number[]> {
  const norms: number[] = [];
  for (let step = from; step < to; step++) {
    const given = torch.grads[step] as Values;
    const grads = new Map(Object.entries(given).map(([n, g]) => [n, tf.tensor(g, SHAPES[n] as number[])]));
    const norm = globalNorm([...grads.values()]);
    const scale = clip === null ? null : clipCoefficient(norm, clip);
    optimizer.step(grads, torch.rates[step] as number, step, scale);
    norms.push((await norm.data())[0] as number);
    tf.dispose([norm, ...(scale === null ? [] : [scale]), ...grads.values()]);
  }
  return norms;
}

async function values(optimizer: Optimizer): Promise<Record<string, Float32Array>> {
  const out: Record<string, Float32Array> = {};
  for (const { name, variable } of optimizer.parameters)
    out[name] = ((await variable.data()) as Float32Array).slice();
  return out;
}

function dispose(optimizer: Optimizer): void {
  for (const { variable } of optimizer.parameters) variable.dispose();
  optimizer.dispose();
}

beforeAll(() => useBackend('wasm'));

const STEPS = torch.rates.length;

describe.each([
  ['adamw', 'adamw', null],
  ['adam', 'adam', null],
  ['sgd', 'sgd', null],
  ['adamwClipped', 'adamw', 2],
] as const)('%s', (key, name, clip) => {
  it('follows PyTorch, leaking nothing', async () => {
    const before = tf.memory().numTensors;
    const optimizer = made(name);
    const norms = await run(optimizer, 0, STEPS, clip);
    const got = await values(optimizer);
    for (const [n, expected] of Object.entries(torch[key].end)) {
      expected.forEach((v, i) => expect(Math.abs((got[n]?.[i] as number) - v), `${n}[${i}]`).toBeLessThan(2e-6));
    }
    torch[key].norms.forEach((n, i) => expect(norms[i]).toBeCloseTo(n, 4));
    dispose(optimizer);
    expect(tf.memory().numTensors).toBe(before);
  }); // prettier-ignore

  it('goes on from saved state, bit for bit', async () => {
    const straight = made(name);
    await run(straight, 0, STEPS, clip);
    const first = made(name);
    await run(first, 0, 3, clip);
    const state = await first.toTensorMap();
    const second = made(name);
    second.load(state);
    const there = await values(first);
    for (const { name: n, variable } of second.parameters) {
      const t = tf.tensor(there[n] as Float32Array, variable.shape);
      variable.assign(t);
      t.dispose();
    }
    await run(second, 3, STEPS, clip);
    expect(await values(second)).toEqual(await values(straight));
    expect(await second.toTensorMap()).toEqual(await straight.toTensorMap());
    for (const o of [straight, first, second]) dispose(o);
  });
});

it('leaves parameters without a gradient alone', async () => {
  const optimizer = made('adamw');
  const grad = tf.ones([3]);
  const before = await values(optimizer);
  optimizer.step(new Map([['a.bias', grad]]), 0.1, 0, null);
  const after = await values(optimizer);
  expect(after['a.weight']).toEqual(before['a.weight']);
  expect(after['a.bias']).not.toEqual(before['a.bias']);
  grad.dispose();
  dispose(optimizer);
});

it('names the moment that a checkpoint lacks', () => {
  const optimizer = made('sgd');
  expect(() => optimizer.load(new Map())).toThrow(
    expect.objectContaining({ code: 'checkpoint-mismatch', subject: 'momentum.a.weight' }) as Error,
  );
  dispose(optimizer);
});
