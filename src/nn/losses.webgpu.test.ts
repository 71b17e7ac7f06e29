/** @file The configured loss on WebGPU: fused kernels and plain operations against PyTorch, and the number of dispatches. */
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import type { StudioConfig } from '../config/types';
import { setKernels, studioBackend } from '../gpu/launch';
import { useBackend } from '../gpu/ops/testSupport';
import type { StudioBackend } from '../gpu/studioBackend';
import { bceWithLogits, diceSigmoid, segmentationLoss } from './losses';

beforeAll(() => useBackend('webgpu'));

interface Case {
  readonly value: number;
  readonly grad: readonly number[];
}

const { losses: torch } = JSON.parse(readFileSync('e2e/fixtures/nn/torch.json', 'utf8')) as {
  losses: Readonly<Record<'bce' | 'bcePosWeight5' | 'dice' | 'ce' | 'ceWeighted' | 'diceSoftmax', Case>> &
    Readonly<Record<'x' | 'y' | 'xm' | 'ym' | 'classWeights', number[]>>;
}; // prettier-ignore

type Settings = StudioConfig['loss'];
const settings = (changes: Partial<Settings>): Settings => ({
  name: 'bce_dice', bce_weight: 0.2, dice_weight: 0.8, ce_weight: 0.3, pos_weight: 1, class_weights: null, smooth: 1e-5, ...changes,
}); // prettier-ignore

const sum = (parts: readonly (readonly [number, Case])[]): Case => ({
  value: parts.reduce((s, [w, c]) => s + w * c.value, 0),
  grad: (parts[0] as readonly [number, Case])[1].grad.map((_, i) =>
    parts.reduce((s, [w, c]) => s + w * (c.grad[i] as number), 0),
  ),
});

/** Settings, channels, weighted terms of PyTorch. */
const CASES: readonly (readonly [Partial<Settings>, 1 | 3, readonly (readonly [string, number, Case])[]])[] =
  [
    [{ name: 'bce', bce_weight: 0.1 }, 1, [['bce', 1, torch.bce]]],
    [{ name: 'bce', pos_weight: 5 }, 1, [['bce', 1, torch.bcePosWeight5]]],
    [{ name: 'dice' }, 1, [['dice', 1, torch.dice]]],
    [{ name: 'bce_dice' }, 1, [['bce', 0.2, torch.bce], ['dice', 0.8, torch.dice]]],
    [{ name: 'ce' }, 3, [['ce', 1, torch.ce]]],
    [{ name: 'ce', class_weights: torch.classWeights }, 3, [['ce', 1, torch.ceWeighted]]],
    [{ name: 'dice' }, 3, [['dice', 1, torch.diceSoftmax]]],
    [{ name: 'ce_dice' }, 3, [['ce', 0.3, torch.ce], ['dice', 0.8, torch.diceSoftmax]]],
    [{ name: 'ce_dice', class_weights: torch.classWeights }, 3, [['ce', 0.3, torch.ceWeighted], ['dice', 0.8, torch.diceSoftmax]]],
  ]; // prettier-ignore

async function evaluate(s: Settings, channels: 1 | 3) {
  const logits = tf.tensor4d(channels === 1 ? torch.x : torch.xm, [2, 3, 4, channels]);
  const truth = tf.tensor3d(channels === 1 ? torch.y : torch.ym, [2, 3, 4], 'int32');
  const kept: [string, tf.Tensor][] = [];
  const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => {
    const { total, terms } = segmentationLoss(s, x as tf.Tensor4D, truth);
    for (const [name, term] of Object.entries(terms)) kept.push([name, tf.keep(tf.clone(term))]);
    return total;
  })(logits);
  const result = {
    value: (await value.data())[0] as number,
    grad: [...(await grad.data())],
    terms: await Promise.all(kept.map(async ([name, t]) => [name, (await t.data())[0] as number] as const)),
  };
  tf.dispose([logits, truth, value, grad, ...kept.map(([, t]) => t)]);
  return result;
}

describe.each(['kernels', 'plain operations'])('%s', (path) => {
  it.each(CASES)('%j, %i channels, as PyTorch', async (changes, channels, parts) => {
    const before = setKernels(path === 'kernels');
    const got = await evaluate(settings(changes), channels);
    setKernels(before);
    const expected = sum(parts.map(([, weight, c]) => [weight, c] as const));
    // WGSL's exp and log are less exact than a CPU's; ours for log1p is not
    const tolerance = path === 'kernels' ? 1e-6 : 1e-5;
    expect(Math.abs(got.value / expected.value - 1)).toBeLessThan(tolerance);
    expect(got.terms.map(([name]) => name)).toEqual(parts.map(([name]) => name));
    got.terms.forEach(([name, value], i) => {
      expect(Math.abs(value / (parts[i]?.[2].value ?? 0) - 1), name).toBeLessThan(tolerance);
    });
    const scale = Math.max(...expected.grad.map(Math.abs));
    got.grad.forEach((g, i) => {
      expect(Math.abs(g - (expected.grad[i] as number)) / scale, `element ${i}`).toBeLessThan(2 * tolerance);
    });
  });
});

it('the single losses take float targets', async () => {
  const [x, y] = [tf.tensor1d(torch.x), tf.tensor1d(torch.y)];
  const values = [bceWithLogits(x, y, 5), diceSigmoid(x, y, 1e-5)];
  const [bce, dice] = await Promise.all(values.map(async (t) => (await t.data())[0] as number));
  expect(bce).toBeCloseTo(torch.bcePosWeight5.value, 5);
  expect(dice).toBeCloseTo(torch.dice.value, 5);
  tf.dispose([x, y, ...values]);
});

it.each([['bce_dice', 1], ['ce_dice', 3]] as const)('%s: two dispatches for the value, one for the gradient', (name, channels) => {
  const backend = studioBackend() as StudioBackend;
  const logits = tf.zeros([1, 4, 5, channels]);
  const labels = tf.zeros([1, 4, 5], 'int32') as tf.Tensor3D;
  const own = vi.spyOn(backend, 'runProgram');
  const stock = vi.spyOn(backend, 'runWebGPUProgram');
  const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => segmentationLoss(settings({ name }), x as tf.Tensor4D, labels).total)(logits);
  expect(own.mock.calls.map(([run]) => run.label)).toHaveLength(3);
  // tfjs fills the upstream gradient of 1 itself
  expect(stock.mock.calls.map(([program]) => program.constructor.name).filter((n) => !n.startsWith('Fill'))).toEqual([]);
  own.mockRestore();
  stock.mockRestore();
  tf.dispose([logits, labels, value, grad]);
}); // prettier-ignore
