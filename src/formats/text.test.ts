import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { csvRecords, parseCsv, stringifyCsv } from './csv';
import {
  filesIn,
  fuzz,
  hasSharedFixtures,
  OWN_FIXTURES,
  readBytes,
  refusal,
  SHARED_FIXTURES,
} from './testSupport';
import { dumpYaml, parseYaml, type YamlValue } from './yaml';

describe('yaml', () => {
  it('reads a configuration with anchors and merge keys', () => {
    const source =
      'defaults:\n  - model: tinyusfm\n  - _self_\nbase: &b {lr: 3e-4, on: true}\na:\n  <<: *b\n  on: false\nb: [*b, ~, "no", no, 1.5]\n';
    expect(parseYaml(source, 'train.yaml')).toEqual({
      defaults: [{ model: 'tinyusfm' }, '_self_'],
      base: { lr: 3e-4, on: true },
      a: { lr: 3e-4, on: false },
      b: [{ lr: 3e-4, on: true }, null, 'no', 'no', 1.5],
    });
    expect(parseYaml('', 'empty.yaml')).toBeNull();
    expect(parseYaml(new TextEncoder().encode('\ufeffa: 1'), 'bom.yaml')).toEqual({ a: 1 });
  });

  it.each([OWN_FIXTURES, ...(hasSharedFixtures ? [SHARED_FIXTURES] : [])])(
    'hostile files of %s',
    async (root) => {
      const harmless = ['xss.yaml'];
      for (const path of filesIn(`${root}/yaml_hostile`, /\.yaml$/)) {
        const name = basename(path);
        if (harmless.includes(name)) parseYaml(readBytes(path), name);
        else expect((await refusal(() => parseYaml(readBytes(path), name))).subject, name).toBe(name);
        expect(({} as { polluted?: unknown }).polluted, name).toBeUndefined();
      }
    },
  );

  it('limits size, depth and expansion', async () => {
    await refusal(() => parseYaml(`a: ${'x'.repeat(300_000)}`, 'a'));
    await refusal(() => parseYaml('['.repeat(40) + ']'.repeat(40), 'a'));
    const wide = `a: &a [${'1,'.repeat(500)}1]\nb: [${'*a,'.repeat(30)}*a]\n`;
    expect((await refusal(() => parseYaml(wide, 'a'))).message).toContain('10000');
    expect((await refusal(() => parseYaml('x:\n  y: 9007199254740993', 'a.yaml'))).message).toContain('x.y');
    expect((await refusal(() => parseYaml('a: [1', 'a.yaml'))).message).toContain('line');
  });

  it('writes what PyYAML reads back with the same types', () => {
    const value: YamlValue = {
      lr: 1e-7,
      big: 1e21,
      n: 3,
      yes: 'yes',
      off: 'off',
      date: '2026-11-23',
      under: '1_000',
      exp: '1e3',
      none: null,
      flag: true,
      ko: '한글',
      empty: '',
      list: [1, 'a: b', []],
      nested: { '0': 'x' },
      multi: 'a\nb',
    };
    const text = dumpYaml(value);
    expect(parseYaml(text, 'x')).toEqual(value);
    // Checked with PyYAML 6.0.3: safe_load of this text gives the same types.
    expect(text).toMatchInlineSnapshot(`
      "lr: 1.e-7
      big: 1.e+21
      'n': 3
      'yes': 'yes'
      'off': 'off'
      date: '2026-11-23'
      under: '1_000'
      exp: '1e3'
      none: null
      flag: true
      ko: 한글
      empty: ''
      list:
        - 1
        - 'a: b'
        - []
      nested:
        '0': x
      multi: |-
        a
        b
      "
    `);
  });

  it('fuzz', async () => {
    const seeds = filesIn(`${OWN_FIXTURES}/yaml_hostile`, /\.yaml$/).map(readBytes);
    seeds.push(
      new TextEncoder().encode(
        'defaults:\n  - model: x\nbase: &b {lr: 3e-4}\na:\n  <<: *b\n  c: |\n    text\n  d: >-\n    more\n',
      ),
    );
    expect((await fuzz('yaml', seeds, (b) => parseYaml(b, 'fuzz.yaml'))).refused).toBeGreaterThan(300);
  });
});

describe('csv', () => {
  it('parses quotes, line ends, a byte order mark and CP949', () => {
    const source = '\ufeffname,note\r\n"a ""b""","x,\r\ny"\n\nlast,\n';
    expect(parseCsv(source, 'a.csv')).toEqual([
      ['name', 'note'],
      ['a "b"', 'x,\r\ny'],
      ['last', ''],
    ]);
    expect(parseCsv('a;b', 'a.csv', ';')).toEqual([['a', 'b']]);
    expect(parseCsv('a,', 'a.csv')).toEqual([['a', '']]);
    expect(parseCsv(Uint8Array.of(0xbe, 0xe7, 0xbc, 0xba, 0x2c, 0x31), 'a.csv')).toEqual([['양성', '1']]);
    expect(csvRecords(parseCsv('ID, Side\n1,left\n2\n', 'a.csv'))).toEqual([
      new Map([
        ['ID', '1'],
        ['Side', 'left'],
      ]),
      new Map([
        ['ID', '2'],
        ['Side', ''],
      ]),
    ]);
  });

  it('a quote that never ends is refused with its line', async () => {
    const error = await refusal(() => parseCsv('a,b\n1,"2\n', 'a.csv'));
    expect([error.code, error.message.includes('line 2')]).toEqual(['csv-invalid', true]);
  });

  it('writes what it reads, and no formulas', () => {
    const text = stringifyCsv(
      [
        ['=1+1', '-x', '@a', '+b'],
        [-1.5, 1e-7, NaN, null],
        ['a"b', 'c,d', 'e\nf', true],
      ],
      { bom: true },
    );
    expect(text).toBe('\ufeff\'=1+1,\'-x,\'@a,\'+b\r\n-1.5,1e-7,,\r\n"a""b","c,d","e\nf",true\r\n');
    expect(parseCsv(text, 'a.csv')[2]).toEqual(['a"b', 'c,d', 'e\nf', 'true']);
  });

  it('fuzz', async () => {
    const seed = new TextEncoder().encode('name,note\r\n"a ""b""","x,\r\ny"\n\nlast,1\n');
    expect((await fuzz('csv', [seed], (b) => parseCsv(b, 'fuzz.csv'))).accepted).toBeGreaterThan(300);
  });

  it.runIf(existsSync('../shared/data/busbra/bus_data.csv'))('reads BUS-BRA tables', () => {
    const rows = csvRecords(parseCsv(readBytes('../shared/data/busbra/bus_data.csv'), 'bus_data.csv'));
    expect(rows.length).toBeGreaterThan(1);
    expect(rows[0]?.has('ID')).toBe(true);
  });
});
