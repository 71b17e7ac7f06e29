/**
 * @file What a JPEG says about itself before its pixels are decoded. Imports formats only.
 * Reference: ITU-T T.81 annex B (markers), JFIF, EXIF 2.32 (APP1).
 */
import { exifOrientation } from './exif';
import { imageCorrupt, imageTruncated } from './imageErrors';

export interface JpegHeader {
  readonly width: number;
  readonly height: number;
  /** 1 grey, 3 colour, 4 CMYK. */
  readonly components: number;
  readonly precision: number;
  /** Start-of-frame marker: 0xc0 baseline, 0xc1 extended, 0xc2 progressive. */
  readonly frame: number;
  readonly orientation: number | undefined;
}

const EXIF = [0x45, 0x78, 0x69, 0x66, 0, 0];

/** Position of the next marker at or after `at`: 0xff followed by neither 0 nor a restart marker nor another 0xff. */
function nextMarker(bytes: Uint8Array, at: number): number {
  for (let i = bytes.indexOf(0xff, at); i >= 0 && i + 1 < bytes.length; i = bytes.indexOf(0xff, i + 1)) {
    const code = bytes[i + 1] as number;
    if (code !== 0 && code !== 0xff && (code < 0xd0 || code > 0xd7)) return i;
  }
  return -1;
}

function isFrame(code: number): boolean {
  return code >= 0xc0 && code <= 0xcf && code !== 0xc4 && code !== 0xc8 && code !== 0xcc;
}

/** Walks all segments to the end marker. @throws UserError 'file-truncated' if that is missing, 'file-corrupt'. */
export function readJpegHeader(bytes: Uint8Array, name: string): JpegHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let frame: Omit<JpegHeader, 'orientation'> | undefined;
  let orientation: number | undefined;
  for (let at = 2; ;) {
    at = nextMarker(bytes, at);
    if (at < 0) throw imageTruncated(name);
    const code = bytes[at + 1] as number;
    if (code === 0xd9) break;
    if (code === 0x01 || code === 0xd8) {
      at += 2;
      continue;
    }
    if (at + 4 > bytes.length) throw imageTruncated(name);
    const length = view.getUint16(at + 2);
    const end = at + 2 + length;
    if (length < 2) throw imageCorrupt(name, 'a segment has an invalid length');
    if (end > bytes.length) throw imageTruncated(name);
    if (isFrame(code)) {
      if (length < 8) throw imageCorrupt(name, 'its header is too short');
      if (frame !== undefined) throw imageCorrupt(name, 'it has two headers');
      frame = {
        frame: code,
        precision: view.getUint8(at + 4),
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        components: view.getUint8(at + 9),
      };
    } else if (code === 0xe1 && orientation === undefined && EXIF.every((b, i) => bytes[at + 4 + i] === b)) {
      orientation = exifOrientation(bytes.subarray(at + 10, end));
    } else if (code === 0xda && frame === undefined) {
      throw imageCorrupt(name, 'its header is missing');
    }
    at = end;
  }
  if (frame === undefined) throw imageCorrupt(name, 'it holds no picture');
  return { ...frame, orientation };
}
