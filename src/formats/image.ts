/**
 * @file Any picture file to samples, and Pillow's conversions. Imports lib and formats; JPEG, BMP and TIFF decoders are
 * loaded when first needed.
 */
import { UserError } from '../lib/errors';
import { imageUnsupported } from './imageErrors';
import type { RasterImage } from './image.types';
import { decodePng, looksLikePng } from './png';

function startsWith(bytes: Uint8Array, ...magic: readonly number[]): boolean {
  return magic.every((b, i) => bytes[i] === b);
}

/** A few formats people try, named in the refusal. */
function nameOther(bytes: Uint8Array): string {
  const text = String.fromCharCode(...bytes.subarray(0, 16));
  if (text.startsWith('GIF8')) return 'GIF pictures are not supported';
  if (text.startsWith('RIFF') && text.includes('WEBP')) return 'WebP pictures are not supported';
  if (/^\s*</.test(text)) return 'it is a text file (HTML, SVG or XML), not a picture';
  if (String.fromCharCode(...bytes.subarray(128, 132)) === 'DICM') return 'DICOM is not supported yet';
  return 'its content is not a known picture format';
}

/**
 * Decodes a picture by its content, whatever its name says. Samples are as stored: never rotated, never colour-managed.
 * @throws UserError 'file-empty', 'file-truncated', 'file-corrupt', 'image-unsupported', 'image-too-large'; subject = name.
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<RasterImage> {
  if (bytes.length === 0) throw new UserError('file-empty', `"${name}" is empty`, { subject: name });
  if (looksLikePng(bytes)) return decodePng(bytes, name);
  if (startsWith(bytes, 0xff, 0xd8)) return (await import('./jpeg')).decodeJpeg(bytes, name);
  if (startsWith(bytes, 0x42, 0x4d)) return (await import('./bmp')).decodeBmp(bytes, name);
  if (startsWith(bytes, 0x49, 0x49, 0x2a, 0) || startsWith(bytes, 0x4d, 0x4d, 0, 0x2a)) {
    return (await import('./tiff')).decodeTiff(bytes, name);
  }
  throw imageUnsupported(name, nameOther(bytes));
}

/** Samples per pixel. */
export function channelCount(image: RasterImage): number {
  return image.data.length / (image.width * image.height);
}

/** One sample as 8 bit: 16-bit samples lose their low byte (Pillow's choice for colour; for I;16 it would clip instead). */
function byteReader(image: RasterImage): (i: number) => number {
  const { data, mode } = image;
  if (mode.endsWith('16')) return (i) => (data[i] as number) >> 8;
  if (mode === 'F') return (i) => Math.min(255, Math.max(0, Math.trunc(data[i] as number)));
  return (i) => data[i] as number;
}

/** The common 8-bit cases of `toRGB`. */
function spread(data: Uint8Array, channels: number, out: Uint8Array): void {
  const [g, b] = channels < 3 ? [0, 0] : [1, 2];
  for (let from = 0, to = 0; to < out.length; from += channels, to += 3) {
    out[to] = data[from] as number;
    out[to + 1] = data[from + g] as number;
    out[to + 2] = data[from + b] as number;
  }
}

/** Like Pillow's `convert('RGB')`: grey is repeated, palettes are looked up, alpha is dropped. @returns (height, width, 3). */
export function toRGB(image: RasterImage): Uint8Array<ArrayBuffer> {
  const count = image.width * image.height;
  const out = new Uint8Array(count * 3);
  const channels = channelCount(image);
  const { data } = image;
  if (data instanceof Uint8Array && image.mode !== 'P') {
    if (channels === 3) out.set(data);
    else spread(data, channels, out);
    return out;
  }
  const read = byteReader(image);
  const palette = image.mode === 'P' ? image.palette : undefined;
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) {
      // Palette entries that are not there are black, as in Pillow.
      if (palette !== undefined) out[i * 3 + c] = palette[(image.data[i] as number) * 4 + c] ?? 0;
      else out[i * 3 + c] = read(i * channels + (channels < 3 ? 0 : c));
    }
  }
  return out;
}

/** Pillow's luma: (19595 R + 38470 G + 7471 B + 32768) >> 16. */
export function luma(r: number, g: number, b: number): number {
  return (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
}

/** Like Pillow's `convert('L')`, except that 16-bit grey is divided by 256 where Pillow would clip at 255. @returns (height, width). */
export function toL(image: RasterImage): Uint8Array<ArrayBuffer> {
  const count = image.width * image.height;
  const channels = channelCount(image);
  const out = new Uint8Array(count);
  if (image.mode === 'P' || channels >= 3) {
    const rgb = toRGB(image);
    for (let i = 0; i < count; i++)
      out[i] = luma(rgb[i * 3] as number, rgb[i * 3 + 1] as number, rgb[i * 3 + 2] as number);
    return out;
  }
  if (image.data instanceof Uint8Array && channels === 1) {
    out.set(image.data);
    return out;
  }
  const read = byteReader(image);
  for (let i = 0; i < count; i++) out[i] = read(i * channels);
  return out;
}
