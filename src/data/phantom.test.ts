import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodePng, writePng } from '../formats/png';
import { Random } from '../lib/random';
import { phantomFolder, phantomImage } from './phantom';
import { embed, maskOf, type Lesion } from './phantomScene';
import { insonify } from './phantomSpeckle';

describe('phantom', () => {
  it('is a folder like any other, the same for the same seed', async () => {
    const a = phantomFolder({ count: 12, size: 64, seed: 3 });
    const b = phantomFolder({ count: 12, size: 64, seed: 3 });
    const c = phantomFolder({ count: 12, size: 64, seed: 4 });
    expect(a.files).toHaveLength(24);
    const path = a.files[0]?.path as string;
    expect(await a.read(path)).toEqual(await b.read(path));
    expect(await a.read(path)).not.toEqual(await c.read(c.files[0]?.path as string));
    await expect(a.read('images/none.png')).rejects.toMatchObject({ code: 'file-unreadable' });
  });
  it('has exact masks: empty for normals, a lesion elsewhere, darker than its surroundings on average', () => {
    let inside = 0;
    let outside = 0;
    for (let i = 0; i < 30; i++) {
      const kind = i % 3 === 0 ? 'normal' : i % 3 === 1 ? 'benign' : 'malignant';
      const { image, mask } = phantomImage(96, kind, [5, i, i]);
      const set = mask.reduce((n, v) => n + (v > 0 ? 1 : 0), 0);
      expect(new Set(mask).size).toBe(kind === 'normal' ? 1 : 2);
      if (kind === 'normal') continue;
      expect(set / mask.length).toBeGreaterThan(0.005);
      expect(set / mask.length).toBeLessThan(0.3);
      mask.forEach((m, p) => {
        if (m > 0) inside += (image[p] as number) / set;
        else outside += (image[p] as number) / (mask.length - set);
      });
    }
    expect(inside).toBeLessThan(outside * 0.85);
  });
  it('the mask file is the mask of the picture, whichever is read', async () => {
    const folder = phantomFolder({ count: 6, size: 48, seed: 9 });
    for (const file of folder.files.filter((f) => f.path.startsWith('masks/'))) {
      const [, index, patient, kind] = /phantom_(\d+)_p(\d+)_(\w+)\.png/.exec(file.path) as unknown as [
        string,
        string,
        string,
        'benign' | 'malignant' | 'normal',
      ];
      const { mask } = phantomImage(48, kind, [9, Number(patient), Number(index) - 1]);
      expect(decodePng(await folder.read(file.path), '').data).toEqual(mask);
    }
  });
  it('speckle has the size of the point spread function: neighbours agree, distant pixels do not', () => {
    const size = 128;
    const image = insonify(new Float64Array(size * size).fill(1), size, new Random('speckle', 1));
    const middle = (dx: number): [number[], number[]] => {
      const [a, b]: [number[], number[]] = [[], []];
      for (let y = 40; y < 88; y++)
        for (let x = 30; x < 90; x++) {
          a.push(image[y * size + x] as number);
          b.push(image[y * size + x + dx] as number);
        }
      return [a, b];
    };
    const correlation = ([a, b]: [number[], number[]]): number => {
      const mean = (v: number[]): number => v.reduce((s, x) => s + x, 0) / v.length;
      const [ma, mb] = [mean(a), mean(b)];
      const cov = a.reduce((s, x, i) => s + (x - ma) * ((b[i] as number) - mb), 0);
      const norm = (v: number[], m: number): number => Math.sqrt(v.reduce((s, x) => s + (x - m) ** 2, 0));
      return cov / (norm(a, ma) * norm(b, mb));
    };
    expect(correlation(middle(1))).toBeGreaterThan(0.5);
    expect(Math.abs(correlation(middle(8)))).toBeLessThan(0.15);
  });
  it('casts shadows behind malignant lesions and enhancement behind cysts', () => {
    const size = 96;
    const [even, flat] = [new Float64Array(size * size).fill(1), new Random('behind', 1)];
    const lesion: Lesion = {
      kind: 'malignant',
      cx: 0.5,
      cy: 0.4,
      rx: 0.15,
      ry: 0.15,
      tilt: 0,
      outline: () => 1,
      echo: 0.03,
      behind: 0.2,
    };
    const below = (l: Lesion): number => {
      const echo = even.slice();
      embed(echo, maskOf(l, size), l, size, flat);
      return echo[Math.round(0.7 * size) * size + size / 2] as number;
    };
    expect(below(lesion)).toBeLessThan(0.6);
    expect(below({ ...lesion, kind: 'benign', behind: 2.5 })).toBeGreaterThan(1.5);
  });
  it('is quick: a 128 px picture in under 10 ms, with room for a busy machine', async () => {
    const folder = phantomFolder({ count: 20, size: 128, seed: 1 });
    const images = folder.files.slice(0, 20);
    const start = performance.now();
    for (const f of images) decodePng(await folder.read(f.path), f.path);
    const ms = (performance.now() - start) / 20;
    if (process.env['PHANTOM_SHEET'] !== undefined) {
      const sheet = new Uint8Array(128 * 5 * 128 * 4);
      for (let n = 0; n < 20; n++) {
        const data = decodePng(await folder.read(images[n]?.path as string), '').data as Uint8Array;
        for (let y = 0; y < 128; y++)
          sheet.set(
            data.subarray(y * 128, y * 128 + 128),
            (Math.floor(n / 5) * 128 + y) * 640 + (n % 5) * 128,
          );
      }
      writeFileSync(
        process.env['PHANTOM_SHEET'],
        writePng({ width: 640, height: 512, mode: 'L', data: sheet }),
      );
    }
    expect(ms).toBeLessThan(80);
  });
});
