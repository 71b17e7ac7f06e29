import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import type { StudioConfig } from '../config/types';
import type { RasterImage } from '../formats/image.types';
import { writePng } from '../formats/png';
import { inspectSample } from './check';
import { buildDataset } from './dataset';
import { encodeMask, maskValues } from './decode';
import { inferLabels } from './labels';
import { createReader, folderReader } from './reader';
import { blockingProblems, buildReport } from './report';
import { makeSplit } from './split';
import type { Dataset, Folder, SampleFacts } from './types';

const config = (...overrides: string[]): StudioConfig =>
  resolveConfig(configFiles, 'train', overrides).config;
const base = config();

function folder(files: Record<string, Uint8Array>, name = 'set'): Folder {
  return {
    id: name,
    name,
    testOnly: false,
    files: Object.keys(files).map((path) => ({
      folder: name,
      path,
      size: files[path]?.length ?? 0,
      modified: 1,
    })),
    read: (path) => Promise.resolve(files[path] as Uint8Array),
  };
}
const grey = (w: number, h: number, at: (i: number) => number): Uint8Array =>
  writePng({ width: w, height: h, mode: 'L', data: Uint8Array.from({ length: w * h }, (_, i) => at(i)) });

async function inspect(d: Dataset, folders: readonly Folder[]): Promise<Map<string, SampleFacts>> {
  const read = folderReader(folders);
  const facts = new Map<string, SampleFacts>();
  for (const s of d.samples) facts.set(s.id, await inspectSample(s, read));
  return facts;
}

describe('inspection and report', () => {
  it('names every problem with its file', async () => {
    const image = grey(40, 30, (i) => i % 251);
    const files = {
      'images/ok.png': image,
      'masks/ok.png': grey(40, 30, (i) => (i < 300 ? 255 : 0)),
      'images/twin.png': image,
      'masks/twin.png': grey(40, 30, () => 0),
      'images/size.png': grey(40, 30, (i) => i % 100),
      'masks/size.png': grey(20, 15, (i) => (i < 9 ? 255 : 0)),
      'images/cut.png': image.slice(0, 60),
      'masks/cut.png': grey(40, 30, () => 255),
      'images/soft.png': grey(40, 30, (i) => i % 99),
      'masks/soft.png': grey(40, 30, (i) => i % 200),
    };
    const folders = [folder(files)];
    const d = await buildDataset(folders);
    const facts = await inspect(d, folders);
    const { labels, reason } = inferLabels(d, facts, base.data);
    const report = buildReport(d, facts, labels, null);
    expect(report.problems.map((p) => `${p.severity} ${p.kind} ${p.files[0]}`).sort()).toEqual([
      'error size-mismatch set/masks/size.png',
      'error unreadable set/images/cut.png',
      'warning duplicate set/images/ok.png',
      'warning empty-mask set/masks/twin.png',
      'warning full-mask set/masks/cut.png',
      'warning soft-mask set/masks/soft.png',
    ]);
    expect(report.problems.find((p) => p.kind === 'size-mismatch')?.message).toBe(
      'image 40 x 30, mask 20 x 15',
    );
    expect(reason).toMatch(/pixels above 127 are foreground/);
    expect(
      blockingProblems(report, new Set())
        .map((p) => p.kind)
        .sort(),
    ).toEqual(['size-mismatch', 'unreadable']);
    expect(blockingProblems(report, new Set(['set/images/size', 'set/images/cut']))).toEqual([]);
    const reader = createReader(folders, d.samples, labels);
    await expect(reader.prepared('set/images/size', 16)).rejects.toMatchObject({
      code: 'mask-size',
      subject: 'set/masks/size.png',
    });
    await expect(reader.prepared('set/images/cut', 16)).rejects.toMatchObject({
      subject: 'set/images/cut.png',
    });
  });
  it('reads 0/1 masks, label maps and colours', async () => {
    const read = async (
      mask: Uint8Array,
      ...overrides: string[]
    ): Promise<{ names: readonly string[]; labels: number[] }> => {
      const folders = [folder({ 'images/a.png': grey(4, 1, () => 9), 'masks/a.png': mask })];
      const d = await buildDataset(folders);
      const { labels } = inferLabels(d, await inspect(d, folders), config(...overrides).data);
      return {
        names: labels.names,
        labels: [...(await createReader(folders, d.samples, labels).original('set/images/a')).mask],
      };
    };
    expect(await read(grey(4, 1, (i) => (i === 2 ? 1 : 0)))).toEqual({
      names: ['background', 'lesion'],
      labels: [0, 0, 1, 0],
    });
    expect((await read(grey(4, 1, (i) => i))).labels).toEqual([0, 1, 2, 3]);
    expect((await read(grey(4, 1, (i) => [0, 5, 5, 9][i] as number))).labels).toEqual([0, 1, 1, 2]);
    const rgb = writePng({
      width: 4,
      height: 1,
      mode: 'RGB',
      data: Uint8Array.of(0, 0, 0, 0, 255, 0, 255, 0, 0, 0, 0, 255),
    });
    expect(await read(rgb)).toMatchObject({
      names: ['background', 'benign', 'malignant', 'colour 0,0,255'],
      labels: [0, 1, 2, 3],
    });
    const clean = writePng({
      width: 4,
      height: 1,
      mode: 'RGB',
      data: Uint8Array.of(0, 0, 0, 0, 255, 0, 255, 0, 0, 0, 0, 0),
    });
    expect(await read(clean)).toEqual({ names: ['background', 'benign', 'malignant'], labels: [0, 1, 2, 0] });
    const p = writePng({
      width: 4,
      height: 1,
      mode: 'P',
      data: Uint8Array.of(0, 1, 2, 0),
      palette: Uint8Array.of(0, 0, 0, 255, 255, 0, 0, 255, 0, 0, 255, 255),
    });
    expect((await read(p)).labels).toEqual([0, 1, 2, 0]);
  });
  it('grey labels spread over 0..255 are read as one only with a word about it', async () => {
    const folders = [
      folder({
        'images/a.png': grey(4, 1, () => 9),
        'masks/a.png': grey(4, 1, (i) => [0, 128, 255, 0][i] as number),
      }),
    ];
    const d = await buildDataset(folders);
    const facts = await inspect(d, folders);
    const auto = inferLabels(d, facts, base.data);
    expect(auto.labels.encoding).toEqual({ kind: 'threshold', threshold: 127 });
    expect(auto.reason).toContain('values 0, 128, 255');
    expect(auto.reason).toContain('data.label_mode=values');
    expect(inferLabels(d, facts, config('data.label_mode=binary').data).reason).not.toContain('label_mode');
    const { labels } = inferLabels(d, facts, config('data.label_mode=values').data);
    expect([...(await createReader(folders, d.samples, labels).original('set/images/a')).mask]).toEqual([
      0, 1, 2, 0,
    ]);
  });
  it('nothing of a mask becomes background in silence', async () => {
    const look = async (
      masks: readonly Uint8Array[],
      ...overrides: string[]
    ): Promise<{ reason: string; set: number[]; problems: string[] }> => {
      const files: Record<string, Uint8Array> = {};
      masks.forEach((mask, n) => {
        files[`images/${n}.png`] = grey(40, 30, (i) => (i * 7 + n) % 251);
        files[`masks/${n}.png`] = mask;
      });
      const folders = [folder(files)];
      const d = await buildDataset(folders);
      const facts = await inspect(d, folders);
      const { labels, reason } = inferLabels(d, facts, config(...overrides).data);
      const reader = createReader(folders, d.samples, labels);
      const originals = await Promise.all(d.samples.map((s) => reader.original(s.id)));
      return {
        reason,
        set: originals.map((o) => o.mask.reduce((n, v) => n + (v > 0 ? 1 : 0), 0)),
        problems: buildReport(d, facts, labels, null).problems.map((p) => `${p.severity} ${p.message}`),
      };
    };
    const rgb = (at: (i: number) => readonly number[]): Uint8Array =>
      writePng({
        width: 40,
        height: 30,
        mode: 'RGB',
        data: Uint8Array.from({ length: 3600 }, (_, i) => at(Math.floor(i / 3))[i % 3] as number),
      });
    const white = (i: number): number => (i < 400 ? 255 : 0);
    // A few tinted pixels do not make a colour label (the white ones would be lost).
    const tinted = await look([rgb((i) => (i === 7 ? [250, 255, 252] : [white(i), white(i), white(i)]))]);
    expect(tinted).toMatchObject({ set: [400], problems: [] });
    // 0/1 among 0/255: an error that names the file's values.
    const mixed = await look([grey(40, 30, white), grey(40, 30, (i) => (i < 300 ? 1 : 0))]);
    expect(mixed.problems).toEqual([
      'error the mask holds only values up to the threshold 127 (1): all of it would be background',
    ]);
    const grades = await look([grey(40, 30, (i) => (i < 400 ? 255 : i < 600 ? 127 : 0))]);
    expect(grades.problems).toEqual([
      'warning 200 pixels of value 127 are not above the threshold 127: read as background',
    ]);
    // Beside soft masks the same is a sliver of an edge: a look if all of it goes, nothing if some stays.
    const soft = grey(40, 30, (i) => Math.min(255, Math.floor(i / 4)));
    const slivers = await look([
      soft,
      grey(40, 30, (i) => (i < 9 ? 60 : 0)),
      grey(40, 30, (i) => (i < 9 ? 60 : i < 400 ? 255 : 0)),
    ]);
    expect(slivers.problems).toEqual([
      'warning 256 grey values: soft edges; a threshold decides',
      'warning the mask holds only values up to the threshold 127 (60): all of it would be background',
    ]);
    // BUS-UCLM as one lesion class: red has a luma of 76.
    const coloured = [
      rgb((i) => (i < 400 ? [0, 255, 0] : [0, 0, 0])),
      rgb((i) => (i < 300 ? [255, 0, 0] : [0, 0, 0])),
    ];
    expect(await look(coloured, 'data.label_mode=binary')).toMatchObject({ set: [400, 300], problems: [] });
    // A black and white palette says grey, whichever comes first.
    const inverted = writePng({
      width: 40,
      height: 30,
      mode: 'P',
      data: Uint8Array.from({ length: 1200 }, (_, i) => (i < 400 ? 0 : 1)),
      palette: Uint8Array.of(255, 255, 255, 255, 0, 0, 0, 255),
    });
    expect((await look([inverted, grey(40, 30, white)])).set).toEqual([400, 400]);
  });
  it('16-bit label maps keep their values; 16-bit masks of 0 and 65535 are masks', () => {
    const image = (top: number): RasterImage => ({
      width: 4,
      height: 1,
      mode: 'I;16',
      data: Uint16Array.of(0, 1, top, top),
      format: 'png',
    });
    expect([...maskValues(image(2))]).toEqual([0, 1, 2, 2]);
    expect([...maskValues(image(65535))]).toEqual([0, 0, 255, 255]);
    const binary = {
      names: ['background', 'lesion'],
      encoding: { kind: 'threshold', threshold: 0 },
    } as const;
    expect([...encodeMask(image(2), binary, null).labels]).toEqual([0, 1, 1, 1]);
  });
  it('masks of one sample that contradict each other are reported', async () => {
    const folders = [
      folder({
        'a.png': grey(4, 1, () => 9),
        'a_mask_1.png': grey(4, 1, (i) => (i < 2 ? 1 : 0)),
        'a_mask_2.png': grey(4, 1, (i) => (i === 1 || i === 2 ? 2 : 0)),
      }),
    ];
    const d = await buildDataset(folders);
    const [facts] = (await inspect(d, folders)).values();
    expect(facts?.problems.map((p) => [p.kind, p.message.slice(0, 8)])).toEqual([
      ['overlapping-labels', '1 pixels'],
    ]);
  });
  it('label names of dataset.json are used, those that no mask holds too', async () => {
    const folders = [
      folder({
        'imagesTr/a_0000.png': grey(4, 1, () => 9),
        'labelsTr/a.png': grey(4, 1, (i) => (i === 1 ? 2 : 0)),
        'dataset.json': new TextEncoder().encode('{"labels": {"background": 0, "cyst": 1, "tumour": 2}}'),
      }),
    ];
    const d = await buildDataset(folders);
    const { labels } = inferLabels(d, await inspect(d, folders), base.data);
    expect(labels.names).toEqual(['background', 'cyst', 'tumour']);
    expect(labels.encoding).toEqual({ kind: 'values', values: { '0': 0, '1': 1, '2': 2 } });
  });
  it('class mode: the lesion gets the class of its image', async () => {
    const files = {
      'benign/benign (1).png': grey(4, 1, () => 3),
      'benign/benign (1)_mask.png': grey(4, 1, (i) => (i > 1 ? 255 : 0)),
      'malignant/malignant (1).png': grey(4, 1, () => 4),
      'malignant/malignant (1)_mask.png': grey(4, 1, () => 255),
    };
    const folders = [folder(files)];
    const d = await buildDataset(folders);
    const { labels } = inferLabels(d, await inspect(d, folders), config('data.label_mode=class').data);
    const reader = createReader(folders, d.samples, labels);
    expect(labels.names).toEqual(['background', 'benign', 'malignant']);
    expect([...(await reader.original('set/benign/benign (1)')).mask]).toEqual([0, 0, 1, 1]);
    expect([...(await reader.original('set/malignant/malignant (1)')).mask]).toEqual([2, 2, 2, 2]);
  });
});

describe.runIf(existsSync('../shared/data'))('real data of ../shared (extra)', () => {
  const disk = (root: string, name: string): Folder => {
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
  };
  it('BUSI: the picture in two classes is found, normals are empty as expected, masks are binary', async () => {
    const folders = [disk('../shared/data/busi', 'BUSI')];
    const d = await buildDataset(folders);
    const facts = await inspect(d, folders);
    const { labels } = inferLabels(d, facts, base.data);
    const report = buildReport(d, facts, labels, makeSplit(d, base.data, { facts }));
    expect(labels.encoding).toEqual({ kind: 'threshold', threshold: 127 });
    const twins = report.problems.filter((p) => p.kind === 'duplicate-across-classes');
    expect(twins.map((p) => p.files.map((f) => f.split('/').at(-1)))).toEqual([
      ['benign (433).png', 'malignant (145).png'],
    ]);
    expect(report.problems.filter((p) => p.severity === 'error')).toEqual([]);
    expect(report.problems.filter((p) => p.kind === 'empty-mask').every((p) => p.severity === 'info')).toBe(
      true,
    );
  });
  it('nuclei: soft masks are recognised', async () => {
    const folders = [disk('../shared/data/dsb2018_96', 'dsb')];
    const d = await buildDataset(folders);
    const facts = await inspect(d, folders);
    expect(buildReport(d, facts, null, null).softMasks).toBeGreaterThan(0);
    expect(inferLabels(d, facts, base.data).labels.encoding).toEqual({ kind: 'threshold', threshold: 127 });
  });
});
