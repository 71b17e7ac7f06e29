import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodePng } from '../formats/png';
import { toL, toRGB } from '../formats/image';
import type { RasterImage } from '../formats/image.types';
import { resizeBilinear, resizeNearest, resizeRgba } from './resize';

const root = 'e2e/cases/preprocess';
interface Expected {
  file: string;
  steps: string[];
  mode: string;
  width: number;
  height: number;
  sha256: string;
}
const description = JSON.parse(readFileSync(`${root}/case.json`, 'utf8')) as {
  images: { file: string; expected: Expected[] }[];
};

/** Pillow's convert('RGBA') of the modes in the case: palette alpha, or opaque. */
function withAlpha(image: RasterImage, rgb: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: (rgb.length / 3) * 4 }, (_, i) => {
    const pixel = Math.floor(i / 4);
    if (i % 4 < 3) return rgb[pixel * 3 + (i % 4)] as number;
    return image.mode === 'P' ? (image.palette?.[(image.data[pixel] as number) * 4 + 3] ?? 255) : 255;
  });
}

/** Applies "convert L", "resize 32 48 bilinear" as Pillow does for the mode at hand. */
function apply(image: RasterImage, step: string): RasterImage {
  const [what, a, b, filter] = step.split(' ') as [string, string, string, string];
  if (what === 'convert') {
    const rgb = toRGB(image);
    const data = a === 'L' ? toL(image) : a === 'RGB' ? rgb : withAlpha(image, rgb);
    return { ...image, mode: a as 'L', data };
  }
  const [w, h] = [Number(a), Number(b)];
  const data = image.data as Uint8Array;
  const nearest = filter.toLowerCase() === 'nearest' || image.mode === 'P' || image.mode === '1';
  const channels = data.length / (image.width * image.height);
  const out = nearest
    ? resizeNearest(data, image.width, image.height, channels, w, h)
    : image.mode === 'RGBA'
      ? resizeRgba(data, image.width, image.height, w, h)
      : resizeBilinear(data, image.width, image.height, channels, w, h);
  return { ...image, data: out, width: w, height: h };
}

describe('cases/preprocess: Pillow 12.3, byte for byte', () => {
  const rows = description.images.flatMap((image) =>
    image.expected.map((e) => [e.file, image.file, e] as const),
  );
  it('has rows', () => expect(rows.length).toBeGreaterThan(50));
  it.each(rows)('%s', (_, input, expected) => {
    let image = decodePng(readFileSync(`${root}/${input}`), input);
    for (const step of expected.steps) image = apply(image, step);
    expect(
      createHash('sha256')
        .update(image.data as Uint8Array)
        .digest('hex'),
    ).toBe(expected.sha256);
  });
});
