/**
 * @file A sample at the network's size, as the framework prepares it: Pillow's BILINEAR for the image, NEAREST for labels. Imports decode, resize.
 */
import { originalSample, type ReadFile } from './decode';
import { resizeBilinear, resizeNearest } from './resize';
import type { LabelSpec, OriginalSample, PreparedSample, Sample } from './types';

/** Resizes to size x size (aspect ratio is not kept, as in the framework). */
export function prepare(original: OriginalSample, size: number): PreparedSample {
  const { id, width, height, image, mask } = original;
  return {
    id,
    size,
    image: resizeBilinear(image, width, height, 3, size, size),
    mask: resizeNearest(mask, width, height, 1, size, size),
    originalWidth: width,
    originalHeight: height,
  };
}

export async function prepareSample(
  sample: Sample,
  read: ReadFile,
  labels: LabelSpec,
  size: number,
): Promise<PreparedSample> {
  return prepare(await originalSample(sample, read, labels), size);
}
