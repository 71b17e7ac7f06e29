import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import type { StudioConfig } from '../config/types';
import { augment, contrasted, gammaCorrected, rotated } from './augment';
import { assembleBatch } from './batch';
import { epochBatches } from './sampler';

const config = (...overrides: string[]): StudioConfig =>
  resolveConfig(configFiles, 'train', overrides).config;
const base = config();

interface Reference {
  size: number;
  rotate: { degrees: number; image: string; mask: string }[];
  rotate224: { degrees: number; image: string }[];
  gamma: { gamma: number; image: string }[];
  contrast: { factor: number; image: string }[];
}
describe('each step equals Pillow and numpy, byte for byte (e2e/fixtures/data/augment.json)', () => {
  const reference = JSON.parse(readFileSync('e2e/fixtures/data/augment.json', 'utf8')) as Reference;
  const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  const picture = (size: number): { size: number; image: Uint8Array; mask: Uint8Array } => ({
    size,
    image: Uint8Array.from(
      { length: size * size * 3 },
      (_, i) => (37 * i + 11 * Math.floor(i / 7) + 5 * Math.floor(i / 192)) % 256,
    ),
    mask: Uint8Array.from({ length: size * size }, (_, i) => Math.floor((13 * i) / 29) % 3),
  });
  const small = picture(reference.size);
  it.each(reference.rotate)('rotate $degrees', ({ degrees, image, mask }) => {
    const out = rotated(small, degrees);
    expect(sha(out.image)).toBe(image);
    expect(sha(out.mask)).toBe(mask);
  });
  it.each(reference.rotate224)('rotate $degrees at 224 px', ({ degrees, image }) => {
    expect(sha(rotated(picture(224), degrees).image)).toBe(image);
  });
  it.each(reference.gamma)('gamma $gamma', ({ gamma, image }) => {
    expect(sha(gammaCorrected(small.image, gamma))).toBe(image);
  });
  it.each(reference.contrast)('contrast $factor', ({ factor, image }) => {
    expect(sha(contrasted(small.image, factor))).toBe(image);
  });
});

describe('augmentation, order, batches', () => {
  const size = 24;
  const image = Uint8Array.from({ length: size * size * 3 }, (_, i) => (Math.floor(i / 3) * 7) % 256);
  const mask = Uint8Array.from({ length: size * size }, (_, i) => ((i * 7) % 256 > 128 ? 1 : 0));
  const sample = { size, image, mask };
  const only = (key: string): StudioConfig['augmentation'] => {
    const off = ['hflip', 'vflip', 'rotate', 'gamma', 'scale_crop', 'contrast']
      .filter((k) => k !== key)
      .map((k) => `augmentation.${k}.prob=0`);
    return config(...off, `augmentation.${key}.prob=1`).augmentation;
  };
  it('is a function of seed, epoch and sample alone', () => {
    const a = augment(sample, base.augmentation, 'tumor', [1, 2, 'x']);
    expect(augment(sample, base.augmentation, 'tumor', [1, 2, 'x'])).toEqual(a);
    expect(augment(sample, base.augmentation, 'tumor', [1, 3, 'x'])).not.toEqual(a);
    expect(augment(sample, base.augmentation, 'tumor', [1, 2, 'y'])).not.toEqual(a);
  });
  it.each(['hflip', 'vflip', 'rotate'])('%s moves the mask with the image', (key) => {
    const out = augment(sample, only(key), 'tumor', [1, 1, 'a']);
    expect(out.image).not.toEqual(image);
    // Wherever a pixel came from, its mask came along (fill 0 has mask 0).
    out.mask.forEach((m, i) => expect(m).toBe((out.image[i * 3] as number) > 128 ? 1 : 0));
  });
  it('organs are never flipped; intensity changes leave the mask alone; scale keeps the size', () => {
    expect(augment(sample, only('hflip'), 'organ', [1, 1, 'a']).image).toEqual(image);
    for (const key of ['gamma', 'contrast']) {
      const seen = [1, 2, 3, 4].map((e) => augment(sample, only(key), 'tumor', [1, e, 'a']));
      for (const s of seen) expect(s.mask).toEqual(mask);
      expect(seen.some((s) => s.image.some((v, i) => v !== image[i]))).toBe(true);
    }
    const scaled = augment(sample, only('scale_crop'), 'tumor', [1, 5, 'a']);
    expect([scaled.image.length, scaled.mask.length]).toEqual([image.length, mask.length]);
  });
  it('orders an epoch by seed and epoch, every sample once', () => {
    const ids = Array.from({ length: 11 }, (_, i) => String(i));
    const a = epochBatches(ids, { seed: 1, epoch: 0, batchSize: 4, dropLast: false });
    expect(a.map((b) => b.length)).toEqual([4, 4, 3]);
    expect(a.flat().sort()).toEqual(ids.slice().sort());
    expect(
      epochBatches(ids, { seed: 1, epoch: 1, batchSize: 4, dropLast: true }).map((b) => b.length),
    ).toEqual([4, 4]);
    expect(epochBatches(ids, { seed: 1, epoch: 1, batchSize: 4, dropLast: false })).not.toEqual(a);
  });
  it('normalises as torchvision', () => {
    const b = assembleBatch([{ image: Uint8Array.of(0, 128, 255), mask: Uint8Array.of(3) }], 1, 'imagenet');
    [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225].forEach((v, i) =>
      expect(b.images[i]).toBeCloseTo(v, 5),
    );
    expect([...b.labels]).toEqual([3]);
    expect(
      assembleBatch([{ image: Uint8Array.of(0, 51, 255), mask: Uint8Array.of(0) }], 1, 'min_max').images[1],
    ).toBeCloseTo(0.2, 6);
  });
});
