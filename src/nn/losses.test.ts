/**
 * @file Losses and their gradients against PyTorch (e2e/fixtures/nn/make.py), on the WASM and CPU backends.
 */
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import type { StudioConfig } from '../config/types';
import { useBackend } from '../gpu/ops/testSupport';
import { resolveOutChannels, segmentationLoss } from './losses';

interface Case {
  readonly value: number;
  readonly grad: readonly number[];
}

const { losses: torch } = JSON.parse(readFileSync('e2e/fixtures/nn/torch.json', 'utf8')) as {
  losses: Readonly<Record<'bce' | 'bcePosWeight5' | 'dice' | 'diceNoForeground' | 'ce' | 'ceWeighted' | 'diceSoftmax', Case>> &
    Readonly<Record<'x' | 'y' | 'xm' | 'ym' | 'classWeights', number[]>>;
}; // prettier-ignore

type Settings = StudioConfig['loss'];
const settings = (changes: Partial<Settings>): Settings => ({
  name: 'bce_dice', bce_weight: 0.2, dice_weight: 0.8, ce_weight: 0.3, pos_weight: 1, class_weights: null, smooth: 1e-5, ...changes,
}); // prettier-ignore

/** Loss, gradient and terms of the fixture's binary (1 channel) or multi-class (3 channels) logits. */
async function evaluate(s: Settings, channels: 1 | 3, labels?: number[]) {
  const logits = tf.tensor4d(channels === 1 ? torch.x : torch.xm, [2, 3, 4, channels]);
  const truth = tf.tensor3d(labels ?? (channels === 1 ? torch.y : torch.ym), [2, 3, 4], 'int32');
  const terms = new Map<string, tf.Tensor>();
  const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => {
    const loss = segmentationLoss(s, x as tf.Tensor4D, truth);
    for (const [name, term] of Object.entries(loss.terms)) terms.set(name, tf.keep(tf.clone(term)));
    return loss.total;
  })(logits);
  const read = async (t: tf.Tensor): Promise<number> => (await t.data())[0] as number;
  const result = {
    value: await read(value),
    grad: [...(await grad.data())],
    terms: Object.fromEntries(
      await Promise.all(
        [...terms].map(async ([name, t]): Promise<[string, number]> => [name, await read(t)]),
      ),
    ),
  };
  tf.dispose([logits, truth, value, grad, ...terms.values()]);
  return result;
}

function expectClose(got: { value: number; grad: readonly number[] }, expected: Case): void {
  expect(Math.abs(got.value - expected.value) / Math.abs(expected.value)).toBeLessThan(1e-6);
  expect(got.grad).toHaveLength(expected.grad.length);
  const scale = Math.max(...expected.grad.map(Math.abs));
  got.grad.forEach((g, i) => {
    expect(Math.abs(g - (expected.grad[i] as number)) / scale, `element ${i}`).toBeLessThan(2e-6);
  });
}

describe.each(['wasm', 'cpu'] as const)('against PyTorch on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('BCE with logits, pos_weight 1 and 5', async () => {
    expectClose(await evaluate(settings({ name: 'bce' }), 1), torch.bce);
    expectClose(await evaluate(settings({ name: 'bce', pos_weight: 5 }), 1), torch.bcePosWeight5);
  });

  it('Dice over the whole batch, also with no foreground at all', async () => {
    expectClose(await evaluate(settings({ name: 'dice' }), 1), torch.dice);
    const none = await evaluate(settings({ name: 'dice' }), 1, torch.y.map(() => 0)); // prettier-ignore
    expectClose(none, torch.diceNoForeground);
  });

  it('cross entropy, with and without class weights', async () => {
    expectClose(await evaluate(settings({ name: 'ce' }), 3), torch.ce);
    const weighted = settings({ name: 'ce', class_weights: torch.classWeights });
    expectClose(await evaluate(weighted, 3), torch.ceWeighted);
  });

  it('softmax Dice, mean over classes with the background', async () => {
    expectClose(await evaluate(settings({ name: 'dice' }), 3), torch.diceSoftmax);
  });

  it('sums with weights; terms are unweighted; a single loss ignores the weights', async () => {
    const sum = (a: Case, wa: number, b: Case, wb: number): Case => ({
      value: wa * a.value + wb * b.value,
      grad: a.grad.map((g, i) => wa * g + wb * (b.grad[i] as number)),
    });
    const binary = await evaluate(settings({ name: 'bce_dice' }), 1);
    expectClose(binary, sum(torch.bce, 0.2, torch.dice, 0.8));
    expect(binary.terms['bce']).toBeCloseTo(torch.bce.value, 5);
    expect(binary.terms['dice']).toBeCloseTo(torch.dice.value, 5);
    expectClose(await evaluate(settings({ name: 'ce_dice' }), 3), sum(torch.ce, 0.3, torch.diceSoftmax, 0.8));
    expectClose(await evaluate(settings({ name: 'bce', bce_weight: 0.1 }), 1), torch.bce);
  });

  it('stays finite for logits of any size', async () => {
    const labels = tf.tensor3d([0, 1, 0, 1], [1, 2, 2], 'int32');
    for (const [name, channels] of [['bce_dice', 1], ['ce_dice', 2]] as const) {
      const logits = tf.tensor4d([1e4, -1e4, -1e4, 1e4, 1e4, 1e4, 0, -1e4].slice(0, 4 * channels), [1, 2, 2, channels]);
      const s = settings({ name });
      const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => segmentationLoss(s, x as tf.Tensor4D, labels).total)(logits);
      expect(Number.isFinite((await value.data())[0])).toBe(true);
      expect((await grad.data()).every(Number.isFinite)).toBe(true);
    } // prettier-ignore
  });
});

describe('resolveOutChannels', () => {
  const channels = (...overrides: string[]): number =>
    resolveOutChannels(
      resolveConfig(configFiles, 'train', ['model=tinyusfm_nano', 'data=phantom', ...overrides]).config,
    );

  it('auto: one for a sigmoid loss on two classes, else one per class', () => {
    expect(channels('loss.name=bce_dice')).toBe(1);
    expect(channels('loss.name=dice')).toBe(1);
    expect(channels('loss.name=ce')).toBe(2);
    expect(channels('loss.name=dice', 'model.num_classes=4')).toBe(4);
  });

  it.each([
    [['loss.name=bce', 'model.num_classes=3'], 'loss.name'],
    [['loss.name=ce', 'model.out_channels=1'], 'model.out_channels'],
    [['loss.name=ce_dice', 'model.num_classes=3', 'model.out_channels=5'], 'model.out_channels'],
    [['loss.name=bce', 'model.out_channels=2'], 'loss.name'],
    [['loss.name=ce', 'model.num_classes=3', 'loss.class_weights=[1,2]'], 'loss.class_weights'],
  ])('refuses %j, naming %s', (overrides, subject) => {
    expect(() => channels(...overrides)).toThrow(
      expect.objectContaining({ code: 'config-invalid', subject }) as Error,
    );
  });
});
