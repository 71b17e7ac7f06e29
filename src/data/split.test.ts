import { describe, expect, it } from 'vitest';
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import type { StudioConfig } from '../config/types';
import { buildDataset } from './dataset';
import { phantomFolder } from './phantom';
import { makeSplit } from './split';
import type { Dataset, SampleFacts } from './types';

const config = (...overrides: string[]): StudioConfig =>
  resolveConfig(configFiles, 'train', overrides).config;
const base = config();

describe('splits', () => {
  const make = async (n = 60): Promise<Dataset> =>
    buildDataset([phantomFolder({ count: n, size: 32, seed: 2 })]);
  it('ratio: seeded, disjoint, complete, stratified, patients together', async () => {
    const d = await make(200);
    const a = makeSplit(d, base.data);
    expect(makeSplit(d, base.data)).toEqual(a);
    expect(makeSplit(d, config('data.split.seed=1').data).train).not.toEqual(a.train);
    const all = [...a.train, ...a.val, ...a.test];
    expect(new Set(all).size).toBe(200);
    expect(a.train.length).toBeGreaterThan(130);
    expect(a.train.length).toBeLessThan(150);
    const part = (id: string): string =>
      a.train.includes(id) ? 'train' : a.val.includes(id) ? 'val' : 'test';
    for (const s of d.samples)
      for (const t of d.samples) if (s.group === t.group) expect(part(s.id)).toBe(part(t.id));
    for (const c of d.classNames) {
      const own = d.samples.filter((s) => s.className === c);
      expect(own.filter((s) => a.val.includes(s.id)).length / own.length).toBeCloseTo(0.15, 0.5);
    }
    const shuffled: Dataset = { ...d, samples: d.samples.slice().reverse() };
    expect(new Set(makeSplit(shuffled, base.data).val)).toEqual(new Set(a.val));
  });
  it('equal pictures stay on one side; empty masks are left out on request', async () => {
    const d = await make(40);
    const facts = new Map(
      d.samples.map((s, i) => [
        s.id,
        { imageHash: i % 20 === 0 ? 'x' : s.id, foreground: i % 4 === 0 ? 0 : 0.1 } as SampleFacts,
      ]),
    );
    const split = makeSplit(d, config('data.split.group=false').data, { facts });
    const twins = [d.samples[0]?.id as string, d.samples[20]?.id as string];
    for (const part of [split.train, split.val, split.test])
      expect(twins.filter((t) => part.includes(t)).length % 2).toBe(0);
    const filtered = makeSplit(d, config('data.filter_empty_masks=true').data, { facts });
    expect(filtered.train.length + filtered.val.length + filtered.test.length).toBe(30);
  });
  it('small sets keep a validation case; impossible ones say why; test-only folders are only tested', async () => {
    const d = await make(3);
    expect(makeSplit(d, base.data).val.length).toBeGreaterThan(0);
    expect(() => makeSplit({ ...d, samples: d.samples.slice(0, 1) }, base.data)).toThrowError(
      /too few samples/,
    );
    expect(() => makeSplit(d, config('data.split.method=folds').data)).toThrowError(/no fold file/);
    const external: Dataset = {
      ...d,
      samples: [...d.samples, ...d.samples.map((s) => ({ ...s, id: `x${s.id}`, testOnly: true }))],
    };
    expect(makeSplit(external, base.data).test.filter((id) => id.startsWith('x'))).toHaveLength(3);
  });
  it('official folds and the folder split', async () => {
    const d = await make(8);
    const ids = d.samples.map((s) => s.id);
    const table = {
      file: 'f.csv',
      folds: 2,
      assignment: Object.fromEntries(
        ids.map((id, i) => [
          id,
          i < 5
            ? (['train', 'test'] as const)
            : i < 7
              ? (['val', 'train'] as const)
              : (['test', 'val'] as const),
        ]),
      ),
    };
    const split = makeSplit({ ...d, foldTables: [table] }, config('data.split.method=folds').data);
    expect([split.train.length, split.val.length, split.test.length]).toEqual([5, 2, 1]);
    const own: Dataset = {
      ...d,
      samples: d.samples.map((s, i) => ({ ...s, ownSplit: i < 6 ? 'train' : 'test' })),
    };
    const byFolder = makeSplit(own, base.data);
    expect(byFolder.method).toBe('folder');
    expect(byFolder.test).toHaveLength(2);
    expect(byFolder.val.length).toBeGreaterThan(0);
  });
  it('auto: a lone test folder is not a split; a mixed set says that it goes by ratio', async () => {
    const d = await make(12);
    const all = (own: (i: number) => 'train' | 'test' | null): Dataset => ({
      ...d,
      samples: d.samples.map((s, i) => ({ ...s, ownSplit: own(i) })),
    });
    const lone = makeSplit(
      all(() => 'test'),
      base.data,
    );
    expect(lone.method).toBe('ratio');
    expect(lone.train.length).toBeGreaterThan(0);
    const mixed = makeSplit(
      all((i) => (i < 6 ? 'train' : null)),
      base.data,
    );
    expect(mixed.method).toBe('ratio');
    expect(mixed.notes).toContain(
      '6 of 12 samples lie in train, val or test folders; their own split is not used',
    );
    expect(() =>
      makeSplit(
        all(() => 'test'),
        config('data.split.method=folder').data,
      ),
    ).toThrowError(/no sample is left to train on/);
  });
  it('a fold without validation takes it from train and leaves test alone', async () => {
    const d = await make(12);
    const assignment = Object.fromEntries(
      d.samples.map((s, i) => [s.id, [i < 9 ? ('train' as const) : ('test' as const)]]),
    );
    const folds = { ...d, foldTables: [{ file: 'f.csv', folds: 1, assignment }] };
    const split = makeSplit(folds, config('data.split.method=folds').data);
    expect(split.val.length).toBeGreaterThan(0);
    expect(split.train.length + split.val.length).toBe(9);
    expect(split.test).toEqual(d.samples.slice(9).map((s) => s.id));
  });
  it.each([
    ['one image per patient', 10_000],
    ['three patients of thousands of frames', 3],
  ])('10,000 samples split without holding the page: %s', (_, patients) => {
    const samples = Array.from({ length: 10_000 }, (__, i) => ({
      id: `s/${i}`,
      folder: 's',
      folderName: 's',
      image: { folder: 's', path: `${i}.png`, size: 1, modified: 1 },
      masks: [],
      className: null,
      group: String(i % patients),
      ownSplit: null,
      testOnly: false,
    }));
    const d: Dataset = {
      id: '',
      name: '',
      folders: [],
      samples,
      classNames: [],
      foldTables: [],
      problems: [],
      ignoredFiles: 0,
    };
    const facts = new Map(samples.map((s) => [s.id, { imageHash: s.id, foreground: 0.1 } as SampleFacts]));
    const start = performance.now();
    const split = makeSplit(d, base.data, { facts });
    // About 50 ms alone; room for a busy machine.
    expect(performance.now() - start).toBeLessThan(600);
    expect(split.train.length + split.val.length + split.test.length).toBe(10_000);
  });
});
