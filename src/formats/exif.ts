/** @file The orientation an EXIF block asks for. Imports nothing. Reference: TIFF 6.0 §2, EXIF 2.32 tag 0x0112. */

/** Orientation 2..8, or undefined for 1, none, or a damaged block. `tiff` begins with "II" or "MM". */
export function exifOrientation(tiff: Uint8Array): number | undefined {
  if (tiff.length < 14) return undefined;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const order = view.getUint16(0, false);
  const little = order === 0x4949;
  if (!little && order !== 0x4d4d) return undefined;
  const at = view.getUint32(4, little);
  if (at + 2 > tiff.length) return undefined;
  const count = Math.min(view.getUint16(at, little), 1000);
  for (let i = 0; i < count; i++) {
    const entry = at + 2 + i * 12;
    if (entry + 12 > tiff.length) return undefined;
    if (view.getUint16(entry, little) === 0x0112 && view.getUint16(entry + 2, little) === 3) {
      const value = view.getUint16(entry + 8, little);
      return value >= 2 && value <= 8 ? value : undefined;
    }
  }
  return undefined;
}
