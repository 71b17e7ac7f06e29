import { describe, expect, it } from 'vitest';
import { Random } from '../lib/random';
import { fuzz, readBytes, OWN_FIXTURES, refusal } from './testSupport';
import { openZip, safeZipPath } from './zip';
import { writeZip, ZipWriter } from './zipWriter';
import { concatBytes } from '../lib/bytes';

const text = (s: string): Uint8Array => new TextEncoder().encode(s);

/** Replaces every occurrence of some bytes by others of the same length. */
function patch(bytes: Uint8Array, from: Uint8Array, to: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = bytes.slice() as Uint8Array<ArrayBuffer>;
  for (let i = 0; i + from.length <= out.length; i++) {
    if (from.every((b, k) => out[i + k] === b)) out.set(to, i);
  }
  return out;
}

/** Sets the general purpose flags of all headers. */
function setFlags(bytes: Uint8Array, flags: number): Uint8Array<ArrayBuffer> {
  const out = bytes.slice() as Uint8Array<ArrayBuffer>;
  const view = new DataView(out.buffer);
  for (let i = 0; i + 10 < out.length; i++) {
    const magic = view.getUint32(i, true);
    if (magic === 0x04034b50) view.setUint16(i + 6, flags, true);
    if (magic === 0x02014b50) view.setUint16(i + 8, flags, true);
  }
  return out;
}

describe('round trip', () => {
  const random = new Random('zip');
  const noise = Uint8Array.from({ length: 5000 }, () => random.integer(0, 255));
  const files = [
    { name: '양성/benign (1).png', data: noise },
    { name: 'notes.txt', data: text('hello '.repeat(1000)), compress: true },
    { name: 'empty', data: new Uint8Array() },
  ];

  it.each([1, 64])('stored and deflated, aligned to %d', (align) => {
    const zip = openZip(writeZip(files, align), 'a.zip');
    expect(zip.entries.map((e) => e.name)).toEqual(files.map((f) => f.name));
    for (const [i, entry] of zip.entries.entries()) expect(zip.read(entry)).toEqual(files[i]?.data);
    expect(zip.entries.every((e) => e.method === 8 || e.dataStart % align === 0)).toBe(true);
  });

  it('more entries than 16 bits hold (zip64)', () => {
    const writer = new ZipWriter();
    const parts: Uint8Array[] = [];
    for (let i = 0; i < 70_000; i++) parts.push(...writer.add({ name: `${i}`, data: text(`${i}`) }));
    const zip = openZip(concatBytes([...parts, writer.finish()]), 'many.zip');
    expect(zip.entries.length).toBe(70_000);
    expect(new TextDecoder().decode(zip.read(zip.entries[69_999] as (typeof zip.entries)[0]))).toBe('69999');
  });

  it('sizes in the zip64 field', () => {
    const zip = openZip(readBytes(`${OWN_FIXTURES}/zip/zip64.zip`), 'zip64.zip');
    expect(zip.entries.map((e) => e.name)).toEqual(['a.txt', 'b/c.txt']);
    expect(new TextDecoder().decode(zip.read(zip.entries[1] as (typeof zip.entries)[0]))).toBe('second file');
  });
});

it('reads names in CP949 and unflagged UTF-8', () => {
  const base = writeZip([{ name: 'XXXX.png', data: text('x') }]);
  const korean = setFlags(patch(base, text('XXXX'), Uint8Array.of(0xbe, 0xe7, 0xbc, 0xba)), 0);
  expect(openZip(korean, 'a.zip').entries[0]?.name).toBe('양성.png');
  const utf8 = setFlags(writeZip([{ name: '악성.png', data: text('x') }]), 0);
  expect(openZip(utf8, 'a.zip').entries[0]?.name).toBe('악성.png');
});

describe('hostile archives', () => {
  it('bomb', async () => {
    const bomb = writeZip([{ name: 'zeros', data: new Uint8Array(30e6), compress: true }]);
    expect((await refusal(() => openZip(bomb, 'bomb.zip'))).code).toBe('zip-too-large');
    const small = writeZip([{ name: 'a', data: new Uint8Array(900_000) }]);
    expect((await refusal(() => openZip(small, 'a.zip', { maxTotalBytes: 1000 }))).code).toBe(
      'zip-too-large',
    );
  });

  it('lies about the size', async () => {
    const file = writeZip([{ name: 'a', data: new Uint8Array(50_000), compress: true }]);
    const lie = patch(file, Uint8Array.of(0x50, 0xc3, 0, 0), Uint8Array.of(0x10, 0, 0, 0));
    const zip = openZip(lie, 'lie.zip');
    expect((await refusal(() => zip.read(zip.entries[0] as (typeof zip.entries)[0]))).code).toBe(
      'file-corrupt',
    );
  });

  it('encrypted, truncated, prefixed, empty, overlapping', async () => {
    const good = writeZip([
      { name: 'a', data: text('aaaa') },
      { name: 'b', data: text('bbbb') },
    ]);
    expect((await refusal(() => openZip(setFlags(good, 1), 'x.zip'))).code).toBe('zip-encrypted');
    expect((await refusal(() => openZip(good.slice(0, -5), 'x.zip'))).code).toBe('file-corrupt');
    expect((await refusal(() => openZip(concatBytes([text('MZ'), good]), 'x.zip'))).code).toBe(
      'file-corrupt',
    );
    expect((await refusal(() => openZip(new Uint8Array(), 'x.zip'))).code).toBe('file-empty');
    const same = writeZip([
      { name: 'a', data: text('aaaa') },
      { name: 'a', data: text('bbbb') },
    ]);
    const view = new DataView(same.buffer);
    let last = 0;
    for (let i = 0; i + 4 < same.length; i++) if (view.getUint32(i, true) === 0x02014b50) last = i;
    view.setUint32(last + 42, 0, true);
    expect((await refusal(() => openZip(same, 'x.zip'))).message).toContain('overlap');
  });

  it('names that lead elsewhere are skipped, repeated ones too', () => {
    const names = [
      '../up',
      '/root',
      'C:\\x',
      'a/../../b',
      'a//b',
      'ok/a.png',
      'ok/a.png',
      `${'d/'.repeat(40)}f`,
    ];
    const zip = openZip(writeZip(names.map((name) => ({ name, data: text('x') }))), 'a.zip');
    expect(zip.entries.map((e) => e.name)).toEqual(['ok/a.png']);
    expect(zip.skipped.length).toBe(7);
    expect(safeZipPath('a\\b.png')).toBe('a/b.png');
  });

  it('a million claimed entries are refused at once', async () => {
    const good = writeZip([{ name: 'a', data: text('aaaa') }]);
    new DataView(good.buffer).setUint16(good.length - 12, 0xffff, true);
    await refusal(() => openZip(good, 'x.zip'), 100);
  });
});

it('fuzz', async () => {
  const seeds = [
    writeZip(
      [
        { name: 'a/b.txt', data: text('hello hello hello'), compress: true },
        { name: 'c', data: text('stored') },
      ],
      16,
    ),
    readBytes(`${OWN_FIXTURES}/zip/zip64.zip`),
  ];
  const result = await fuzz('zip', seeds, (b) => {
    const zip = openZip(b, 'fuzz.zip');
    for (const e of zip.entries) zip.read(e);
  });
  expect(result.refused).toBeGreaterThan(500);
});
