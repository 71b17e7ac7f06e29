import { describe, expect, it } from 'vitest';
import { pairMasks } from './pairMasks';

const names = (a: string[], b: string[]): string[] =>
  pairMasks(a, b).pairs.map((p) => `${p.first.files.join('+')} = ${p.second.files.join('+')}`);

describe('masks of two folders', () => {
  it('pairs equal names in any subfolder and format', () => {
    expect(names(['Data/images/a.png', 'Data/images/b.png'], ['b.tif', 'a.bmp'])).toEqual([
      'Data/images/a.png = a.bmp',
      'Data/images/b.png = b.tif',
    ]);
  });
  it('pairs suffixes, prefixes and the names of the breast sets', () => {
    expect(names(['a.png'], ['a_mask.png'])).toEqual(['a.png = a_mask.png']);
    expect(names(['bus_0001-l.png'], ['mask_0001-l.png'])).toEqual(['bus_0001-l.png = mask_0001-l.png']);
    expect(names(['1 Benign Image.png'], ['1 Benign Mask.tif'])).toEqual([
      '1 Benign Image.png = 1 Benign Mask.tif',
    ]);
  });
  it('takes the masks beside an image, not the image, and joins them', () => {
    expect(
      names(['benign (1).png'], ['benign (1).png', 'benign (1)_mask.png', 'benign (1)_mask_1.png']),
    ).toEqual(['benign (1).png = benign (1)_mask.png+benign (1)_mask_1.png']);
  });
  it('guesses nothing where two files could be meant', () => {
    const found = pairMasks(['p/a.png'], ['x/a.png', 'y/a.png']);
    expect(found.pairs).toEqual([]);
    expect(found.alone).toEqual(['p/a.png', 'x/a.png', 'y/a.png']);
  });
  it('tells equal names apart by their folders', () => {
    expect(names(['x/a.png', 'y/a.png'], ['x/a.png', 'y/a.png'])).toEqual([
      'x/a.png = x/a.png',
      'y/a.png = y/a.png',
    ]);
  });
});
