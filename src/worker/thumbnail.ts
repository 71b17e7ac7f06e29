/** @file Small pictures for the preview grid. Imports data (resize). */
import { resizeBilinear, resizeNearest } from '../data/resize';
import type { OriginalSample } from '../data/types';
import type { Thumbnail } from './protocol';

/** Scales to fit a square of `edge` pixels (never up); image as opaque RGBA, mask as label indices of the same size. */
export function thumbnailOf(sample: OriginalSample, edge: number): Thumbnail {
  const scale = Math.min(1, edge / Math.max(sample.width, sample.height));
  const width = Math.max(1, Math.round(sample.width * scale));
  const height = Math.max(1, Math.round(sample.height * scale));
  const rgb = resizeBilinear(sample.image, sample.width, sample.height, 3, width, height);
  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let i = 0, j = 0; j < rgba.length; i += 3, j += 4) {
    rgba[j] = rgb[i] as number;
    rgba[j + 1] = rgb[i + 1] as number;
    rgba[j + 2] = rgb[i + 2] as number;
    rgba[j + 3] = 255;
  }
  return {
    width,
    height,
    rgba,
    mask: resizeNearest(sample.mask, sample.width, sample.height, 1, width, height),
  };
}
