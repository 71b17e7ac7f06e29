/**
 * @file PyTorch checkpoint files (`torch.save`): reading, zip and legacy layout. Imports lib and formats only.
 * Nothing in the file is executed (see pickle). Writing is in pthWriter.
 * Reference: torch/serialization.py (2.13); models.md §9.1; reliability.md D3, D4.
 */
import { UserError } from '../lib/errors';
import { unpickle } from './pickle';
import { PickleError } from './pickleGlobals';
import type { PickleDict, PickleStorage, PickleTensor, PickleValue } from './pickle.types';
import type { HostTensor, TensorMap } from './tensor';
import { dtypeBytes, elementCount, typedCopy, typedZeros } from './tensorConvert';
import { checkZipLimits, readZipEntry, safeZipPath } from './zip';
import { looksLikeZip, readZipDirectory, type ZipEntry } from './zipDirectory';

/** Legacy files begin with protocol 2 and this 10-byte magic number. */
const LEGACY_MAGIC = [
  0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
];
const MAX_PICKLE_BYTES = 64e6;
/** Tied weights and views may make tensors larger than the file; more than this is not a checkpoint. */
const EXPANSION = 4;
const EXPANSION_FREE_BYTES = 64e6;

export interface PthFile {
  /** Everything the file holds, tensors as lazy views: see `materialise`. */
  readonly root: PickleValue;
  readonly layout: 'zip' | 'legacy';
  /** Copies a tensor's elements out of the file, contiguous and row-major. */
  materialise(tensor: PickleTensor): HostTensor;
}

function refuse(fileName: string, error: unknown): never {
  if (!(error instanceof PickleError)) throw error;
  throw new UserError(
    'checkpoint-refused',
    `"${fileName}" cannot be read as a weights file: ${error.message}`,
    {
      subject: fileName,
      hint: 'Only state dictionaries are read. In Python: torch.save(model.state_dict(), "weights.pth").',
      cause: error,
    },
  );
}

function* storagesIn(root: PickleValue): Generator<PickleStorage> {
  const seen = new Set<PickleValue>();
  const queue: PickleValue[] = [root];
  for (let v = queue.pop(); v !== undefined; v = queue.pop()) {
    if (typeof v !== 'object' || v === null || seen.has(v)) continue;
    seen.add(v);
    if (v.kind === 'tensor') yield v.storage;
    else if (v.kind === 'storage') yield v;
    else if (v.kind === 'list' || v.kind === 'tuple') for (const item of v.items) queue.push(item);
    else if (v.kind === 'dict') for (const item of v.entries.values()) queue.push(item);
  }
}

/** Elements in row-major order of a strided view. */
function gather(t: PickleTensor, source: HostTensor['data']): HostTensor['data'] {
  const count = elementCount(t.shape);
  const out = typedZeros(t.storage.dtype, count);
  const rank = t.shape.length;
  const index = t.shape.map(() => 0);
  let from = t.offset;
  for (let i = 0; i < count; i++) {
    out[i] = source[from] as never;
    for (let d = rank - 1; d >= 0; d--) {
      const stride = t.strides[d] as number;
      from += stride;
      index[d] = (index[d] as number) + 1;
      if ((index[d] as number) < (t.shape[d] as number)) break;
      from -= stride * (t.shape[d] as number);
      index[d] = 0;
    }
  }
  return out;
}

function isContiguous(t: PickleTensor): boolean {
  let expected = 1;
  for (let d = t.shape.length - 1; d >= 0; d--) {
    const n = t.shape[d] as number;
    if (n !== 1 && t.strides[d] !== expected) return false;
    expected *= n;
  }
  return true;
}

/** Makes `materialise` for storages whose bytes `locate` finds; limits the sum of what it hands out. */
function materialiser(
  fileName: string,
  fileBytes: number,
  locate: (rootKey: string) => Uint8Array,
): (t: PickleTensor) => HostTensor {
  let budget = fileBytes * EXPANSION + EXPANSION_FREE_BYTES;
  return (t) => {
    const { dtype, viewOffset, rootKey } = t.storage;
    const width = dtypeBytes(dtype);
    const count = elementCount(t.shape);
    budget -= count * width;
    if (budget < 0) refuse(fileName, new PickleError('its tensors are far larger than the file'));
    const raw = locate(rootKey);
    if (count === 0) return { dtype, shape: t.shape, data: typedZeros(dtype, 0) };
    if (isContiguous(t)) {
      return { dtype, shape: t.shape, data: typedCopy(dtype, raw, (viewOffset + t.offset) * width, count) };
    }
    let span = t.offset + 1;
    for (const [d, n] of t.shape.entries()) span += (n - 1) * (t.strides[d] as number);
    const source = typedCopy(dtype, raw, viewOffset * width, span);
    return { dtype, shape: t.shape, data: gather(t, source) };
  };
}

function zipLayout(bytes: Uint8Array, fileName: string): { root: string; entries: Map<string, ZipEntry> } {
  const all = readZipDirectory(bytes, fileName).filter((e) => safeZipPath(e.name) !== undefined);
  checkZipLimits(all, fileName, { maxTotalBytes: bytes.length * 200 });
  const pickles = all.filter((e) => /^[^/]+\/data\.pkl$/.test(e.name));
  const [pickle] = pickles;
  if (pickle === undefined) throw new PickleError('it is a zip archive without "data.pkl"');
  const root = pickle.name.slice(0, -'data.pkl'.length);
  const entries = new Map<string, ZipEntry>();
  for (const e of all) {
    if (!e.name.startsWith(root)) continue;
    if (entries.has(e.name)) throw new PickleError(`it holds "${e.name}" twice`);
    entries.set(e.name, e);
  }
  if (pickles.length > 1) throw new PickleError('it holds several checkpoints');
  return { root, entries };
}

function readZipLayout(bytes: Uint8Array, fileName: string): PthFile {
  const { root: folder, entries } = zipLayout(bytes, fileName);
  const readPart = (part: string): Uint8Array => {
    const entry = entries.get(folder + part);
    if (entry === undefined) throw new PickleError(`"${part}" is missing`);
    return readZipEntry(bytes, entry, fileName);
  };
  if (
    entries.has(`${folder}byteorder`) &&
    new TextDecoder().decode(readPart('byteorder')).trim() !== 'little'
  ) {
    throw new PickleError('it was written on a big-endian machine');
  }
  if ((entries.get(`${folder}data.pkl`)?.size ?? 0) > MAX_PICKLE_BYTES)
    throw new PickleError('its "data.pkl" is too large');
  const { value: root } = unpickle(readPart('data.pkl'));
  for (const s of storagesIn(root)) {
    const entry = entries.get(`${folder}data/${s.rootKey}`);
    if (entry === undefined) throw new PickleError(`"data/${s.rootKey}" is missing`);
    const need = (s.viewOffset + s.count) * dtypeBytes(s.dtype);
    if (entry.size < need)
      throw new PickleError(`"data/${s.rootKey}" has ${entry.size} bytes instead of ${need}`);
  }
  // The last storage is kept: tensors that share one usually follow each other.
  let last: { key: string; raw: Uint8Array } | undefined;
  const locate = (key: string): Uint8Array => {
    if (last?.key !== key) last = { key, raw: readPart(`data/${key}`) };
    return last.raw;
  };
  return { root, layout: 'zip', materialise: materialiser(fileName, bytes.length, locate) };
}

/** Five pickles (magic, protocol, system, data, storage keys), then per key an int64 count and the raw elements. */
function readLegacyLayout(bytes: Uint8Array, fileName: string): PthFile {
  const protocol = unpickle(bytes, LEGACY_MAGIC.length);
  if (protocol.value !== 1001) throw new PickleError('its legacy format has an unknown version');
  const system = unpickle(bytes, protocol.end);
  if (typeof system.value === 'object' && system.value?.kind === 'dict') {
    if (system.value.entries.get('little_endian') === false)
      throw new PickleError('it was written on a big-endian machine');
  }
  const data = unpickle(bytes, system.end);
  const keys = unpickle(bytes, data.end);
  if (typeof keys.value !== 'object' || keys.value?.kind !== 'list')
    throw new PickleError('its list of storages is damaged');
  const widths = new Map<string, PickleStorage>();
  for (const s of storagesIn(data.value)) widths.set(s.rootKey, s);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const raws = new Map<string, Uint8Array>();
  let at = keys.end;
  for (const key of keys.value.items) {
    const storage = typeof key === 'string' ? widths.get(key) : undefined;
    if (typeof key !== 'string' || storage === undefined || raws.has(key))
      throw new PickleError('its list of storages is damaged');
    if (at + 8 > bytes.length) throw new PickleError('it is cut off');
    const size = view.getBigUint64(at, true) * BigInt(dtypeBytes(storage.dtype));
    at += 8;
    if (size > BigInt(bytes.length - at)) throw new PickleError('it is cut off');
    raws.set(key, bytes.subarray(at, at + Number(size)));
    at += Number(size);
  }
  for (const s of storagesIn(data.value)) {
    const have = raws.get(s.rootKey)?.length ?? -1;
    if (have < (s.viewOffset + s.count) * dtypeBytes(s.dtype))
      throw new PickleError('a storage is missing or too short');
  }
  const locate = (key: string): Uint8Array => raws.get(key) as Uint8Array;
  return { root: data.value, layout: 'legacy', materialise: materialiser(fileName, bytes.length, locate) };
}

/** True if the bytes begin like a legacy `torch.save` file. */
export function looksLikeLegacyPth(bytes: Uint8Array): boolean {
  return LEGACY_MAGIC.every((b, i) => bytes[i] === b);
}

/**
 * Reads a `.pth` / `.pt` / `.bin` file without executing anything in it.
 * @throws UserError 'file-empty', 'file-corrupt' or 'checkpoint-refused', naming the file.
 */
export function readPth(bytes: Uint8Array, fileName: string): PthFile {
  if (bytes.length === 0) throw new UserError('file-empty', `"${fileName}" is empty`, { subject: fileName });
  try {
    if (looksLikeZip(bytes)) return readZipLayout(bytes, fileName);
    if (looksLikeLegacyPth(bytes)) return readLegacyLayout(bytes, fileName);
  } catch (error) {
    refuse(fileName, error);
  }
  throw new UserError('file-corrupt', `"${fileName}" is not a PyTorch checkpoint`, {
    subject: fileName,
    hint: 'Expected a file written by torch.save, or a safetensors file.',
  });
}

const WRAPPERS = ['model', 'model_state_dict', 'state_dict', 'model_state', 'net', 'params'] as const;

function asDict(v: PickleValue | undefined): PickleDict | undefined {
  return typeof v === 'object' && v?.kind === 'dict' ? v : undefined;
}

function hasTensor(dict: PickleDict): boolean {
  for (const [k, v] of dict.entries)
    if (typeof k === 'string' && typeof v === 'object' && v?.kind === 'tensor') return true;
  return false;
}

/** The dictionary of named tensors: the root itself, or what it holds under a usual name (up to two levels). */
function findStateDict(root: PickleValue): { dict: PickleDict; path: string } | undefined {
  let dict = asDict(root);
  const path: string[] = [];
  while (dict !== undefined && path.length < 3) {
    const holder: PickleDict = dict;
    const key = WRAPPERS.find((k) => {
      const inner = asDict(holder.entries.get(k));
      return (
        inner !== undefined &&
        (hasTensor(inner) || WRAPPERS.some((w) => asDict(inner.entries.get(w)) !== undefined))
      );
    });
    if (key === undefined) return hasTensor(holder) ? { dict: holder, path: path.join('.') } : undefined;
    path.push(key);
    dict = asDict(holder.entries.get(key));
  }
  return undefined;
}

export interface StateDict {
  /** Names without DataParallel's "module.", in the file's order. */
  readonly tensors: TensorMap;
  /** Where in the file they were, e.g. "model"; "" for the root. */
  readonly path: string;
}

/** The state dictionary of an opened file. @throws UserError 'checkpoint-refused' if there is none. */
export function stateDictOf(file: PthFile, fileName: string): StateDict {
  const found = findStateDict(file.root);
  if (found === undefined) refuse(fileName, new PickleError('it holds no dictionary of named tensors'));
  const tensors: TensorMap = new Map();
  const named: [string, PickleTensor][] = [];
  for (const [name, v] of found.dict.entries) {
    if (typeof name === 'string' && typeof v === 'object' && v?.kind === 'tensor') named.push([name, v]);
  }
  const wrapped = named.every(([name]) => name.startsWith('module.'));
  try {
    for (const [name, t] of named)
      tensors.set(wrapped ? name.slice('module.'.length) : name, file.materialise(t));
  } catch (error) {
    refuse(fileName, error);
  }
  return { tensors, path: found.path };
}

/** Reads the named tensors of a checkpoint. @throws UserError as `readPth` and `stateDictOf`. */
export function readStateDict(bytes: Uint8Array, fileName: string): StateDict {
  return stateDictOf(readPth(bytes, fileName), fileName);
}

/** A value reached by dictionary keys, e.g. `pickleAt(root, 'optimizer', 'state', 0)`; undefined if any is missing. */
export function pickleAt(root: PickleValue, ...keys: readonly (string | number)[]): PickleValue | undefined {
  let v: PickleValue | undefined = root;
  for (const key of keys) {
    if (typeof v !== 'object' || v === null) return undefined;
    if (v.kind === 'dict') v = v.entries.get(key);
    else if ((v.kind === 'list' || v.kind === 'tuple') && typeof key === 'number') v = v.items[key];
    else return undefined;
  }
  return v;
}
