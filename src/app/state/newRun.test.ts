import { describe, expect, it } from 'vitest';
import type { StudioConfig } from '../../config/types';
import { newRunRecord, timestamp } from './newRun';

const config = {
  model: { name: 'tinyusfm_nano', checkpoint: null },
  data: { name: 'folder', root: null, test_root: null, exclude: [] },
  training: { num_epochs: 3 },
} as unknown as StudioConfig;
const folder = (name: string, testOnly = false, kind: 'handle' | 'phantom' = 'handle') => ({
  id: name,
  name,
  testOnly,
  kind,
  access: 'ok' as const,
  fileCount: 1,
  convention: null,
});
const data = {
  dataset: { id: 'd', name: 'BUSI' } as never,
  labels: { names: ['background', 'lesion'], encoding: { kind: 'threshold' as const, threshold: 0 } },
  split: { method: 'ratio' as const, seed: 0, train: ['a'], val: [], test: [], notes: [] },
  splitError: null,
  status: 'ready' as const,
  folders: [folder('BUSI'), folder('UCLM', true)],
  excluded: new Set(['BUSI/x']),
  report: null,
};

describe('newRunRecord', () => {
  it('stores the configuration as it is used', () => {
    const weights = { weightsId: 'w-1', fileName: 'TinyUSFM.pth', bytes: 1 };
    const run = newRunRecord({ config, error: null }, data, weights, new Date(2026, 10, 23, 15, 4, 5));
    expect(run.name).toBe('tinyusfm_nano BUSI 20261123_150405');
    expect(run.config.data).toMatchObject({ root: ['BUSI'], test_root: ['UCLM'], exclude: ['BUSI/x'] });
    expect(run.config.model.checkpoint).toBe('TinyUSFM.pth');
    expect(run.initial).toEqual({ kind: 'library', weightsId: 'w-1' });
  });

  it('calls phantom data phantom', () => {
    const phantom = { ...data, folders: [folder('Phantom', false, 'phantom')] };
    const run = newRunRecord({ config, error: null }, phantom, null);
    expect(run.config.data).toMatchObject({ name: 'phantom', root: null });
  });

  it('says why it cannot start', () => {
    const start = (change: object, c: StudioConfig | null = config) =>
      newRunRecord({ config: c, error: null }, { ...data, ...change }, null);
    expect(() => start({ dataset: null })).toThrow(/no data/);
    expect(() => start({ status: 'inspecting' })).toThrow(/still being checked/);
    expect(() => start({ split: null, splitError: { code: 'split', message: 'too few cases' } })).toThrow(
      /too few cases/,
    );
    expect(() => start({}, null)).toThrow(/configuration/);
  });

  it('stamps local time', () => {
    expect(timestamp(new Date(2026, 0, 2, 3, 4, 5))).toBe('20260102_030405');
  });
});
