import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UserError } from '../lib/errors';
import { readTensorsFile } from './checkpointFile';
import { pickleAt, readPth, readStateDict } from './pth';
import { writePth } from './pthWriter';
import { readSafetensors, writeSafetensors } from './safetensors';
import type { HostTensor, TensorMap } from './tensor';
import { tensorRawBytes, toFloat32 } from './tensorConvert';
import {
  filesIn,
  fuzz,
  hasSharedFixtures,
  OWN_FIXTURES,
  readBytes,
  readJson,
  refusal,
  SHARED_FIXTURES,
} from './testSupport';

interface ExpectedTensor {
  dtype: string;
  shape: number[];
  sha256_le_contiguous: string;
  first: string[];
}
interface TorchExpected {
  files: Record<string, { expect?: string; tensors?: Record<string, ExpectedTensor> }>;
}
interface Verdict {
  why: string;
  expect: string;
}

const sha = (t: HostTensor): string => createHash('sha256').update(tensorRawBytes(t)).digest('hex');

function checkPollution(): void {
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  expect(Object.keys(Object.prototype)).toEqual([]);
}

describe.each([OWN_FIXTURES, ...(hasSharedFixtures ? [SHARED_FIXTURES] : [])])(
  'torch files of %s',
  (root) => {
    const expected = readJson<TorchExpected>(`${root}/torch/expected.json`).files;

    it.each(Object.keys(expected).filter((f) => existsSync(`${root}/torch/${f}`)))('%s', async (file) => {
      const bytes = readBytes(`${root}/torch/${file}`);
      const entry = expected[file];
      if (entry?.expect?.startsWith('REJECT')) {
        expect((await refusal(() => readPth(bytes, file))).message).toContain(file);
        return;
      }
      const wanted = new Map(Object.entries(entry?.tensors ?? {}));
      if (wanted.has('')) {
        const { root: value, materialise } = readPth(bytes, file);
        if (typeof value !== 'object' || value?.kind !== 'tensor') throw new Error('not a bare tensor');
        expect(sha(materialise(value))).toBe(wanted.get('')?.sha256_le_contiguous);
        return;
      }
      const { tensors } = readStateDict(bytes, file);
      const names = [...wanted.keys()].map((n) => n.replace(/^state_dict\.(module\.)?/, ''));
      expect([...tensors.keys()]).toEqual(names);
      for (const [i, want] of [...wanted.values()].entries()) {
        const t = tensors.get(names[i] as string) as HostTensor;
        expect([t.dtype, t.shape]).toEqual([want.dtype, want.shape]);
        expect(sha(t), names[i] as string).toBe(want.sha256_le_contiguous);
        if (want.dtype !== 'complex64') {
          const values = [...toFloat32(t)].slice(0, want.first.length);
          const flat = want.first.slice(0, values.length).map((v) =>
            Math.fround(
              Number(
                v
                  .replace(/^(-?)inf$/, '$1Infinity')
                  .replace(/^True$/, '1')
                  .replace(/^False$/, '0'),
              ),
            ),
          );
          expect(values).toEqual(flat);
        }
      }
    });

    it('hostile files are refused or read without effect, each under a second', async () => {
      const verdicts = readJson<Record<string, Verdict>>(`${root}/torch_hostile/expected.json`);
      let seen = 0;
      for (const [file, { expect: rule }] of Object.entries(verdicts)) {
        if (!existsSync(`${root}/torch_hostile/${file}`)) continue;
        seen++;
        const bytes = readBytes(`${root}/torch_hostile/${file}`);
        const start = performance.now();
        let refused = false;
        try {
          readTensorsFile(bytes, file);
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          refused = true;
        }
        expect(performance.now() - start, file).toBeLessThan(1000);
        if (rule.startsWith('REJECT') && !/ignore/i.test(rule)) expect(refused, file).toBe(true);
        if (rule === 'ACCEPT') expect(refused, file).toBe(false);
        checkPollution();
      }
      expect(seen).toBeGreaterThan(15);
    });
  },
);

describe('nested checkpoint', () => {
  it('reaches optimizer values and numbers, and strips module.', () => {
    const file = 'checkpoint_nested_optimizer_zip.pth';
    const bytes = readBytes(`${OWN_FIXTURES}/torch/${file}`);
    const { root } = readPth(bytes, file);
    expect(typeof pickleAt(root, 'epoch')).toBe('number');
    expect(pickleAt(root, 'optimizer', 'param_groups', 0, 'lr')).toBeTypeOf('number');
    expect(readStateDict(bytes, file).path).toBe('state_dict');
  });
});

describe.each([OWN_FIXTURES, ...(hasSharedFixtures ? [SHARED_FIXTURES] : [])])(
  'safetensors of %s',
  (root) => {
    const expected = readJson<{
      good: Record<
        string,
        {
          metadata: Record<string, string> | null;
          tensors: Record<string, { shape: number[]; sha256: string }>;
        }
      >;
      hostile: Record<string, { reference_safetensors: string }>;
    }>(`${root}/safetensors_expected.json`);

    it.each(Object.keys(expected.good))('%s gives the expected tensors and survives writing', (file) => {
      const read = readSafetensors(readBytes(`${root}/safetensors/${file}`), file);
      const again = readSafetensors(writeSafetensors(read.tensors, read.metadata), 'again');
      for (const { tensors, metadata } of [read, again]) {
        const wanted = new Map(Object.entries(expected.good[file]?.tensors ?? {}));
        expect([...tensors.keys()].sort()).toEqual([...wanted.keys()].sort());
        for (const [name, t] of tensors) {
          expect(t.shape).toEqual(wanted.get(name)?.shape);
          expect(sha(t)).toBe(wanted.get(name)?.sha256);
        }
        expect(Object.fromEntries(metadata)).toEqual(expected.good[file]?.metadata ?? {});
      }
    });

    it('hostile files get the reference verdict', async () => {
      let seen = 0;
      for (const [file, { reference_safetensors: verdict }] of Object.entries(expected.hostile)) {
        const path = `${root}/safetensors_hostile/${file}`;
        if (!existsSync(path)) continue;
        seen++;
        const bytes = readBytes(path);
        if (verdict.startsWith('ACCEPTED')) {
          const { tensors } = readSafetensors(bytes, file);
          const names = [...verdict.matchAll(/'((?:[^'\\]|\\.)*)'/g)].map((m) =>
            (m[1] as string).replaceAll('\\\\', '\\'),
          );
          expect([...tensors.keys()].sort(), file).toEqual(names.sort());
        } else {
          expect((await refusal(() => readSafetensors(bytes, file))).subject, file).toBe(file);
        }
        checkPollution();
      }
      expect(seen).toBeGreaterThan(10);
    });
  },
);

describe('writing', () => {
  const tensors: TensorMap = new Map<string, HostTensor>([
    ['0', { dtype: 'uint8', shape: [3], data: Uint8Array.of(1, 2, 3) }],
    ['__proto__', { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, -2, 3.5, NaN) }],
    ['한글.weight', { dtype: 'int64', shape: [], data: BigInt64Array.of(-5n) }],
    ['half', { dtype: 'float16', shape: [2], data: Uint16Array.of(0x3c00, 0xc000) }],
    ['none', { dtype: 'float32', shape: [0, 4], data: new Float32Array() }],
  ]);

  it.each(['safetensors', 'pth'] as const)('%s keeps names, order, types and values', (format) => {
    const bytes = format === 'pth' ? writePth(tensors) : writeSafetensors(tensors);
    const read = readTensorsFile(bytes, 'weights.bin');
    expect(read.format).toBe(format);
    expect([...read.tensors]).toEqual([...tensors]);
    if (format === 'safetensors') expect(read.metadata.get('format')).toBe('pt');
    checkPollution();
  });

  it('aligns .pth storages to 64 bytes and safetensors data to 8', () => {
    const bytes = writePth(tensors);
    const text = new TextDecoder('latin1').decode(bytes);
    for (let key = 0; key < 4; key++) {
      const at = text.indexOf(`archive/data/${key}`);
      const view = new DataView(bytes.buffer, at - 4);
      const start = at + view.getUint16(0, true) + view.getUint16(2, true);
      expect(start % 64).toBe(0);
    }
    expect(new DataView(writeSafetensors(tensors).buffer).getUint32(0, true) % 8).toBe(0);
  });

  it('refuses what it cannot write', async () => {
    const wrong: TensorMap = new Map([['a', { dtype: 'float32', shape: [3], data: new Float32Array(2) }]]);
    expect((await refusal(() => writePth(wrong))).code).toBe('tensor-shape');
    expect((await refusal(() => writeSafetensors(wrong))).code).toBe('tensor-shape');
    const exotic: TensorMap = new Map([['a', { dtype: 'uint32', shape: [1], data: new Uint32Array(1) }]]);
    expect((await refusal(() => writePth(exotic))).code).toBe('export-dtype');
  });
});

it('converts every float format', () => {
  const bits = Uint16Array.of(0x0000, 0x8000, 0x0001, 0x03ff, 0x3555, 0x7bff, 0x7c00, 0xfc00);
  const half = toFloat32({ dtype: 'float16', shape: [8], data: bits });
  expect([...half]).toEqual([0, -0, 2 ** -24, 1023 * 2 ** -24, 0.333251953125, 65504, Infinity, -Infinity]);
  const brain = toFloat32({ dtype: 'bfloat16', shape: [2], data: Uint16Array.of(0x3fc0, 0xc2f7) });
  expect([...brain]).toEqual([1.5, -123.5]);
  const e4m3 = toFloat32({ dtype: 'float8_e4m3fn', shape: [4], data: Uint8Array.of(0x7e, 0x7f, 0x01, 0xb8) });
  expect([...e4m3]).toEqual([448, NaN, 2 ** -9, -1]);
  const e5m2 = toFloat32({ dtype: 'float8_e5m2', shape: [3], data: Uint8Array.of(0x7b, 0x7c, 0x01) });
  expect([...e5m2]).toEqual([57344, Infinity, 2 ** -16]);
});

describe('fuzz', () => {
  const seeds = [
    ...filesIn(`${OWN_FIXTURES}/torch`, /\.pth?$/),
    ...filesIn(`${OWN_FIXTURES}/torch_hostile`, /\.pth$/),
  ];

  it('pth', async () => {
    const result = await fuzz('pth', seeds.map(readBytes), (b) => readTensorsFile(b, 'fuzz.pth'));
    expect(result.refused).toBeGreaterThan(500);
  });

  it('pickles inside a valid archive', async () => {
    const legacy = seeds.filter((f) => basename(f).includes('legacy')).map(readBytes);
    const result = await fuzz('legacy', legacy, (b) => readTensorsFile(b, 'fuzz.pth'));
    expect(result.refused).toBeGreaterThan(500);
  });

  it('safetensors', async () => {
    const files = [
      ...filesIn(`${OWN_FIXTURES}/safetensors`, /all|single/),
      ...filesIn(`${OWN_FIXTURES}/safetensors_hostile`, /\./),
    ];
    const result = await fuzz('safetensors', files.map(readBytes), (b) =>
      readTensorsFile(b, 'fuzz.safetensors'),
    );
    expect(result.refused).toBeGreaterThan(500);
  });
});
