/**
 * @file Writes a state dictionary that `torch.load(weights_only=True)` opens. Imports lib and formats only.
 * Layout: stored zip, storages at multiples of 64 bytes, pickle protocol 2 of an OrderedDict of `_rebuild_tensor_v2`.
 * Reference: torch/serialization.py `_save` (2.13), peers.md §4.4.
 */
import { concatBytes } from '../lib/bytes';
import { UserError } from '../lib/errors';
import type { HostTensor, TensorDtype, TensorMap } from './tensor';
import { elementCount, tensorRawBytes } from './tensorConvert';
import { writeZip, type ZipFile } from './zipWriter';

const STORAGE = new Map<TensorDtype, string>([
  ['float32', 'FloatStorage'],
  ['float64', 'DoubleStorage'],
  ['float16', 'HalfStorage'],
  ['bfloat16', 'BFloat16Storage'],
  ['int64', 'LongStorage'],
  ['int32', 'IntStorage'],
  ['int16', 'ShortStorage'],
  ['int8', 'CharStorage'],
  ['uint8', 'ByteStorage'],
  ['bool', 'BoolStorage'],
]);

/** Emits pickle protocol 2 opcodes. */
class PickleWriter {
  private readonly parts: Uint8Array[] = [];

  op(...codes: number[]): this {
    this.parts.push(Uint8Array.from(codes));
    return this;
  }

  ascii(text: string): this {
    this.parts.push(new TextEncoder().encode(text));
    return this;
  }

  global(module: string, name: string): this {
    return this.ascii(`c${module}\n${name}\n`);
  }

  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    const head = new Uint8Array(5);
    head[0] = 0x58;
    new DataView(head.buffer).setUint32(1, bytes.length, true);
    this.parts.push(head, bytes);
    return this;
  }

  /** BININT, or LONG1 of 8 bytes for what does not fit in 31 bits. */
  integer(value: number): this {
    const small = value <= 0x7fffffff;
    const out = new Uint8Array(small ? 5 : 10);
    const view = new DataView(out.buffer);
    view.setUint8(0, small ? 0x4a : 0x8a);
    if (small) view.setInt32(1, value, true);
    else {
      view.setUint8(1, 8);
      view.setBigInt64(2, BigInt(value), true);
    }
    this.parts.push(out);
    return this;
  }

  integers(values: readonly number[]): this {
    this.op(0x28);
    for (const v of values) this.integer(v);
    return this.op(0x74);
  }

  done(): Uint8Array {
    return concatBytes(this.parts);
  }
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function rowMajorStrides(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let d = shape.length - 2; d >= 0; d--) {
    strides[d] = (strides[d + 1] as number) * Math.max(1, shape[d + 1] as number);
  }
  return strides;
}

function writeTensor(w: PickleWriter, name: string, t: HostTensor, key: string): void {
  const storage = STORAGE.get(t.dtype);
  if (storage === undefined) {
    throw new UserError(
      'export-dtype',
      `tensor "${name}" has type ${t.dtype}, which .pth files of this writer cannot hold`,
      {
        subject: name,
        hint: 'Export safetensors instead.',
      },
    );
  }
  const count = elementCount(t.shape);
  if (t.data.length !== count) {
    throw new UserError(
      'tensor-shape',
      `tensor "${name}" has ${t.data.length} values for shape [${t.shape.join(', ')}]`,
      {
        subject: name,
      },
    );
  }
  w.text(name).global('torch._utils', '_rebuild_tensor_v2').op(0x28);
  w.op(0x28).text('storage').global('torch', storage).text(key).text('cpu').integer(count).op(0x74, 0x51);
  w.integer(0).integers(t.shape).integers(rowMajorStrides(t.shape)).op(0x89);
  w.global('collections', 'OrderedDict').op(0x29, 0x52, 0x74, 0x52);
}

/**
 * A `.pth` file with the tensors under their names, in order.
 * @throws UserError 'export-dtype' for types torch's classic storages lack (uint16, uint32, uint64, float8).
 */
export function writePth(tensors: TensorMap): Uint8Array<ArrayBuffer> {
  const w = new PickleWriter().op(0x80, 2).global('collections', 'OrderedDict').op(0x29, 0x52, 0x28);
  const storages: ZipFile[] = [];
  for (const [name, t] of tensors) {
    const key = String(storages.length);
    writeTensor(w, name, t, key);
    storages.push({ name: `archive/data/${key}`, data: tensorRawBytes(t) });
  }
  w.op(0x75, 0x2e);
  return writeZip(
    [
      { name: 'archive/data.pkl', data: w.done() },
      { name: 'archive/byteorder', data: utf8('little') },
      ...storages,
      { name: 'archive/version', data: utf8('3\n') },
    ],
    64,
  );
}
