/**
 * @file One sample's files to pixels and labels. Imports formats, lib.
 */
import { decodeImage, toL, toRGB } from '../formats/image';
import type { RasterImage } from '../formats/image.types';
import { UserError } from '../lib/errors';
import type { FileRef, LabelSpec, OriginalSample, Sample } from './types';

/** Bytes of a file of some folder. */
export type ReadFile = (file: FileRef) => Promise<Uint8Array>;

/** A picture decoded; errors name folder and path. */
export async function decodeFile(file: FileRef, folderName: string, read: ReadFile): Promise<RasterImage> {
  return decodeImage(await read(file), `${folderName}/${file.path}`);
}

/** Channels further apart than this are a colour; less is a tinted grey (JPEG, a resaved mask), and stays one. */
export const MIN_CHROMA = 32;

/** Whether a mask says anything by colour: some pixel is clearly not grey. */
export function isColored(image: RasterImage): boolean {
  if (image.mode !== 'P' && !image.mode.startsWith('RGB')) return false;
  const rgb = toRGB(image);
  for (let i = 0; i < rgb.length; i += 3) {
    const [r, g, b] = [rgb[i] as number, rgb[i + 1] as number, rgb[i + 2] as number];
    if (Math.max(r, g, b) - Math.min(r, g, b) > MIN_CHROMA) return true;
  }
  return false;
}

/** A palette of black and white alone says grey values, not indices (index 0 may well be white). */
function isBlackAndWhite(palette: Uint8Array | undefined): boolean {
  if (palette === undefined) return false;
  for (let i = 0; i < palette.length; i += 4) {
    const [r, g, b] = [palette[i], palette[i + 1], palette[i + 2]];
    if (r !== g || r !== b || (r !== 0 && r !== 255)) return false;
  }
  return true;
}

/**
 * Grey value per pixel of a mask, as Pillow's convert('L'), except 16-bit grey: values up to 255 are kept as they are (label maps of
 * ITK and nnU-Net; the high byte alone would empty them), larger ones lose the low byte.
 */
export function maskGrey(image: RasterImage): Uint8Array {
  if (image.mode !== 'I;16') return toL(image);
  const { data } = image;
  for (const v of data) if (v > 255) return toL(image);
  return Uint8Array.from(data);
}

/** What "value" means for a mask: the palette index of palette images (unless black and white), else the grey value. */
export function maskValues(image: RasterImage): Uint8Array {
  return image.mode === 'P' && !isBlackAndWhite(image.palette) ? (image.data as Uint8Array) : maskGrey(image);
}

/** Label per pixel of one mask file. Pixels the encoding does not know become background; `unexpected` counts them. */
export function encodeMask(
  image: RasterImage,
  spec: LabelSpec,
  className: string | null,
): { readonly labels: Uint8Array; readonly unexpected: number } {
  const { encoding } = spec;
  const pixels = image.width * image.height;
  const labels = new Uint8Array(pixels);
  let unexpected = 0;
  switch (encoding.kind) {
    case 'threshold':
    case 'class': {
      const label = encoding.kind === 'threshold' ? 1 : encoding.classes.indexOf(className ?? '') + 1;
      const grey = maskGrey(image);
      for (let i = 0; i < pixels; i++) {
        if ((grey[i] as number) <= encoding.threshold) continue;
        labels[i] = label;
        if (label === 0) unexpected++;
      }
      break;
    }
    case 'values': {
      const table = new Int16Array(256).fill(-1);
      for (const [value, label] of Object.entries(encoding.values)) table[Number(value)] = label;
      const values = maskValues(image);
      for (let i = 0; i < pixels; i++) {
        const label = table[values[i] as number] as number;
        if (label < 0) unexpected++;
        else labels[i] = label;
      }
      break;
    }
    case 'colors': {
      const table = new Map<number, number>();
      for (const [color, label] of Object.entries(encoding.colors)) {
        const [r, g, b] = color.split(',').map(Number) as [number, number, number];
        table.set((r << 16) | (g << 8) | b, label);
      }
      const rgb = toRGB(image);
      for (let i = 0; i < pixels; i++) {
        const key =
          ((rgb[i * 3] as number) << 16) | ((rgb[i * 3 + 1] as number) << 8) | (rgb[i * 3 + 2] as number);
        const label = table.get(key);
        if (label === undefined) unexpected++;
        else labels[i] = label;
      }
      break;
    }
  }
  return { labels, unexpected };
}

/** Throws UserError 'mask-size' when a mask has another size than its image. */
export function assertSameSize(image: RasterImage, mask: RasterImage, sample: Sample, file: FileRef): void {
  if (image.width === mask.width && image.height === mask.height) return;
  throw new UserError(
    'mask-size',
    `${sample.folderName}/${file.path} is ${mask.width} x ${mask.height}, its image ${image.width} x ${image.height}`,
    {
      subject: `${sample.folderName}/${file.path}`,
      hint: 'Exclude the sample, or export the mask at the size of the image.',
    },
  );
}

/** The sample at its own size: RGB (Pillow's convert) and joined labels (a set pixel of a later mask wins over background only). */
export async function originalSample(
  sample: Sample,
  read: ReadFile,
  labels: LabelSpec,
): Promise<OriginalSample> {
  const image = await decodeFile(sample.image, sample.folderName, read);
  const mask = new Uint8Array(image.width * image.height);
  for (const file of sample.masks) {
    const picture = await decodeFile(file, sample.folderName, read);
    assertSameSize(image, picture, sample, file);
    const one = encodeMask(picture, labels, sample.className).labels;
    for (let i = 0; i < mask.length; i++) if (mask[i] === 0) mask[i] = one[i] as number;
  }
  return { id: sample.id, width: image.width, height: image.height, image: toRGB(image), mask };
}
