import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Random } from '../lib/random';
import { decodeBmp } from './bmp';
import { decodeImage, toRGB } from './image';
import { setJpegWasm } from './jpeg';
import { useNodeJpegWasm } from './jpegWasmNode';
import { decodeTiff } from './tiff';
import {
  filesIn,
  fuzz,
  hasSharedFixtures,
  OWN_FIXTURES,
  readBytes,
  readJson,
  refusal,
  SHARED_FIXTURES,
} from './testSupport';

useNodeJpegWasm();
const IMAGES = `${OWN_FIXTURES}/images`;

interface Expected {
  mode: string;
  width: number;
  height: number;
  sha256: string;
  rgb_sha256?: string;
}

const sha = (data: ArrayBufferView): string =>
  createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');

const expected = readJson<Record<string, Expected>>(`${IMAGES}/expected.json`);

async function textRefusal(text: string): Promise<string> {
  return (await refusal(() => decodeImage(new TextEncoder().encode(text), 'x.png'))).code;
}

it('a decoder that cannot be loaded is said to be so, and tried again', async () => {
  setJpegWasm(() => Promise.reject(new Error('offline')));
  const bytes = readBytes(`${IMAGES}/grey.jpg`);
  expect((await refusal(() => decodeImage(bytes, 'grey.jpg'))).code).toBe('decoder-unavailable');
  useNodeJpegWasm();
  expect((await decodeImage(bytes, 'grey.jpg')).mode).toBe('L');
});

describe('pictures written by Pillow give what Pillow reads', () => {
  const exact = Object.keys(expected).filter((f) => /\.(bmp|tif)$/.test(f) && f !== 'jpeg.tif');

  it.each(exact)('%s', async (file) => {
    const want = expected[file] as Expected;
    const image = await decodeImage(readBytes(`${IMAGES}/${file}`), file);
    expect([image.mode, image.width, image.height]).toEqual([want.mode, want.width, want.height]);
    expect(sha(image.data)).toBe(want.sha256);
    if (want.rgb_sha256 !== undefined) expect(sha(toRGB(image))).toBe(want.rgb_sha256);
  });

  it.each(Object.keys(expected).filter((f) => f.endsWith('.jpg') && f !== 'cmyk.jpg'))(
    '%s within one level',
    async (file) => {
      const image = await decodeImage(readBytes(`${IMAGES}/${file}`), file);
      const pillow = await decodeImage(readBytes(`${IMAGES}/${file}.png`), file);
      expect([image.mode, image.width, image.height]).toEqual([pillow.mode, pillow.width, pillow.height]);
      let worst = 0;
      pillow.data.forEach((v, i) => (worst = Math.max(worst, Math.abs(v - (image.data[i] as number)))));
      expect(worst).toBeLessThanOrEqual(1);
      expect(image.exifOrientation).toBe(file === 'oriented.jpg' ? 6 : undefined);
    },
  );

  it('refuses what it cannot read by its name and reason', async () => {
    for (const file of ['cmyk.jpg', 'jpeg.tif']) {
      const error = await refusal(() => decodeImage(readBytes(`${IMAGES}/${file}`), file));
      expect([error.code, error.subject]).toEqual(['image-unsupported', file]);
    }
    expect(await textRefusal('')).toBe('file-empty');
    expect(await textRefusal('GIF89a....')).toBe('image-unsupported');
    expect(await textRefusal('<html></html>')).toBe('image-unsupported');
  });

  it.each(['rgb_q90_s0.jpg', 'grey.bmp', 'rgb_tiff_lzw.tif', 'bw_group4.tif', 'i16_raw.tif'])(
    '%s cut off is refused',
    async (file) => {
      const bytes = readBytes(`${IMAGES}/${file}`);
      // TIFF keeps its directory at the end or the start, so cuts at several places.
      for (const part of [0.3, 0.6, 0.9]) {
        const cut = bytes.slice(0, Math.floor(bytes.length * part));
        const error = await refusal(() => decodeImage(cut, file));
        expect(['file-truncated', 'file-corrupt']).toContain(error.code);
      }
    },
  );
});

/** A bitmap with a 40-byte header. */
function bmp(
  width: number,
  height: number,
  bits: number,
  compression: number,
  palette: number[],
  data: number[],
): Uint8Array<ArrayBuffer> {
  const start = 54 + palette.length;
  const out = new Uint8Array(start + data.length);
  const view = new DataView(out.buffer);
  out.set([0x42, 0x4d]);
  view.setUint32(2, out.length, true);
  view.setUint32(10, start, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, bits, true);
  view.setUint32(30, compression, true);
  view.setUint32(46, bits <= 8 ? palette.length / 4 : 0, true);
  out.set(palette, 54);
  out.set(data, start);
  return out;
}

describe('bitmaps', () => {
  const colours = [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0];

  it('reads 4-bit palettes, bottom row first', () => {
    const image = decodeBmp(bmp(3, 2, 4, 0, colours, [0x01, 0x20, 0, 0, 0x22, 0x10, 0, 0]), 'a.bmp');
    expect([image.mode, [...image.data]]).toEqual(['P', [2, 2, 1, 0, 1, 2]]);
    expect([...toRGB(image)].slice(0, 9)).toEqual([0, 0, 255, 0, 0, 255, 0, 255, 0]);
  });

  it('reads top-down rows', () => {
    const image = decodeBmp(bmp(2, -2, 8, 0, colours, [0, 1, 0, 0, 2, 2, 0, 0]), 'a.bmp');
    expect([...image.data]).toEqual([0, 1, 2, 2]);
  });

  it('reads RLE8 and RLE4 with literals, jumps and line ends', () => {
    // Row 0 (bottom): two 1s then a literal of 2, 0, 1; row 1: jump by 2, then three 2s.
    const rle8 = [2, 1, 0, 3, 2, 0, 1, 0, 0, 0, 0, 2, 2, 0, 3, 2, 0, 1];
    expect([...decodeBmp(bmp(5, 2, 8, 1, colours, rle8), 'a.bmp').data]).toEqual([
      0, 0, 2, 2, 2, 1, 1, 2, 0, 1,
    ]);
    const rle4 = [3, 0x12, 0, 3, 0x01, 0x20, 0, 0, 6, 0x21, 0, 1];
    expect([...decodeBmp(bmp(6, 2, 4, 2, colours, rle4), 'a.bmp').data]).toEqual([
      2, 1, 2, 1, 2, 1, 1, 2, 1, 0, 1, 2,
    ]);
  });

  it('reads 16-bit 555 and 565', () => {
    const image = decodeBmp(bmp(2, 1, 16, 0, [], [0x00, 0x7c, 0x1f, 0x00]), 'a.bmp');
    expect([image.mode, [...image.data]]).toEqual(['RGB', [255, 0, 0, 0, 0, 255]]);
    const masks = [0, 0xf8, 0, 0, 0xe0, 0x07, 0, 0, 0x1f, 0, 0, 0];
    const fields = decodeBmp(bmp(2, 1, 16, 3, masks, [0xe0, 0x07, 0x10, 0x84]), 'a.bmp');
    expect([...fields.data]).toEqual([0, 255, 0, 131, 129, 131]);
  });
});

/** A little-endian TIFF with one directory; every tag is SHORT or LONG with one value, or a list placed after it. */
function tiff(tags: readonly [number, number[]][], data: Uint8Array): Uint8Array<ArrayBuffer> {
  const dataAt = 8 + 2 + tags.length * 12 + 4 + 400;
  const out = new Uint8Array(dataAt + data.length);
  const view = new DataView(out.buffer);
  out.set([0x49, 0x49, 42, 0, 8, 0, 0, 0]);
  view.setUint16(8, tags.length, true);
  let extra = 8 + 2 + tags.length * 12 + 4;
  tags.forEach(([tag, values], i) => {
    const at = 10 + i * 12;
    view.setUint16(at, tag, true);
    view.setUint16(at + 2, 4, true);
    view.setUint32(at + 4, values.length, true);
    const absolute = values.map((v) => (tag === 273 || tag === 324 ? v + dataAt : v));
    if (values.length === 1) view.setUint32(at + 8, absolute[0] as number, true);
    else {
      view.setUint32(at + 8, extra, true);
      for (const v of absolute) {
        view.setUint32(extra, v, true);
        extra += 4;
      }
    }
  });
  out.set(data, dataAt);
  return out;
}

describe('TIFF layouts', () => {
  it('reads tiles that reach past the picture', () => {
    const random = new Random('tiles');
    const [width, height] = [20, 18];
    const want = Uint8Array.from({ length: width * height }, () => random.integer(0, 255));
    const data = new Uint8Array(4 * 256);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const tile = (y >> 4) * 2 + (x >> 4);
        data[tile * 256 + (y & 15) * 16 + (x & 15)] = want[y * width + x] as number;
      }
    }
    const file = tiff(
      [
        [256, [width]],
        [257, [height]],
        [258, [8]],
        [259, [1]],
        [262, [1]],
        [322, [16]],
        [323, [16]],
        [324, [0, 256, 512, 768]],
        [325, [256, 256, 256, 256]],
      ],
      data,
    );
    expect(decodeTiff(file, 'a.tif').data).toEqual(want);
  });

  it('reads separate planes', () => {
    const file = tiff(
      [
        [256, [2]],
        [257, [1]],
        [258, [8, 8, 8]],
        [259, [1]],
        [262, [2]],
        [273, [0, 2, 4]],
        [277, [3]],
        [278, [1]],
        [279, [2, 2, 2]],
        [284, [2]],
      ],
      Uint8Array.of(1, 2, 3, 4, 5, 6),
    );
    expect([...decodeTiff(file, 'a.tif').data]).toEqual([1, 3, 5, 2, 4, 6]);
  });

  it('turns "white is zero" round', () => {
    const file = tiff(
      [
        [256, [3]],
        [257, [1]],
        [258, [8]],
        [259, [1]],
        [262, [0]],
        [273, [0]],
        [279, [3]],
      ],
      Uint8Array.of(0, 100, 255),
    );
    expect([...decodeTiff(file, 'a.tif').data]).toEqual([255, 155, 0]);
  });
});

describe.runIf(hasSharedFixtures)('shared fixtures', () => {
  it('damaged TIFFs are refused, good ones read', async () => {
    const folder = `${SHARED_FIXTURES}/images_misc/pillow`;
    let refused = 0;
    for (const path of filesIn(folder, /\.(tif|sgi|gif|ico|png|jpg)$/)) {
      const start = performance.now();
      const damaged = /crash|bomb|broken\.png|broken_data|\.gif|\.ico|\.sgi/.test(path);
      if (damaged) {
        await refusal(() => decodeImage(readBytes(path), path));
        refused++;
      } else {
        const image = await decodeImage(readBytes(path), path);
        const orientation = /g4_orientation_(\d)/.exec(path)?.[1];
        if (orientation !== undefined && orientation !== '1')
          expect(image.exifOrientation).toBe(Number(orientation));
      }
      expect(performance.now() - start, path).toBeLessThan(1000);
    }
    expect(refused).toBeGreaterThan(6);
  });

  it('EXIF orientation is reported, the samples stay', async () => {
    for (let n = 1; n <= 8; n++) {
      const path = `${SHARED_FIXTURES}/images_misc/exif_orientation/Landscape_${n}.jpg`;
      const image = await decodeImage(readBytes(path), path);
      expect(image.exifOrientation).toBe(n === 1 ? undefined : n);
      expect(image.width > image.height).toBe(n < 5);
    }
  });
});

function seeds(pattern: RegExp): Uint8Array[] {
  return filesIn(IMAGES, pattern).map(readBytes);
}

describe('fuzz', () => {
  it('bmp', async () => {
    expect((await fuzz('bmp', seeds(/\.bmp$/), (b) => decodeBmp(b, 'fuzz.bmp'))).refused).toBeGreaterThan(
      300,
    );
  });

  it('tiff', async () => {
    expect((await fuzz('tiff', seeds(/\.tif$/), (b) => decodeTiff(b, 'fuzz.tif'))).refused).toBeGreaterThan(
      300,
    );
  });

  it('jpeg', async () => {
    expect((await fuzz('jpeg', seeds(/\.jpg$/), (b) => decodeImage(b, 'fuzz.jpg'))).refused).toBeGreaterThan(
      300,
    );
  });
});
