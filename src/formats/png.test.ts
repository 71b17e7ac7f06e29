import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Random } from '../lib/random';
import { toL, toRGB } from './image';
import type { RasterImage } from './image.types';
import { decodePng, writePng } from './png';
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

interface Expected {
  native?: { shape: number[]; dtype: string; sha256: string };
  native_error?: string;
}

const sha = (data: ArrayBufferView): string =>
  createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');

/** Palette images as their colours, with alpha only where the palette has any: how the expected values were made. */
function expanded(image: RasterImage, channels: number): ArrayBufferView {
  if (image.mode !== 'P') return image.data;
  const palette = image.palette as Uint8Array;
  const out = new Uint8Array(image.data.length * channels);
  image.data.forEach((index, i) => out.set(palette.subarray(index * 4, index * 4 + channels), i * channels));
  return out;
}

describe.each([OWN_FIXTURES, ...(hasSharedFixtures ? [SHARED_FIXTURES] : [])])('PNG files of %s', (root) => {
  const expected = readJson<Record<string, Expected>>(`${root}/png_good/expected.json`);

  it('valid files give exactly the native values', () => {
    let seen = 0;
    for (const [file, { native }] of Object.entries(expected)) {
      const path = `${root}/png_good/${file}`;
      if (native === undefined || !existsSync(path)) continue;
      seen++;
      const image = decodePng(readBytes(path), file);
      expect([image.height, image.width], file).toEqual(native.shape.slice(0, 2));
      expect(image.data instanceof Uint16Array ? 'uint16' : 'uint8', file).toBe(native.dtype);
      expect(sha(expanded(image, native.shape[2] ?? 1)), file).toBe(native.sha256);
    }
    expect(seen).toBeGreaterThanOrEqual(root === SHARED_FIXTURES ? 170 : 12);
  });

  it('corrupt files of the suite are refused', async () => {
    let seen = 0;
    for (const [file, { native_error: error }] of Object.entries(expected)) {
      const path = `${root}/png_good/${file}`;
      if (error === undefined || !existsSync(path)) continue;
      seen++;
      expect((await refusal(() => decodePng(readBytes(path), file), 200)).subject).toBe(file);
    }
    expect(seen).toBeGreaterThanOrEqual(root === SHARED_FIXTURES ? 14 : 3);
  });

  it('hostile files are refused within 200 ms', async () => {
    // Odd but harmless: the pixels are complete and the checksums right.
    const sound = ['text_chunk_xss.png', 'empty_ancillary_chunks.png'];
    const files = ['own', 'libpng_crashers'].flatMap((d) =>
      filesIn(`${root}/png_hostile/${d}`, /\.(png|svg)$/),
    );
    for (const path of files) {
      const name = basename(path);
      const start = performance.now();
      if (sound.includes(name)) decodePng(readBytes(path), name);
      else expect((await refusal(() => decodePng(readBytes(path), name))).subject, name).toBe(name);
      expect(performance.now() - start, name).toBeLessThan(200);
    }
    expect(files.length).toBeGreaterThan(10);
  });
});

it('says what is wrong', async () => {
  const hostile = `${OWN_FIXTURES}/png_hostile/own`;
  const code = async (file: string): Promise<string> =>
    (await refusal(() => decodePng(readBytes(`${hostile}/${file}`), file))).code;
  expect(await code('zero_bytes.png')).toBe('file-empty');
  expect(await code('truncated_half.png')).toBe('file-truncated');
  expect(await code('dims_2147483647.png')).toBe('image-too-large');
  expect(await code('bad_crc.png')).toBe('file-corrupt');
});

it.each(['L', 'P', 'RGB', 'RGBA'] as const)('writes %s and reads the same back', (mode) => {
  const random = new Random('png', mode);
  const [width, height] = [37, 23];
  const channels = { L: 1, P: 1, RGB: 3, RGBA: 4 }[mode];
  const data = Uint8Array.from({ length: width * height * channels }, () =>
    random.integer(0, mode === 'P' ? 2 : 255),
  );
  const palette = Uint8Array.of(0, 0, 0, 255, 255, 0, 0, 128, 0, 255, 0, 255);
  const image = decodePng(
    writePng({ width, height, mode, data, ...(mode === 'P' ? { palette } : {}) }),
    'x.png',
  );
  expect(image).toEqual({ width, height, mode, data, format: 'png', ...(mode === 'P' ? { palette } : {}) });
});

interface PreprocessCase {
  images: { file: string; mode: string; sha256: string; expected: { steps: string[]; sha256: string }[] }[];
}

describe.runIf(existsSync('../shared/cases/preprocess/case.json'))('cases/preprocess', () => {
  it('decodes and converts exactly as Pillow', () => {
    const { images } = readJson<PreprocessCase>('../shared/cases/preprocess/case.json');
    let conversions = 0;
    for (const { file, mode, sha256, expected } of images) {
      const image = decodePng(readBytes(`../shared/cases/preprocess/${file}`), file);
      expect(image.mode, file).toBe(mode);
      expect(sha(image.data), file).toBe(sha256);
      for (const { steps, sha256: want } of expected) {
        if (steps.length !== 1 || !/^convert (L|RGB)$/.test(steps[0] as string)) continue;
        conversions++;
        expect(sha(steps[0] === 'convert L' ? toL(image) : toRGB(image)), `${file} ${steps[0]}`).toBe(want);
      }
    }
    expect(conversions).toBeGreaterThan(20);
  });
});

it('converts 16-bit, palette and alpha', () => {
  const grey: RasterImage = {
    width: 2,
    height: 1,
    mode: 'I;16',
    data: Uint16Array.of(0x1234, 0xffff),
    format: 'png',
  };
  expect([...toL(grey)]).toEqual([0x12, 0xff]);
  expect([...toRGB(grey)]).toEqual([0x12, 0x12, 0x12, 0xff, 0xff, 0xff]);
  const palette = Uint8Array.of(10, 20, 30, 0);
  const p: RasterImage = {
    width: 2,
    height: 1,
    mode: 'P',
    data: Uint8Array.of(0, 7),
    palette,
    format: 'png',
  };
  expect([...toRGB(p)]).toEqual([10, 20, 30, 0, 0, 0]);
  expect([...toL(p)]).toEqual([18, 0]);
  const la: RasterImage = { width: 1, height: 1, mode: 'LA', data: Uint8Array.of(9, 0), format: 'png' };
  expect([[...toRGB(la)], [...toL(la)]]).toEqual([[9, 9, 9], [9]]);
});

it('fuzz', async () => {
  const files = [
    ...filesIn(`${OWN_FIXTURES}/png_good/pngsuite`, /png$/),
    ...filesIn(`${OWN_FIXTURES}/png_hostile/own`, /png$/),
  ];
  const result = await fuzz('png', files.map(readBytes), (b) => decodePng(b, 'fuzz.png'));
  expect(result.refused).toBeGreaterThan(500);
});
