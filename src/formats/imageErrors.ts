/** @file The errors image decoders raise, and the size limit they share. Imports lib only. */
import { UserError } from '../lib/errors';

/** Checked against the header before anything is decoded. */
export const MAX_PIXELS = 64 * 1024 * 1024;

export function imageCorrupt(name: string, what: string, cause?: unknown): UserError {
  return new UserError('file-corrupt', `"${name}" is damaged: ${what}`, {
    subject: name,
    hint: 'Replace the file or leave it out.',
    ...(cause === undefined ? {} : { cause }),
  });
}

export function imageTruncated(name: string): UserError {
  return new UserError('file-truncated', `"${name}" is cut off: its end is missing`, {
    subject: name,
    hint: 'Copy or download the file again, or leave it out.',
  });
}

export function imageUnsupported(name: string, what: string): UserError {
  return new UserError('image-unsupported', `"${name}" cannot be read: ${what}`, {
    subject: name,
    hint: 'Save it as PNG, JPEG, BMP or TIFF.',
  });
}

/** @throws UserError 'file-corrupt' for an empty size, 'image-too-large' over the limit. */
export function checkSize(width: number, height: number, name: string): void {
  if (width < 1 || height < 1) throw imageCorrupt(name, `its size is ${width} x ${height}`);
  if (width * height > MAX_PIXELS) {
    throw new UserError(
      'image-too-large',
      `"${name}" is ${width} x ${height}: more than ${MAX_PIXELS / 2 ** 20} million pixels`,
      {
        subject: name,
        hint: 'Make the image smaller.',
      },
    );
  }
}
