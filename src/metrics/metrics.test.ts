import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodePng } from '../formats/png';
import { toL } from '../formats/image';
import { Random } from '../lib/random';
import { caseMetrics, type CaseMetrics } from './caseMetrics';
import { describeMetric } from './definitions';
import { summarize } from './summary';
import { percentile, surfaceDistances, type Spacing } from './surface';

function mask(path: string): { data: Uint8Array; width: number; height: number } {
  const image = decodePng(readFileSync(path), path);
  return { data: toL(image).map((v) => (v > 0 ? 1 : 0)), width: image.width, height: image.height };
}

const close = (got: number, expected: number, tolerance: number, what: string): void => {
  const error = Math.abs(got - expected) / Math.max(1, Math.abs(expected));
  expect(error, `${what}: ${got}, expected ${expected}`).toBeLessThanOrEqual(tolerance);
};

describe('cases/metrics (medpy)', () => {
  const file = JSON.parse(readFileSync('e2e/cases/metrics/expected.json', 'utf8')) as {
    cases: (Record<string, number> & { i: number; spacing: Spacing })[];
  };
  const distanceKeys = ['hd', 'hd95', 'assd'];
  it.each(file.cases.map((c) => [c.i, c] as const))('pair %i', (i, expected) => {
    const stem = `e2e/cases/metrics/${String(i).padStart(2, '0')}`;
    const p = mask(`${stem}_pred.png`);
    const t = mask(`${stem}_gt.png`);
    const got = caseMetrics(p.data, t.data, t.width, t.height, 1, {
      convention: 'framework',
      binary: true,
      spacing: expected.spacing,
    });
    for (const key of [
      'dice',
      'iou',
      'sensitivity',
      'specificity',
      'precision',
      'pixelAccuracy',
      ...distanceKeys,
    ] as const) {
      if (typeof expected[key] === 'number') close(got[key as 'dice'], expected[key], 1e-9, key);
    }
  });
});

describe('definitions by hand', () => {
  const grid = (w: number, h: number, on: (x: number, y: number) => boolean): Uint8Array =>
    Uint8Array.from({ length: w * h }, (_, i) => (on(i % w, Math.floor(i / w)) ? 1 : 0));
  it('DeepMind: two pixels two apart, spacing (2, 1)', () => {
    const t = grid(128, 128, (x, y) => y === 50 && x === 70);
    const p = grid(128, 128, (x, y) => y === 50 && x === 72);
    const m = caseMetrics(p, t, 128, 128, 1, { convention: 'framework', binary: true, spacing: [2, 1] });
    expect(m.hd95).toBe(2);
    expect(m.assd).toBe(2);
    expect(m.dice).toBe(0);
  });
  it('MONAI surface distances of two columns', () => {
    const p = grid(10, 10, (x, y) => x === 1 && y >= 1 && y < 4);
    const t = grid(10, 10, (x, y) => x === 6 && y >= 5 && y < 8);
    const d = surfaceDistances(p, t, 10, 10);
    expect([...d.predictionToTruth].sort().map((v) => v.toFixed(8))).toEqual([
      '5.38516481',
      '5.83095189',
      '6.40312424',
    ]);
  });
  it('numpy percentile', () => {
    expect(percentile(Float64Array.of(1, 2, 3, 4), 95)).toBeCloseTo(3.85, 12);
  });
  it('empty masks under both conventions', () => {
    const none = new Uint8Array(100);
    const some = grid(10, 10, (x) => x < 3);
    const f = (p: Uint8Array, t: Uint8Array): CaseMetrics =>
      caseMetrics(p, t, 10, 10, 1, { convention: 'framework', binary: true });
    const m = (p: Uint8Array, t: Uint8Array): CaseMetrics =>
      caseMetrics(p, t, 10, 10, 1, { convention: 'monai', binary: true });
    expect(f(none, none)).toMatchObject({ dice: 0, iou: 1, hd95: 0, sensitivity: 0, specificity: 1 });
    expect(f(none, some)).toMatchObject({ dice: 0, hd95: 10 });
    expect(m(none, none).dice).toBeNaN();
    expect(m(some, none).dice).toBeNaN();
    expect(m(none, some)).toMatchObject({ dice: 0 });
    expect(m(none, some).hd95).toBeNaN();
    const multi = caseMetrics(none, none, 10, 10, 2, { convention: 'framework', binary: false });
    expect(multi.dice).toBe(1);
    expect(multi.hd95).toBeNaN();
  });
  it('distances equal brute force on random masks', () => {
    const r = new Random('metrics', 1);
    for (let n = 0; n < 20; n++) {
      const [w, h] = [r.integer(1, 12), r.integer(1, 12)];
      const a = grid(w, h, () => r.bool(0.4));
      const b = grid(w, h, () => r.bool(0.3));
      a[0] = 1;
      b[w * h - 1] = 1;
      const spacing: Spacing = [r.uniform(0.2, 2), r.uniform(0.2, 2)];
      const got = surfaceDistances(a, b, w, h, spacing);
      const edge = (m: Uint8Array): number[] =>
        [...m.keys()].filter((i) => {
          const [x, y] = [i % w, Math.floor(i / w)];
          const at = (xx: number, yy: number): boolean =>
            xx >= 0 && yy >= 0 && xx < w && yy < h && m[yy * w + xx] === 1;
          return m[i] === 1 && !(at(x - 1, y) && at(x + 1, y) && at(x, y - 1) && at(x, y + 1));
        });
      const ea = edge(a);
      const eb = edge(b);
      const distance = (i: number, j: number): number =>
        Math.hypot((Math.floor(i / w) - Math.floor(j / w)) * spacing[0], ((i % w) - (j % w)) * spacing[1]);
      const expected = ea.map((i) => Math.min(...eb.map((j) => distance(i, j))));
      expect(got.predictionToTruth.length).toBe(expected.length);
      got.predictionToTruth.forEach((d, i) => close(d, expected[i] as number, 1e-12, 'distance'));
    }
  });
  it('means do not depend on the order of cases, and leave out undefined values', () => {
    const r = new Random('order', 2);
    const cases = Array.from({ length: 9 }, () => [
      caseMetrics(
        grid(8, 8, () => r.bool(0.3)),
        grid(8, 8, () => r.bool(0.3)),
        8,
        8,
        1,
        { convention: 'monai', binary: true },
      ),
    ]);
    cases.push([
      caseMetrics(new Uint8Array(64), new Uint8Array(64), 8, 8, 1, { convention: 'monai', binary: true }),
    ]);
    const a = summarize(['lesion'], cases);
    const b = summarize(['lesion'], r.shuffled(cases));
    a.forEach((row, i) => close(row.mean, (b[i] as typeof row).mean, 1e-12, row.metric));
    expect(a.find((row) => row.metric === 'dice')?.n).toBe(9);
    expect(describeMetric('dice', 'monai')).toMatch(/MONAI's convention: n\/a/);
  });
});

const oracles = '../shared/oracles/metrics';
describe.runIf(existsSync(oracles))('oracles/metrics of ../shared (extra)', () => {
  interface Oracle {
    id: string;
    spacing_yx: Spacing | null;
    expected: {
      counts: Record<'tp' | 'fp' | 'fn' | 'tn', number>;
      medpy: Record<string, unknown>;
      monai: Record<string, unknown>;
    };
  }
  // Evaluated even where the folder is absent and the suite skipped.
  const text = existsSync(oracles) ? readFileSync(`${oracles}/expected.json`, 'utf8') : '{"cases":[]}';
  const { cases } = JSON.parse(text.replaceAll(/\bNaN\b|-?\bInfinity\b/g, 'null')) as { cases: Oracle[] };
  it.each(cases.map((c) => [c.id, c] as const))('%s', (id, { spacing_yx, expected }) => {
    const p = mask(`${oracles}/${id}_pred.png`);
    const t = mask(`${oracles}/${id}_gt.png`);
    const spacing = spacing_yx ?? [1, 1];
    const medpy = caseMetrics(p.data, t.data, t.width, t.height, 1, {
      convention: 'framework',
      binary: true,
      spacing,
    });
    const monai = caseMetrics(p.data, t.data, t.width, t.height, 1, {
      convention: 'monai',
      binary: true,
      spacing,
    });
    expect(medpy).toMatchObject(expected.counts);
    const bothSet = medpy.areaTruth > 0 && medpy.areaPrediction > 0;
    for (const [key, name] of [
      ['dice', 'dice'],
      ['iou', 'iou'],
      ['hd95', 'hd95'],
      ['assd', 'assd'],
      ['hd', 'hd'],
      ['precision', 'precision'],
      ['recall', 'sensitivity'],
    ] as const) {
      const reference = expected.medpy[key];
      if (bothSet && typeof reference === 'number') close(medpy[name], reference, 1e-9, `medpy ${key}`);
      const other = expected.monai[key];
      if (bothSet && typeof other === 'number') close(monai[name], other, 1e-4, `monai ${key}`);
    }
  });
});
