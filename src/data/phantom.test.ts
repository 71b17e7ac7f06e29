import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodePng, writePng } from '../formats/png';
import { phantomFolder, phantomImage } from './phantom';

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
  it('is quick: a 128 px picture in well under a quarter of a second, on a busy machine too', async () => {
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
    expect(ms).toBeLessThan(250);
  });
});
