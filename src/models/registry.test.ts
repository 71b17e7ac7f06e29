/**
 * @file Names, shapes and counts of every architecture against the published checkpoints' key lists; config errors.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { load } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import { initialTensors } from './initialize';
import { getModel, models } from './registry';
import { segFormerKeys, TINY_KEYS, TINYUSFM_KEYS } from './testArchitectures';
import type { ParameterSpec } from './types';

const published = (file: string): Record<string, number[]> =>
  JSON.parse(readFileSync(`e2e/fixtures/keys/${file}.json`, 'utf8')) as Record<string, number[]>;

function specsOf(name: string, keys: Record<string, unknown>, outChannels: number): readonly ParameterSpec[] {
  const model = getModel(name);
  return model.parameters(model.architecture(keys, outChannels));
}

const shapesOf = (specs: readonly ParameterSpec[]): Record<string, readonly number[]> =>
  Object.fromEntries(specs.map((s) => [s.name, s.shape]));

const count = (specs: readonly ParameterSpec[]): number =>
  specs.filter((s) => s.kind === 'parameter').reduce((n, s) => n + s.shape.reduce((a, b) => a * b, 1), 0);

describe('published checkpoints', () => {
  it('TinyUSFM: names and shapes, 6,179,073 parameters', () => {
    const specs = specsOf('tinyusfm', TINYUSFM_KEYS, 1);
    expect(shapesOf(specs)).toEqual(published('tinyusfm_seg_nc2'));
    expect(count(specs)).toBe(6_179_073);
  });

  it.each(['b0', 'b1', 'b2', 'b5'] as const)('SegFormer %s: names and shapes', (size) => {
    const specs = specsOf(`segformer_${size}`, segFormerKeys(size), 150);
    expect(shapesOf(specs)).toEqual(published(`hf_segformer_${size}_150_hubkeys`));
  });

  it.each([
    ['b0', 3_714_401],
    ['b1', 13_677_505],
    ['b2', 27_347_393],
    ['b3', 47_223_233],
    ['b4', 63_993_793],
    ['b5', 84_594_113],
  ] as const)('SegFormer %s with one output: %i parameters', (size, expected) => {
    expect(count(specsOf(`segformer_${size}`, segFormerKeys(size), 1))).toBe(expected);
  });
});

describe('configs/model', () => {
  const files = readdirSync('configs/model').filter((file) => file.endsWith('.yaml'));

  it('has one file per registered model', () => {
    expect(files.map((file) => file.replace('.yaml', '')).toSorted()).toEqual([...models.keys()].toSorted());
  });

  it.each(files)('%s describes an architecture of its family', (file) => {
    const { model } = load(readFileSync(`configs/model/${file}`, 'utf8')) as {
      model: Record<string, unknown>;
    };
    expect(model['name']).toBe(file.replace('.yaml', ''));
    const specs = specsOf(file.replace('.yaml', ''), model, 1);
    const full = /^segformer_(b\d)\.yaml$/.exec(file)?.[1] as 'b0' | undefined;
    if (full !== undefined) {
      expect(shapesOf(specs)).toEqual(shapesOf(specsOf('segformer_b0', segFormerKeys(full), 1)));
    }
    if (file === 'tinyusfm.yaml') expect(shapesOf(specs)).toEqual(published('tinyusfm_seg_nc2'));
    if (file.includes('nano')) expect(count(specs)).toBeLessThan(1_000_000);
  });
});

describe('layers for rate decay', () => {
  it('TinyUSFM as in the official fine-tuning script', () => {
    const model = getModel('tinyusfm');
    const a = model.architecture(TINYUSFM_KEYS, 1);
    const factor = (name: string): number => 0.8 ** (model.layerCount(a) - model.layerId(a, name));
    expect(factor('backbone.pos_embed')).toBeCloseTo(0.8, 12);
    expect(factor('backbone.blocks.11.norm1.weight')).toBeCloseTo(0.8, 12);
    expect(factor('backbone.blocks.0.norm1.weight')).toBeCloseTo(0.8 ** 12, 12);
    expect(factor('backbone.patch_embed.proj.bias')).toBeCloseTo(0.06871947673600004, 12);
    expect(factor('neck.projections.0.weight')).toBe(1);
  });

  it('SegFormer: blocks in order, head last', () => {
    const model = getModel('segformer_b2');
    const a = model.architecture(segFormerKeys('b2'), 1);
    const ids = model.parameters(a).map((s) => model.layerId(a, s.name));
    expect(Math.min(...ids)).toBe(0);
    expect(Math.max(...ids)).toBe(16);
    expect(model.layerCount(a)).toBe(16);
    expect(model.layerId(a, 'segformer.encoder.block.2.5.mlp.dense1.weight')).toBe(12);
    expect(model.layerId(a, 'decode_head.classifier.bias')).toBe(16);
  });
});

const deviation = (x: number[]): number => Math.sqrt(x.reduce((s, v) => s + v * v, 0) / x.length);

describe('initial tensors', () => {
  const specs = specsOf('tinyusfm', TINY_KEYS, 1);

  it('follow the seed and nothing else', () => {
    const [a, b, c] = [
      initialTensors(specs, 1),
      initialTensors(specs.toReversed(), 1),
      initialTensors(specs, 2),
    ];
    const name = 'backbone.blocks.0.attn.qkv.weight';
    expect(a.get(name)).toEqual(b.get(name));
    expect(a.get(name)).not.toEqual(c.get(name));
  });

  it('have the distributions of the reference', () => {
    const tensors = initialTensors(specsOf('tinyusfm', TINYUSFM_KEYS, 1), 3);
    const values = (name: string): number[] => Array.from(tensors.get(name)?.data as Float32Array);
    expect(deviation(values('backbone.blocks.5.mlp.fc1.weight'))).toBeCloseTo(0.02, 3);
    // uniform in +-1 / sqrt(128 * 9): deviation bound / sqrt 3
    const bound = 1 / Math.sqrt(128 * 9);
    expect(deviation(values('decode_head.fpn_convs.1.0.weight'))).toBeCloseTo(bound / Math.sqrt(3), 3);
    expect(Math.max(...values('decode_head.fpn_convs.1.0.bias').map(Math.abs))).toBeLessThan(bound);
    expect(new Set(values('decode_head.fpn_convs.1.1.running_var'))).toEqual(new Set([1]));
    expect(tensors.get('decode_head.fpn_convs.1.1.num_batches_tracked')?.dtype).toBe('int64');
  });
});

describe('errors', () => {
  it('an unknown model names those there are', () => {
    expect(() => getModel('unet')).toThrow(expect.objectContaining({ code: 'unknown-model' }) as Error);
    expect(models.size).toBe(9);
  });

  it.each([
    ['tinyusfm', { ...TINY_KEYS, heads: 5 }, 'model.heads'],
    ['tinyusfm', { ...TINY_KEYS, image_size: 33 }, 'model.image_size'],
    ['tinyusfm', { ...TINY_KEYS, out_indices: [0, 1, 2, 4] }, 'model.out_indices'],
    ['tinyusfm', { ...TINY_KEYS, depth: undefined }, 'model.depth'],
    ['segformer_b0', { ...segFormerKeys('b0'), image_size: 100 }, 'model.image_size'],
    ['segformer_b0', { ...segFormerKeys('b0'), depths: [2, 2, 2] }, 'model.depths'],
    ['segformer_b0', { ...segFormerKeys('b0'), drop_path: '0.1' }, 'model.drop_path'],
  ])('%s: a wrong key is named (%#)', (name, keys, subject) => {
    expect(() => getModel(name).architecture(keys, 1)).toThrow(
      expect.objectContaining({ code: 'model-config', subject }) as Error,
    );
  });
});
