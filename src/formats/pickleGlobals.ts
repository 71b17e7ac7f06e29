/**
 * @file The only names a checkpoint may refer to, and what calling them yields. Imports formats only.
 * Reference: torch/_weights_only_unpickler.py (2.13) and torch/_utils.py; reliability.md D2, D3; models.md §9.1.
 */
import type {
  PickleGlobal,
  PickleNumpyDtype,
  PickleStorage,
  PickleTensor,
  PickleTuple,
  PickleValue,
} from './pickle.types';
import type { TensorDtype } from './tensor';

/** A refusal inside the unpickler; turned into a UserError that names the file. */
export class PickleError extends Error {}

const STORAGES = new Map<string, TensorDtype>([
  ['torch.FloatStorage', 'float32'],
  ['torch.DoubleStorage', 'float64'],
  ['torch.HalfStorage', 'float16'],
  ['torch.BFloat16Storage', 'bfloat16'],
  ['torch.LongStorage', 'int64'],
  ['torch.IntStorage', 'int32'],
  ['torch.ShortStorage', 'int16'],
  ['torch.CharStorage', 'int8'],
  ['torch.ByteStorage', 'uint8'],
  ['torch.BoolStorage', 'bool'],
]);

const CALLABLE = new Set([
  'collections.OrderedDict',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_parameter',
  'torch._tensor._rebuild_from_type_v2',
  'torch.Size',
  'numpy.dtype',
  'numpy.core.multiarray.scalar',
  'numpy._core.multiarray.scalar',
  '_codecs.encode',
]);

/** Names that may be mentioned but not called. */
const INERT = new Set([
  'torch.Tensor',
  ...['float32', 'float64', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool'].map(
    (d) => `torch.${d}`,
  ),
]);

const MAX_RANK = 8;
const MAX_EXPANDED = 1e8;

/** Looks a name up in the allow-list. @throws PickleError naming what was asked for. */
export function findGlobal(module: string, name: string): PickleGlobal {
  const full = `${module}.${name}`;
  if (CALLABLE.has(full) || INERT.has(full) || STORAGES.has(full)) return { kind: 'global', name: full };
  throw new PickleError(`it asks for "${full}", which is not part of a plain weights file`);
}

function isTuple(v: PickleValue | undefined): v is PickleTuple {
  return typeof v === 'object' && v !== null && v.kind === 'tuple';
}

function isGlobal(v: PickleValue | undefined): v is PickleGlobal {
  return typeof v === 'object' && v !== null && v.kind === 'global';
}

function natural(v: PickleValue | undefined, what: string): number {
  if (typeof v !== 'number' || !Number.isSafeInteger(v) || v < 0)
    throw new PickleError(`a tensor has an invalid ${what}`);
  return v;
}

/** ('storage', class, key, device, count[, view]) of a persistent id. */
export function storageFromId(id: PickleValue): PickleStorage {
  if (!isTuple(id) || id.items[0] !== 'storage') throw new PickleError('it has an unknown kind of reference');
  const [, type, key, , count, view] = id.items;
  const dtype = isGlobal(type) ? STORAGES.get(type.name) : undefined;
  if (dtype === undefined) throw new PickleError('a tensor has an unknown storage type');
  if (typeof key !== 'string' || !/^[A-Za-z0-9_-]{1,64}$/.test(key))
    throw new PickleError('a tensor has an invalid storage key');
  const root = {
    kind: 'storage',
    dtype,
    key,
    count: natural(count, 'storage size'),
    viewOffset: 0,
    rootKey: key,
  } as const;
  if (view === undefined || view === null) return root;
  if (!isTuple(view) || view.items.length !== 3 || typeof view.items[0] !== 'string') {
    throw new PickleError('a tensor has an invalid storage view');
  }
  const viewOffset = natural(view.items[1], 'view offset');
  const viewCount = natural(view.items[2], 'view size');
  if (viewOffset + viewCount > root.count) throw new PickleError('a storage view reaches past its storage');
  return { ...root, key: view.items[0], count: viewCount, viewOffset };
}

/** _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks): every element lies inside the storage. */
function rebuildTensor(args: readonly PickleValue[]): PickleTensor {
  const [storage, offsetValue, size, stride] = args;
  if (
    typeof storage !== 'object' ||
    storage === null ||
    storage.kind !== 'storage' ||
    !isTuple(size) ||
    !isTuple(stride)
  ) {
    throw new PickleError('a tensor is described in an unknown way');
  }
  const offset = natural(offsetValue, 'offset');
  const shape = size.items.map((v) => natural(v, 'size'));
  const strides = stride.items.map((v) => natural(v, 'stride'));
  if (shape.length !== strides.length)
    throw new PickleError('a tensor has a different number of sizes and strides');
  if (shape.length > MAX_RANK) throw new PickleError(`a tensor has ${shape.length} dimensions`);
  let count = 1n;
  let last = BigInt(offset);
  for (const [i, n] of shape.entries()) {
    count *= BigInt(n);
    last += BigInt(Math.max(n - 1, 0)) * BigInt(strides[i] as number);
  }
  const inside = count === 0n ? BigInt(offset) <= BigInt(storage.count) : last < BigInt(storage.count);
  if (!inside) throw new PickleError('a tensor reaches past its data');
  if (count > BigInt(storage.count) && count > BigInt(MAX_EXPANDED))
    throw new PickleError('a tensor expands to an unreasonable size');
  return { kind: 'tensor', storage, offset, shape, strides };
}

/** Python's latin-1 encoding, which is how protocol 2 stores bytes. */
function encodeLatin1(args: readonly PickleValue[]): PickleValue {
  const [text, encoding] = args;
  if (typeof text !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1'))
    throw new PickleError('it encodes text in an unknown way');
  const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  return { kind: 'bytes', bytes };
}

function numpyDtype(args: readonly PickleValue[]): PickleNumpyDtype {
  const [code] = args;
  if (typeof code !== 'string' || !/^[<>|=]?(f8|f4|i8|i4|i2|i1|u1|u2|u4|u8|b1)$/.test(code))
    throw new PickleError('it holds an unknown numpy type');
  return {
    kind: 'numpy-dtype',
    code: code.replace(/^[<>|=]/, ''),
    byteOrder: code.startsWith('>') ? '>' : '<',
  };
}

/** A number where it is exact. */
function whole(v: bigint): number | bigint {
  return Number.isSafeInteger(Number(v)) ? Number(v) : v;
}

function numpyScalar(args: readonly PickleValue[]): PickleValue {
  const [dtype, raw] = args;
  if (typeof dtype !== 'object' || dtype?.kind !== 'numpy-dtype')
    throw new PickleError('it holds an unknown numpy value');
  if (typeof raw !== 'object' || raw?.kind !== 'bytes')
    throw new PickleError('it holds an unknown numpy value');
  if (raw.bytes.length !== Number(dtype.code.slice(1)))
    throw new PickleError('a numpy value has the wrong length');
  const view = new DataView(raw.bytes.buffer, raw.bytes.byteOffset, raw.bytes.byteLength);
  const little = dtype.byteOrder !== '>';
  const readers: Readonly<Record<string, () => PickleValue>> = {
    f8: () => view.getFloat64(0, little),
    f4: () => view.getFloat32(0, little),
    i8: () => whole(view.getBigInt64(0, little)),
    i4: () => view.getInt32(0, little),
    i2: () => view.getInt16(0, little),
    i1: () => view.getInt8(0),
    u8: () => whole(view.getBigUint64(0, little)),
    u4: () => view.getUint32(0, little),
    u2: () => view.getUint16(0, little),
    u1: () => view.getUint8(0),
    b1: () => view.getUint8(0) !== 0,
  };
  return (readers[dtype.code] as () => PickleValue)();
}

/** What calling an allowed name with these arguments yields. */
export function callGlobal(callee: PickleValue | undefined, args: PickleValue | undefined): PickleValue {
  if (!isGlobal(callee) || !isTuple(args)) throw new PickleError('it calls something that cannot be called');
  const items = args.items;
  switch (callee.name) {
    case 'collections.OrderedDict':
      if (items.length !== 0) throw new PickleError('it builds a dictionary in an unknown way');
      return { kind: 'dict', entries: new Map() };
    case 'torch._utils._rebuild_tensor_v2':
      return rebuildTensor(items);
    case 'torch._utils._rebuild_parameter': {
      const [data] = items;
      if (typeof data !== 'object' || data?.kind !== 'tensor')
        throw new PickleError('a parameter is not a tensor');
      return data;
    }
    case 'torch._tensor._rebuild_from_type_v2': {
      const [rebuild, type, inner] = items;
      if (
        !isGlobal(rebuild) ||
        !rebuild.name.startsWith('torch._utils.') ||
        !isGlobal(type) ||
        type.name !== 'torch.Tensor'
      ) {
        throw new PickleError('a tensor has an unknown class');
      }
      return callGlobal(rebuild, inner);
    }
    case 'torch.Size': {
      const [sizes] = items;
      if (!isTuple(sizes)) throw new PickleError('it holds an invalid size');
      return sizes;
    }
    case 'numpy.dtype':
      return numpyDtype(items);
    case 'numpy.core.multiarray.scalar':
    case 'numpy._core.multiarray.scalar':
      return numpyScalar(items);
    case '_codecs.encode':
      return encodeLatin1(items);
    default:
      throw new PickleError(`it calls "${callee.name}"`);
  }
}
