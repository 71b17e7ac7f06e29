/**
 * @file The tables' checks pass on the cases the project carries, and fail on damaged ones.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { verifyTables, type CaseFolder } from './verifyTables';

/** A folder of e2e/cases; `change` edits one file on the way. */
function folder(name: string, change: Readonly<Record<string, (text: string) => string>> = {}): CaseFolder {
  const path = `e2e/cases/${name}`;
  return {
    names: readdirSync(path),
    async read(file) {
      const bytes = new Uint8Array(readFileSync(`${path}/${file}`));
      const edit = change[file];
      return edit === undefined
        ? bytes
        : new TextEncoder().encode(edit(new TextDecoder().decode(bytes))); // prettier-ignore
    },
  };
}

describe.each([
  ['schedules', 6],
  ['metrics', 6],
  ['preprocess', 50],
])('%s', (name, atLeast) => {
  it('passes', async () => {
    const rows = (await verifyTables(folder(name))) ?? [];
    expect(rows.length).toBeGreaterThanOrEqual(atLeast);
    expect(rows.filter((r) => !r.pass)).toEqual([]);
  });
});

it('sees other numbers', async () => {
  const failed = async (...args: Parameters<typeof folder>): Promise<string[]> =>
    ((await verifyTables(folder(...args))) ?? []).filter((r) => !r.pass).map((r) => r.quantity);
  const lr = await failed('schedules', { 'expected.json': (t) => t.replace('9.56e-05', '9.57e-05') });
  expect(lr).toEqual(['warmupPoly warmup=5 epochs=50 base=0.0001 end=1e-06 power=1.0']);
  const shape = await failed('schedules', { 'expected.json': (t) => t.replace('"backbone.cls_token": [\n1', '"backbone.cls_token": [\n2') }); // prettier-ignore
  expect(shape).toEqual(['tinyusfm parameters (216 tensors)']);
  const dice = await failed('metrics', { 'expected.json': (t) => t.replace(/"dice": ?0\.\d/, '"dice": 0.01') }); // prettier-ignore
  expect(dice.map((q) => q.split(' ')[0])).toEqual(['dice']);
  const hash = await failed('preprocess', { 'case.json': (t) => t.replace('8a8143a6', '8a8143a7') });
  expect(hash).toEqual(['00_bilinear_32x32.png: resize 32 32 BILINEAR']);
});

it('leaves other cases to others', async () => {
  expect(await verifyTables(folder('tinyusfm-full'))).toBeNull();
});
