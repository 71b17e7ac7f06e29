/**
 * @file Training augmentation: TinyUSFM's joint transform on the resized 8-bit image and mask, in its order. Imports lib, resize.
 * Source: reference/models.md section 7.1 (MacDunno/TinyUSFM, utils/data_processing_seg.py). Every draw is keyed by seed, epoch and
 * sample, so a resumed run sees the same images.
 */
import type { AugmentationConfig } from '../config/types';
import { Random } from '../lib/random';
import { resizeBilinear, resizeNearest } from './resize';
import type { PreparedSample } from './types';

type Picture = Pick<PreparedSample, 'image' | 'mask' | 'size'>;

/** Image and mask after augmentation; new arrays. Organs keep their orientation: no flips. */
export function augment(
  sample: Picture,
  config: AugmentationConfig,
  task: 'tumor' | 'organ',
  key: readonly [seed: number, epoch: number, id: string],
): { image: Uint8Array; mask: Uint8Array } {
  // One generator per step: switching one off does not change the others.
  const draw = (name: string): Random => new Random('augment', name, ...key);
  let picture: Picture = { size: sample.size, image: sample.image.slice(), mask: sample.mask.slice() };
  if (task === 'tumor') {
    if (draw('hflip').bool(config.hflip.prob)) picture = flipped(picture, true);
    if (draw('vflip').bool(config.vflip.prob)) picture = flipped(picture, false);
  }
  const rotate = draw('rotate');
  if (rotate.bool(config.rotate.prob)) {
    picture = rotated(picture, rotate.uniform(-config.rotate.degrees, config.rotate.degrees));
  }
  const gamma = draw('gamma');
  if (gamma.bool(config.gamma.prob)) {
    // Tenths, as the original's randint(5, 20) / 10 (upper end excluded).
    const low = Math.round(config.gamma.min * 10);
    const high = Math.round(config.gamma.max * 10);
    picture = { ...picture, image: gammaCorrected(picture.image, gamma.integer(low, high) / 10) };
  }
  const scale = draw('scale_crop');
  if (scale.bool(config.scale_crop.prob)) picture = scaledAndCropped(picture, scale, config.scale_crop.max);
  const contrast = draw('contrast');
  if (contrast.bool(config.contrast.prob)) {
    const factor = contrast.uniform(config.contrast.min, config.contrast.max);
    picture = { ...picture, image: contrasted(picture.image, factor) };
  }
  return { image: picture.image, mask: picture.mask };
}

function flipped({ size, image, mask }: Picture, horizontally: boolean): Picture {
  const outImage = new Uint8Array(image.length);
  const outMask = new Uint8Array(mask.length);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const from = horizontally ? y * size + (size - 1 - x) : (size - 1 - y) * size + x;
      const to = y * size + x;
      outMask[to] = mask[from] as number;
      for (let c = 0; c < 3; c++) outImage[to * 3 + c] = image[from * 3 + c] as number;
    }
  }
  return { size, image: outImage, mask: outMask };
}

/**
 * Pillow's rotate(degrees, NEAREST, fill 0), counter-clockwise about the centre, byte for byte: Pillow steps through the source in
 * 16.16 fixed point, which at some pixels rounds to a neighbour of the exact position.
 */
export function rotated({ size, image, mask }: Picture, degrees: number): Picture {
  const angle = (-(((degrees % 360) + 360) % 360) * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const center = size / 2;
  const fixed = (v: number): number => Math.floor(v * 65536 + 0.5);
  const [stepX, stepY] = [fixed(cos), fixed(-sin)]; // along a row; down a column the source moves by (sin, cos)
  let rowX = fixed(center - cos * center - sin * center + 0.5 * (cos + sin));
  let rowY = fixed(center + sin * center - cos * center + 0.5 * (cos - sin));
  const outImage = new Uint8Array(image.length);
  const outMask = new Uint8Array(mask.length);
  for (let y = 0; y < size; y++, rowX += fixed(sin), rowY += fixed(cos)) {
    for (let x = 0, atX = rowX, atY = rowY; x < size; x++, atX += stepX, atY += stepY) {
      const [fx, fy] = [atX >> 16, atY >> 16];
      if (fx < 0 || fy < 0 || fx >= size || fy >= size) continue;
      const from = fy * size + fx;
      const to = y * size + x;
      outMask[to] = mask[from] as number;
      for (let c = 0; c < 3; c++) outImage[to * 3 + c] = image[from * 3 + c] as number;
    }
  }
  return { size, image: outImage, mask: outMask };
}

/** floor(255 (x / 255)^(1 / gamma)). */
export function gammaCorrected(image: Uint8Array, gamma: number): Uint8Array {
  const table = new Uint8Array(256);
  for (let v = 0; v < 256; v++) table[v] = Math.floor(255 * (v / 255) ** (1 / gamma));
  return image.map((v) => table[v] as number);
}

/** Enlarges by U(1, max) (image bilinear, mask nearest) and crops a random window of the original size. */
function scaledAndCropped({ size, image, mask }: Picture, random: Random, max: number): Picture {
  const side = Math.max(size, Math.trunc(size * random.uniform(1, max)));
  const left = random.integer(0, side - size);
  const top = random.integer(0, side - size);
  return {
    size,
    image: crop(resizeBilinear(image, size, size, 3, side, side), side, 3, left, top, size),
    mask: crop(resizeNearest(mask, size, size, 1, side, side), side, 1, left, top, size),
  };
}

function crop(
  data: Uint8Array,
  side: number,
  channels: number,
  left: number,
  top: number,
  size: number,
): Uint8Array {
  const out = new Uint8Array(size * size * channels);
  for (let y = 0; y < size; y++) {
    const start = ((top + y) * side + left) * channels;
    out.set(data.subarray(start, start + size * channels), y * size * channels);
  }
  return out;
}

/** torchvision's adjust_contrast on 8-bit RGB (Pillow's blend): mean + f (x - mean), mean of Pillow's grey image rounded. */
export function contrasted(image: Uint8Array, factor: number): Uint8Array {
  let sum = 0;
  for (let i = 0; i < image.length; i += 3) {
    sum +=
      ((image[i] as number) * 19595 +
        (image[i + 1] as number) * 38470 +
        (image[i + 2] as number) * 7471 +
        32768) >>
      16;
  }
  const mean = Math.trunc((sum * 3) / image.length + 0.5);
  const table = new Uint8Array(256);
  const f = Math.fround(factor); // Pillow blends in float32
  for (let v = 0; v < 256; v++) {
    const blended = Math.fround(mean + Math.fround(f * (v - mean)));
    table[v] = Math.max(0, Math.min(255, Math.trunc(blended)));
  }
  return image.map((v) => table[v] as number);
}
