/**
 * @file Prepared bytes to network input. Imports nothing.
 */
import type { PreparedSample } from './types';

/** ImageNet statistics on 0..1 RGB (torchvision); equal to SAM's on 0..255. */
const IMAGENET_MEAN = [0.485, 0.456, 0.406] as const;
const IMAGENET_STD = [0.229, 0.224, 0.225] as const;

/** One value per byte and channel: 3 x 256. min_max is the framework's name for dividing by 255. */
function lookup(normalization: 'imagenet' | 'min_max'): Float32Array {
  const table = new Float32Array(768);
  for (let c = 0; c < 3; c++) {
    for (let v = 0; v < 256; v++) {
      const x = Math.fround(v / 255);
      // torchvision subtracts and divides in float32.
      const mean = Math.fround(IMAGENET_MEAN[c] as number);
      const std = Math.fround(IMAGENET_STD[c] as number);
      table[c * 256 + v] = normalization === 'min_max' ? x : Math.fround(x - mean) / std;
    }
  }
  return table;
}

const tables = { imagenet: lookup('imagenet'), min_max: lookup('min_max') };

/** images [n, size, size, 3] float32 normalised, labels [n, size, size] int32. */
export function assembleBatch(
  samples: readonly Pick<PreparedSample, 'image' | 'mask'>[],
  size: number,
  normalization: 'imagenet' | 'min_max',
): {
  readonly images: Float32Array;
  readonly labels: Int32Array;
  readonly count: number;
  readonly size: number;
} {
  const table = tables[normalization];
  const pixels = size * size;
  const images = new Float32Array(samples.length * pixels * 3);
  const labels = new Int32Array(samples.length * pixels);
  samples.forEach((sample, n) => {
    labels.set(sample.mask, n * pixels);
    const at = n * pixels * 3;
    const { image } = sample;
    for (let i = 0; i < pixels * 3; i += 3) {
      images[at + i] = table[image[i] as number] as number;
      images[at + i + 1] = table[256 + (image[i + 1] as number)] as number;
      images[at + i + 2] = table[512 + (image[i + 2] as number)] as number;
    }
  });
  return { images, labels, count: samples.length, size };
}
