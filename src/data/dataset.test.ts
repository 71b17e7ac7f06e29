import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { buildDataset } from './dataset';
import type { Dataset, Folder } from './types';

function folder(paths: readonly string[], tables: Record<string, string> = {}, name = 'set'): Folder {
  const all = [...paths, ...Object.keys(tables)];
  return {
    id: `id-${name}`,
    name,
    testOnly: false,
    files: all.map((path) => ({ folder: `id-${name}`, path, size: 1, modified: 1 })),
    read: (path) => Promise.resolve(new TextEncoder().encode(tables[path] ?? '')),
  };
}
const pairs = (d: Dataset): Record<string, string[]> =>
  Object.fromEntries(d.samples.map((s) => [s.image.path, s.masks.map((m) => m.path)]));

describe('pairing with no configuration', () => {
  it('BUSI: several masks, class from folder', async () => {
    const root = 'Dataset_BUSI_with_GT/benign/';
    const d = await buildDataset([
      folder([
        `${root}benign (4).png`,
        `${root}benign (4)_mask.png`,
        `${root}benign (4)_mask_1.png`,
        'Dataset_BUSI_with_GT/normal/normal (1).png',
        'Dataset_BUSI_with_GT/normal/normal (1)_mask.png',
      ]),
    ]);
    expect(pairs(d)).toEqual({
      [`${root}benign (4).png`]: [`${root}benign (4)_mask.png`, `${root}benign (4)_mask_1.png`],
      'Dataset_BUSI_with_GT/normal/normal (1).png': ['Dataset_BUSI_with_GT/normal/normal (1)_mask.png'],
    });
    expect(d.samples.map((s) => s.className)).toEqual(['benign', 'normal']);
    expect(d.folders[0]?.convention).toBe('BUSI');
  });
  it('BUSI flat: class from the name', async () => {
    const d = await buildDataset([folder(['malignant (1).png', 'malignant (1)_mask.png'])]);
    expect(d.samples[0]).toMatchObject({ className: 'malignant', id: 'set/malignant (1)' });
  });
  it('BUS-BRA: names differ, patients and folds from csv', async () => {
    const d = await buildDataset([
      folder(
        [
          'BUSBRA/Images/bus_0001-l.png',
          'BUSBRA/Masks/mask_0001-l.png',
          'BUSBRA/Images/bus_0001-r.png',
          'BUSBRA/Masks/mask_0001-r.png',
          'BUSBRA/Images/bus_0002-s.png',
          'BUSBRA/Masks/mask_0002-s.png',
        ],
        {
          'BUSBRA/bus_data.csv':
            'ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX\nbus_0001-l,1,x,benign,2,d,1,1,left,"[1,2,3,4]"\nbus_0001-r,1,x,benign,2,d,1,1,right,"[1,2,3,4]"\nbus_0002-s,2,x,malignant,4,d,1,1,single,"[1,2,3,4]"\n',
          'BUSBRA/5-fold-cv.csv':
            'ID,Pathology,kFold,valid_1,valid_2\nbus_0001-l,benign,1,NaN,1\nbus_0001-r,benign,1,,1\nbus_0002-s,malignant,2,0.0,NaN\n',
        },
      ),
    ]);
    expect(d.samples.map((s) => [s.masks[0]?.path.split('/').at(-1), s.group, s.className])).toEqual([
      ['mask_0001-l.png', '1', 'benign'],
      ['mask_0001-r.png', '1', 'benign'],
      ['mask_0002-s.png', '2', 'malignant'],
    ]);
    expect(d.foldTables).toEqual([
      {
        file: '5-fold-cv.csv',
        folds: 2,
        assignment: {
          'set/BUSBRA/Images/bus_0001-l': ['test', 'train'],
          'set/BUSBRA/Images/bus_0001-r': ['test', 'train'],
          'set/BUSBRA/Images/bus_0002-s': ['val', 'test'],
        },
      },
    ]);
    expect(d.folders[0]?.convention).toBe('BUS-BRA');
  });
  it('BUS-UCLM: patient is the name before the underscore, class from INFO.csv', async () => {
    const d = await buildDataset([
      folder(['images/ALWI_000.png', 'masks/ALWI_000.png', 'images/ALWI_001.png', 'masks/ALWI_001.png'], {
        'INFO.csv':
          'Image;Resolution;Label;Doppler;Marks;Combined\nALWI_000.png;768x1024;Benign;0;0;0\nALWI_001.png;768x1024;Normal;0;0;0\n',
      }),
    ]);
    expect(d.samples.map((s) => [s.group, s.className])).toEqual([
      ['ALWI', 'benign'],
      ['ALWI', 'normal'],
    ]);
    expect(d.folders[0]?.convention).toBe('BUS-UCLM');
  });
  it('BUID: bmp with tif, the derived lesion picture is left out', async () => {
    const d = await buildDataset([
      folder([
        'Benign/1 Benign Image.bmp',
        'Benign/1 Benign Mask.tif',
        'Benign/1 Benign Lesion.bmp',
        'Malignant/2 Malignant Image.bmp',
        'Malignant/2 Malignant Mask.tif',
      ]),
    ]);
    expect(pairs(d)).toEqual({
      'Benign/1 Benign Image.bmp': ['Benign/1 Benign Mask.tif'],
      'Malignant/2 Malignant Image.bmp': ['Malignant/2 Malignant Mask.tif'],
    });
    expect(d.samples[1]?.className).toBe('malignant');
    expect(d.folders[0]?.convention).toBe('BUID');
  });
  it.each([
    [
      'TinyUSFM',
      [
        'train/img/a.png',
        'train/label/a.png',
        'val/img/a.png',
        'val/label/a.png',
        'test/img/b.png',
        'test/label/b.png',
      ],
      ['test', 'train', 'val'],
    ],
    [
      'USFM',
      [
        'training_set/image/a.png',
        'training_set/mask/a.png',
        'val_set/image/a.png',
        'val_set/mask/a.png',
        'test_set/image/b.png',
        'test_set/mask/b.png',
      ],
      ['test', 'train', 'val'],
    ],
    [
      'nnU-Net',
      ['imagesTr/c1_0000.png', 'labelsTr/c1.png', 'imagesTs/c2_0000.png', 'labelsTs/c2.png'],
      ['train', 'test'],
    ],
    ['images/ with masks/', ['images/a.jpg', 'masks/a.png', 'images/b.jpg', 'masks/b.png'], [null, null]],
    ['images/ with masks/', ['images/a.png', 'masks/0/a.png'], [null]],
    [
      'image/ with mask/',
      ['trainval-image/0001.jpg', 'trainval-mask/0001.jpg', 'test-image/0001.jpg', 'test-mask/0001.jpg'],
      ['test', 'train'],
    ],
  ])('%s', async (convention, paths, splits) => {
    const d = await buildDataset([folder(paths)]);
    expect(d.samples.map((s) => s.ownSplit)).toEqual(splits);
    expect(d.problems).toEqual([]);
    expect(d.folders[0]?.convention).toBe(convention);
    for (const s of d.samples) expect(s.masks).toHaveLength(1);
    for (const s of d.samples)
      expect(s.masks[0]?.path.split('/')[0]?.slice(-2)).toBe(
        s.image.path.split('/')[0]?.slice(-2) === 'ge' ? 'sk' : s.masks[0]?.path.split('/')[0]?.slice(-2),
      );
  });
  it.each(['_mask', '_gt', '_seg', '_label', '_annotation', '-mask', '_mask_2', '_GT'])(
    'suffix %s',
    async (suffix) => {
      const d = await buildDataset([folder(['x/a b.png', `x/a b${suffix}.png`])]);
      expect(pairs(d)).toEqual({ 'x/a b.png': [`x/a b${suffix}.png`] });
    },
  );
  it('suffix inside masks/, and names that only look like masks', async () => {
    const d = await buildDataset([
      folder(['images/a.png', 'masks/a_mask.png', 'images/my_label.png', 'masks/my_label.png']),
    ]);
    expect(pairs(d)).toEqual({
      'images/a.png': ['masks/a_mask.png'],
      'images/my_label.png': ['masks/my_label.png'],
    });
  });
  it('NFC and NFD twins pair', async () => {
    const nfd = '갑상선_01'.normalize('NFD');
    const d = await buildDataset([folder([`images/${nfd}.png`, 'masks/갑상선_01.png'])]);
    expect(d.samples).toHaveLength(1);
    expect(d.samples[0]?.id).toBe('set/images/갑상선_01');
    expect(d.samples[0]?.image.path).toBe(`images/${nfd}.png`); // read under the name the file system has
  });
  it('junk is ignored, orphans and other formats are listed with their file', async () => {
    const d = await buildDataset([
      folder([
        '.DS_Store',
        'images/._a.png',
        '__MACOSX/images/a.png',
        'images/Thumbs.db',
        'images/a.png',
        'masks/a.png',
        'images/b.png',
        'masks/c.png',
        'x.dcm',
        'notes.txt',
      ]),
    ]);
    expect(d.samples).toHaveLength(1);
    expect(d.ignoredFiles).toBe(5);
    expect(d.problems.map((p) => [p.kind, p.files])).toEqual([
      ['image-without-mask', ['set/images/b.png']],
      ['mask-without-image', ['set/masks/c.png']],
      ['unsupported-format', ['set/x.dcm']],
    ]);
  });
  it('several folders form one data set, each keeping its name', async () => {
    const d = await buildDataset([
      folder(['images/a.png', 'masks/a.png'], {}, 'BUSI'),
      { ...folder(['images/a.png', 'masks/a.png'], {}, 'BUSBRA'), testOnly: true },
    ]);
    expect(d.samples.map((s) => [s.id, s.testOnly])).toEqual([
      ['BUSI/images/a', false],
      ['BUSBRA/images/a', true],
    ]);
    expect(d.name).toBe('BUSI + BUSBRA');
  });
  it.each([
    ['pictures above masks/', ['a.png', 'masks/a.png', 'b.png', 'masks/b_mask.png']],
    ['a folder whose name says nothing', ['US/a.png', 'masks/a.png', 'US/b.png', 'masks/b.png']],
    [
      'ISIC: names that say it in part',
      ['ISIC_Data/a.jpg', 'ISIC_GroundTruth/a_segmentation.png', 'ISIC_Data/b.jpg', 'ISIC_GroundTruth/b.png'],
    ],
    ['upper and lower case', ['images/A.PNG', 'masks/a.png', 'images/B.png', 'masks/B_Mask.PNG']],
    [
      'split first and split last',
      ['images/train/a.png', 'labels/train/a.png', 'images/val/a.png', 'labels/val/a.png'],
    ],
  ])('%s', async (_, paths) => {
    const d = await buildDataset([folder(paths)]);
    expect(d.problems).toEqual([]);
    expect(d.samples).toHaveLength(2);
    for (const s of d.samples) {
      const letter = (path: string): string =>
        ((path.split('/').at(-1) as string)[0] as string).toLowerCase();
      expect(s.masks.map((m) => letter(m.path))).toEqual([letter(s.image.path)]);
      expect(s.masks[0]?.path.includes('val')).toBe(s.image.path.includes('val'));
    }
  });
  it('DSB 2018: one folder per case, every mask of it', async () => {
    const d = await buildDataset([
      folder([
        't/x1/images/x1.png',
        't/x1/masks/q.png',
        't/x1/masks/r.png',
        't/x2/images/x2.png',
        't/x2/masks/s.png',
      ]),
    ]);
    expect(d.samples.map((s) => s.masks.length)).toEqual([2, 1]);
  });
  it('a test mask is never given to a training picture', async () => {
    const d = await buildDataset([
      folder(['trainval-image/0001.jpg', 'test-mask/0001.jpg', 'test-image/0002.jpg', 'test-mask/0002.jpg']),
    ]);
    expect(pairs(d)).toEqual({ 'test-image/0002.jpg': ['test-mask/0002.jpg'] });
    expect(d.problems.map((p) => p.kind)).toEqual(['image-without-mask', 'mask-without-image']);
  });
  it('NFC and NFD files side by side each keep their own mask; case twins too, with a warning', async () => {
    const [c, e] = ['é'.normalize('NFC'), 'é'.normalize('NFD')];
    const d = await buildDataset([
      folder([c, e, 'A', 'a'].flatMap((n) => [`images/${n}.png`, `masks/${n}_mask.png`])),
    ]);
    expect(d.samples).toHaveLength(4);
    expect(new Set(d.samples.map((s) => s.id)).size).toBe(4);
    for (const s of d.samples)
      expect(s.masks.map((m) => m.path)).toEqual([
        s.image.path.replace('images/', 'masks/').replace('.png', '_mask.png'),
      ]);
    expect(d.problems.map((p) => p.kind)).toEqual(['case-collision']);
  });
  it('two images that fit one mask: the first is taken and it is said', async () => {
    const d = await buildDataset([folder(['images/a.jpg', 'images/a.png', 'masks/a.png'])]);
    expect(d.problems.map((p) => p.kind)).toEqual(['ambiguous-pair', 'image-without-mask']);
  });
  it('BUS-BRA without its tables: the case number is the patient', async () => {
    const d = await buildDataset([
      folder(['l', 'r'].flatMap((side) => [`Images/bus_0012-${side}.png`, `Masks/mask_0012-${side}.png`])),
    ]);
    expect(d.folders[0]?.convention).toBe('BUS-BRA');
    expect(d.samples.map((s) => s.group)).toEqual(['12', '12']);
  });
  it('BUS-UCLM partitions without INFO.csv: patients by name', async () => {
    const names = ['train/ALWI_000', 'train/ANAT_001', 'test/COPE_000'];
    const d = await buildDataset([
      folder(
        names.flatMap((n) => [
          `partitions/${n.replace('/', '/images/')}.png`,
          `partitions/${n.replace('/', '/masks/')}.png`,
        ]),
      ),
    ]);
    expect(d.folders[0]?.convention).toBe('BUS-UCLM');
    expect(d.samples.map((s) => [s.group, s.ownSplit])).toEqual([
      ['COPE', 'test'],
      ['ALWI', 'train'],
      ['ANAT', 'train'],
    ]);
  });
  it('TN3K folds: numbers of trainval-image; its test pictures are test in every fold', async () => {
    const d = await buildDataset([
      folder(
        [
          'trainval-image/0000.jpg',
          'trainval-mask/0000.jpg',
          'trainval-image/0001.jpg',
          'trainval-mask/0001.jpg',
          'test-image/0000.jpg',
          'test-mask/0000.jpg',
        ],
        {
          'tn3k-trainval-fold0.json': '{"train": [0], "val": [1]}',
          'tn3k-trainval-fold1.json': '{"train": [1], "val": [0]}',
        },
      ),
    ]);
    expect(d.foldTables).toEqual([
      {
        file: 'tn3k-trainval-fold*.json',
        folds: 2,
        assignment: {
          'set/test-image/0000': ['test', 'test'],
          'set/trainval-image/0000': ['train', 'val'],
          'set/trainval-image/0001': ['val', 'train'],
        },
      },
    ]);
  });
  it.each([
    ['version 2', '{"labels": {"background": 0, "benign": 1, "malignant": 2}}'],
    ['version 1', '{"labels": {"0": "background", "1": "benign", "2": "malignant"}}'],
  ])('nnU-Net dataset.json gives label names (%s)', async (_, json) => {
    const d = await buildDataset([
      folder(['imagesTr/c_0000.png', 'labelsTr/c.png'], { 'dataset.json': json }),
    ]);
    expect(d.labelNames).toEqual({ '0': 'background', '1': 'benign', '2': 'malignant' });
  });
  it('a broken or foreign json is no obstacle', async () => {
    const d = await buildDataset([
      folder(['imagesTr/c_0000.png', 'labelsTr/c.png'], { 'dataset.json': '{"labels', 'other.json': '[' }),
    ]);
    expect(d.samples).toHaveLength(1);
    expect(d.labelNames).toBeUndefined();
    expect(d.problems.map((p) => [p.kind, p.files])).toEqual([['unreadable', ['set/dataset.json']]]);
  });
  it('folders of the same name stay apart', async () => {
    const d = await buildDataset([
      folder(['a.png', 'a_mask.png'], {}, 'images'),
      { ...folder(['a.png', 'a_mask.png'], {}, 'images'), id: 'other' },
    ]);
    expect(d.samples.map((s) => [s.id, s.folder])).toEqual([
      ['images/a', 'id-images'],
      ['images (2)/a', 'other'],
    ]);
  });
  it('the order of enumeration changes nothing', async () => {
    const paths = ['images/b (2).png', 'images/b (10).png', 'masks/b (10).png', 'masks/b (2).png'];
    const a = await buildDataset([folder(paths)]);
    expect(await buildDataset([{ ...folder(paths), files: folder(paths).files.toReversed() }])).toEqual(a);
    expect(a.samples.map((s) => s.id)).toEqual(['set/images/b (2)', 'set/images/b (10)']);
  });
  it('10,000 pairs in well under the 30 s', async () => {
    const paths: string[] = [];
    for (let i = 0; i < 10_000; i++) paths.push(`images/case_${i}.png`, `masks/case_${i}.png`);
    const start = performance.now();
    const d = await buildDataset([folder(paths)]);
    expect(d.samples).toHaveLength(10_000);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

function disk(root: string, name: string): Folder {
  const walk = (dir: string): string[] =>
    readdirSync(`${root}/${dir}`, { withFileTypes: true }).flatMap((e) =>
      e.isDirectory() ? walk(`${dir}${e.name}/`) : [`${dir}${e.name}`],
    );
  return {
    id: name,
    name,
    testOnly: false,
    files: walk('').map((path) => ({
      folder: name,
      path,
      size: statSync(`${root}/${path}`).size,
      modified: 1,
    })),
    read: (path) => Promise.resolve(new Uint8Array(readFileSync(`${root}/${path}`))),
  };
}
describe.runIf(existsSync('../shared/data'))('real folders of ../shared (extra)', () => {
  it.each([
    ['busbra', 100],
    ['busi', 63],
    ['dsb2018_96', 150],
  ] as const)('%s: all %i pairs, nothing left over', async (name, count) => {
    const d = await buildDataset([disk(`../shared/data/${name}`, name)]);
    expect(d.samples).toHaveLength(count);
    expect(d.problems).toEqual([]);
    if (name === 'busbra') expect(new Set(d.samples.map((s) => s.group)).size).toBeLessThan(100);
    if (name === 'busi') expect(d.samples.filter((s) => s.masks.length > 1)).toHaveLength(10);
  });
});
