/** Hostile checkpoints built here, one per rule of reliability.md D1-D4, beside the files of `torch_hostile`. */
import { describe, expect, it } from 'vitest';
import { concatBytes } from '../lib/bytes';
import { pickleAt, readPth, readStateDict } from './pth';
import { writePth } from './pthWriter';
import { OWN_FIXTURES, readBytes, refusal } from './testSupport';
import type { TensorMap } from './tensor';
import { writeZip, type ZipFile } from './zipWriter';

const ascii = (s: string): Uint8Array => new TextEncoder().encode(s);
const raw = (...b: number[]): Uint8Array => Uint8Array.from(b);
const unicode = (s: string): Uint8Array => concatBytes([raw(0x58, s.length, 0, 0, 0), ascii(s)]);
const PROTO = raw(0x80, 2);
const STOP = raw(0x2e);
const GOOD: TensorMap = new Map([
  ['w', { dtype: 'float32', shape: [27], data: new Float32Array(27).fill(1) }],
]);

/** A zip checkpoint with this pickle and one storage "0" of 108 bytes. */
function archive(pickle: Uint8Array, more: readonly ZipFile[] = []): Uint8Array {
  return writeZip([
    { name: 'a/data.pkl', data: pickle },
    { name: 'a/data/0', data: new Uint8Array(108) },
    ...more,
  ]);
}

function program(...parts: Uint8Array[]): Uint8Array {
  return concatBytes([PROTO, ...parts, STOP]);
}

function integer(v: number): Uint8Array {
  const out = new Uint8Array(10);
  const view = new DataView(out.buffer);
  view.setUint8(0, 0x8a);
  view.setUint8(1, 8);
  view.setBigInt64(2, BigInt(v), true);
  return out;
}

function tuple(values: readonly number[]): Uint8Array {
  return concatBytes([raw(0x28), ...values.map(integer), raw(0x74)]);
}

interface TensorSpec {
  offset?: number;
  size?: number[];
  stride?: number[];
  count?: number;
  type?: string;
  key?: string;
}

/** {"w": tensor} with whatever the test wants wrong. */
function tensor(spec: TensorSpec): Uint8Array {
  const { offset = 0, size = [27], stride = [1], count = 27, type = 'FloatStorage', key = '0' } = spec;
  return program(
    raw(0x7d),
    unicode('w'),
    ascii('ctorch._utils\n_rebuild_tensor_v2\n'),
    raw(0x28, 0x28),
    unicode('storage'),
    ascii(`ctorch\n${type}\n`),
    unicode(key),
    unicode('cpu'),
    integer(count),
    raw(0x74, 0x51),
    integer(offset),
    tuple(size),
    tuple(stride),
    raw(0x89),
    ascii('ccollections\nOrderedDict\n'),
    raw(0x29, 0x52, 0x74, 0x52, 0x73),
  );
}

const REFUSED: Record<string, Uint8Array> = {
  'offset past the end': archive(tensor({ offset: 1 })),
  'stride past the end': archive(tensor({ size: [2, 14], stride: [14, 1] })),
  'negative size': archive(tensor({ size: [-1] })),
  'negative stride': archive(tensor({ size: [4], stride: [-1] })),
  'stride 0 to 2^52 elements': archive(tensor({ size: [2 ** 26, 2 ** 26], stride: [0, 0] })),
  'size beyond exact numbers': archive(tensor({ size: [2 ** 62], stride: [0] })),
  'rank mismatch': archive(tensor({ size: [3, 9], stride: [1] })),
  'nine dimensions': archive(
    tensor({ size: Array.from({ length: 9 }, () => 1), stride: Array.from({ length: 9 }, () => 1) }),
  ),
  'unknown storage type': archive(tensor({ type: 'QInt8Storage' })),
  'storage shorter than its count': archive(tensor({ count: 28, size: [28] })),
  'storage missing': archive(tensor({ key: '7' })),
  'storage key that is a path': archive(tensor({ key: '../../x' })),
  'posix.system': archive(program(ascii('cposix\nsystem\n'), unicode('id'), raw(0x85, 0x52))),
  'builtins.eval': archive(program(ascii('c__builtin__\neval\n'), unicode('1'), raw(0x85, 0x52))),
  'STACK_GLOBAL of os.system': archive(program(unicode('os'), unicode('system'), raw(0x93, 0x29, 0x52))),
  'name that is a JavaScript member': archive(program(ascii('ctorch\nconstructor\n'), raw(0x29, 0x52))),
  'nested class by _rebuild_from_type_v2': archive(
    program(
      ascii('ctorch._tensor\n_rebuild_from_type_v2\n'),
      raw(0x28),
      ascii('ctorch\nSize\n'),
      ascii('ctorch\nTensor\n'),
      raw(0x29, 0x4e, 0x74, 0x52),
    ),
  ),
  INST: archive(program(raw(0x28), ascii('ios\nsystem\n'))),
  OBJ: archive(program(raw(0x28), ascii('ccollections\nOrderedDict\n'), raw(0x6f))),
  NEWOBJ: archive(program(ascii('ccollections\nOrderedDict\n'), raw(0x29, 0x81))),
  EXT1: archive(program(raw(0x82, 1))),
  DUP: archive(program(raw(0x4e, 0x32))),
  'LONG4 of 2 GB': archive(program(raw(0x8b, 0xff, 0xff, 0xff, 0x7f))),
  'BINUNICODE past the end': archive(program(raw(0x58, 0xff, 0xff, 0xff, 0x7f))),
  'REDUCE on an empty stack': archive(program(raw(0x52))),
  'TUPLE without MARK': archive(program(raw(0x4e, 0x74))),
  'BINGET of nothing': archive(program(raw(0x68, 99))),
  'BUILD on a string': archive(program(unicode('x'), raw(0x7d, 0x62))),
  'no STOP': archive(PROTO),
  empty: archive(new Uint8Array()),
  'two data.pkl of one name': archive(tensor({}), [{ name: 'a/data.pkl', data: tensor({}) }]),
  'two roots': archive(tensor({}), [{ name: 'b/data.pkl', data: tensor({}) }]),
  'no data.pkl': writeZip([{ name: 'a/version', data: ascii('3') }]),
  'big-endian': archive(tensor({}), [{ name: 'a/byteorder', data: ascii('big') }]),
  'bomb in data.pkl': writeZip([{ name: 'a/data.pkl', data: new Uint8Array(20e6), compress: true }]),
  'end record missing': writePth(GOOD).slice(0, -22),
  'wrong entry count': ((): Uint8Array => {
    const bytes = writePth(GOOD);
    new DataView(bytes.buffer).setUint16(bytes.length - 12, 65535, true);
    return bytes;
  })(),
  'appended bytes': concatBytes([writePth(GOOD), new Uint8Array(70_000)]),
  'prefixed bytes': concatBytes([ascii('junk'), writePth(GOOD)]),
  'no tensors': archive(program(raw(0x7d))),
};

describe('refused in under a second', () => {
  it.each(Object.entries(REFUSED))('%s', async (_, bytes) => {
    const error = await refusal(() => readStateDict(bytes, 'evil.pth'));
    expect(['checkpoint-refused', 'file-corrupt', 'zip-too-large']).toContain(error.code);
    expect(error.message).toContain('evil.pth');
  });

  it('memo bomb, deep nesting and self-reference neither hang nor overflow', async () => {
    const layers = Array.from({ length: 60 }, (_, i) =>
      raw(0x5d, 0x71, i + 1, 0x28, ...Array.from({ length: 10 }, () => [0x68, i]).flat(), 0x65),
    );
    const start = performance.now();
    readPth(archive(program(raw(0x5d, 0x71, 0), ...layers)), 'bomb.pth');
    await refusal(() => readPth(archive(program(raw(0x29), new Uint8Array(100_000).fill(0x85))), 'deep.pth'));
    const lists = Array.from({ length: 200 }, () => raw(0x5d));
    await refusal(() => readPth(archive(program(...lists, new Uint8Array(199).fill(0x61))), 'deep.pth'));
    readPth(archive(program(raw(0x5d, 0x71, 0, 0x68, 0, 0x61))), 'self.pth');
    await refusal(() => readPth(archive(program(new Uint8Array(5_000_001).fill(0x4e))), 'many.pth'));
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it('many tensors that expand one storage run out of their budget', async () => {
    const one = tensor({ size: [1e8], stride: [0] }).subarray(3, -1);
    const renamed = Array.from({ length: 20 }, (_, i) => {
      const copy = one.slice();
      copy[5] = 0x61 + i;
      return copy;
    });
    await refusal(() => readStateDict(archive(program(raw(0x7d), ...renamed)), 'evil.pth'));
  });
});

describe('read without effect', () => {
  it('the control tensor, with bytes after STOP and unused entries', () => {
    const bytes = archive(concatBytes([tensor({ size: [3, 9], stride: [1, 3] }), raw(0x52, 0x52)]), [
      { name: '../../evil', data: ascii('x') },
    ]);
    expect(readStateDict(bytes, 'a.pth').tensors.get('w')?.shape).toEqual([3, 9]);
  });

  it('deflated entries within their declared size', () => {
    const bytes = writeZip([
      { name: 'a/data.pkl', data: tensor({}), compress: true },
      { name: 'a/data/0', data: new Uint8Array(108), compress: true },
    ]);
    expect(readStateDict(bytes, 'a.pth').tensors.size).toBe(1);
  });

  it('keys named like JavaScript members, and BUILD on a dictionary', () => {
    const inner = concatBytes([raw(0x7d), unicode('polluted'), raw(0x88, 0x73)]);
    const items = ['__proto__', 'constructor', 'toString'].flatMap((k) => [unicode(k), inner, raw(0x73)]);
    const bytes = archive(
      program(ascii('ccollections\nOrderedDict\n'), raw(0x29, 0x52), ...items, inner, raw(0x62)),
    );
    const { root } = readPth(bytes, 'a.pth');
    expect(pickleAt(root, '__proto__', 'polluted')).toBe(true);
    expect(pickleAt(root, 'polluted')).toBeUndefined();
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it('numpy scalars beside the weights, as training scripts store them', () => {
    const bytes = readBytes(`${OWN_FIXTURES}/torch_extra/numpy_scalars.pth`);
    const { root } = readPth(bytes, 'best.pth');
    expect(['epoch', 'dice', 'loss', 'steps'].map((k) => pickleAt(root, k))).toEqual([3, 0.625, 0.25, 7]);
    const { tensors, path } = readStateDict(bytes, 'best.pth');
    expect(path).toBe('model');
    expect([...tensors.keys()].slice(0, 2)).toEqual(['0.weight', '0.bias']);
  });
});
