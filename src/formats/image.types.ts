/**
 * @file A decoded picture before any conversion, in Pillow's terms (mode names, palette kept).
 */

/** Pillow's mode names. '1' holds 0 / 255 per sample; 'P' palette indices; 'I;16' 16-bit grey; 'RGB;16', 'RGBA;16', 'LA;16' 16-bit colour. */
export type ImageMode =
  '1' | 'L' | 'LA' | 'P' | 'RGB' | 'RGBA' | 'I;16' | 'LA;16' | 'RGB;16' | 'RGBA;16' | 'F';

export interface RasterImage {
  readonly width: number;
  readonly height: number;
  readonly mode: ImageMode;
  /** Rows from the top, channels interleaved. */
  readonly data: Uint8Array | Uint16Array | Float32Array;
  /** Mode P only: RGBA per entry, 4 bytes each. */
  readonly palette?: Uint8Array;
  /** EXIF orientation 2..8 when the file asks for one; samples are as stored (Pillow's behaviour), never rotated. */
  readonly exifOrientation?: number;
  readonly format: 'png' | 'jpeg' | 'bmp' | 'tiff';
}
