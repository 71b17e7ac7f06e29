/**
 * @file safetensors files: u64 header length, JSON header, raw little-endian data. Imports lib and formats only.
 * Reference: huggingface/safetensors, `safetensors/src/tensor.rs` (validation rules); reliability.md D5.
 */
import { UserError } from '../lib/errors';
import { scanJson } from './jsonScan';
import type { HostTensor, TensorDtype, TensorMap } from './tensor';
import { dtypeBytes, elementCount, tensorRawBytes, typedCopy } from './tensorConvert';

/** The reference implementation's cap. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_TENSORS = 100_000;

const DTYPES = new Map<string, TensorDtype>([
  ['F64', 'float64'],
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
  ['I64', 'int64'],
  ['I32', 'int32'],
  ['I16', 'int16'],
  ['I8', 'int8'],
  ['U64', 'uint64'],
  ['U32', 'uint32'],
  ['U16', 'uint16'],
  ['U8', 'uint8'],
  ['BOOL', 'bool'],
  ['F8_E4M3', 'float8_e4m3fn'],
  ['F8_E5M2', 'float8_e5m2'],
]);
const NAMES = new Map([...DTYPES].map(([name, dtype]) => [dtype, name]));

export interface SafetensorsFile {
  /** In the header's order. Every array is a copy of the file's bytes. */
  readonly tensors: TensorMap;
  readonly metadata: Map<string, string>;
}

interface Entry {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function corrupt(fileName: string, what: string, cause?: unknown): UserError {
  return new UserError('file-corrupt', `"${fileName}" is not a valid safetensors file: ${what}`, {
    subject: fileName,
    hint: 'The file may be damaged or cut off: download or export it again.',
    ...(cause === undefined ? {} : { cause }),
  });
}

function readHeaderText(bytes: Uint8Array, fileName: string): { text: string; dataStart: number } {
  if (bytes.length === 0) throw new UserError('file-empty', `"${fileName}" is empty`, { subject: fileName });
  if (bytes.length < 8) throw corrupt(fileName, 'it is shorter than its 8-byte header length');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) throw corrupt(fileName, `the header claims ${length} bytes`);
  if (length > BigInt(bytes.length - 8)) throw corrupt(fileName, 'the header is longer than the file');
  const dataStart = 8 + Number(length);
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      bytes.subarray(8, dataStart),
    );
    return { text, dataStart };
  } catch (cause) {
    throw corrupt(fileName, 'the header is not UTF-8', cause);
  }
}

function parseHeader(
  text: string,
  fileName: string,
): { keys: readonly string[]; values: Map<string, unknown> } {
  // The reference also accepts leading white space, so "{" is looked for after it.
  if (!/^[ \t\r\n]*\{/.test(text)) throw corrupt(fileName, 'the header is not a JSON object');
  const scan = scanJson(text, 3);
  if (scan.depth > 3) throw corrupt(fileName, 'the header is nested too deeply');
  if (scan.duplicate !== undefined) throw corrupt(fileName, `the header names "${scan.duplicate}" twice`);
  try {
    const parsed: unknown = JSON.parse(text);
    return { keys: scan.topKeys, values: new Map(Object.entries(parsed as object)) };
  } catch (cause) {
    throw corrupt(fileName, 'the header is not valid JSON', cause);
  }
}

function isNaturals(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((v) => Number.isSafeInteger(v) && (v as number) >= 0);
}

function readEntry(name: string, value: unknown, fileName: string): Entry {
  const fields = new Map(value !== null && typeof value === 'object' ? Object.entries(value) : []);
  const dtype = DTYPES.get(String(fields.get('dtype')));
  const shape: unknown = fields.get('shape');
  const offsets: unknown = fields.get('data_offsets');
  if (dtype === undefined)
    throw corrupt(fileName, `tensor "${name}" has the unknown type ${String(fields.get('dtype'))}`);
  if (!isNaturals(shape) || shape.length > 64) throw corrupt(fileName, `tensor "${name}" has no valid shape`);
  if (!isNaturals(offsets) || offsets.length !== 2)
    throw corrupt(fileName, `tensor "${name}" has no valid data_offsets`);
  for (const key of fields.keys()) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') {
      throw corrupt(fileName, `tensor "${name}" has the unknown field "${key}"`);
    }
  }
  const [begin, end] = offsets as [number, number];
  let bytes = BigInt(dtypeBytes(dtype));
  for (const d of shape) bytes *= BigInt(d);
  if (end < begin || bytes !== BigInt(end - begin)) {
    throw corrupt(fileName, `tensor "${name}": ${end - begin} bytes do not hold shape [${shape.join(', ')}]`);
  }
  return { name, dtype, shape, begin, end };
}

/** Every byte of the data part belongs to exactly one tensor. */
function checkCoverage(entries: readonly Entry[], dataLength: number, fileName: string): void {
  let at = 0;
  for (const e of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (e.begin !== at) throw corrupt(fileName, `tensor "${e.name}" overlaps another or leaves a gap`);
    at = e.end;
  }
  if (at > dataLength) throw corrupt(fileName, `${at - dataLength} bytes are missing at its end`);
  if (at < dataLength) throw corrupt(fileName, `${dataLength - at} bytes at its end belong to no tensor`);
}

function readMetadata(value: unknown, fileName: string): Map<string, string> {
  const out = new Map<string, string>();
  if (value === undefined || value === null) return out;
  if (typeof value !== 'object' || Array.isArray(value))
    throw corrupt(fileName, '__metadata__ is not an object');
  for (const [k, v] of Object.entries(value)) {
    if (typeof v !== 'string') throw corrupt(fileName, `__metadata__ "${k}" is not text`);
    out.set(k, v);
  }
  return out;
}

/** Reads a whole safetensors file. @throws UserError 'file-empty' or 'file-corrupt' naming the file. */
export function readSafetensors(bytes: Uint8Array, fileName: string): SafetensorsFile {
  const { text, dataStart } = readHeaderText(bytes, fileName);
  const { keys, values } = parseHeader(text, fileName);
  if (keys.length > MAX_TENSORS) throw corrupt(fileName, `it names ${keys.length} tensors`);
  const entries: Entry[] = [];
  for (const name of keys)
    if (name !== '__metadata__') entries.push(readEntry(name, values.get(name), fileName));
  checkCoverage(entries, bytes.length - dataStart, fileName);
  const metadata = readMetadata(values.get('__metadata__'), fileName);
  const tensors: TensorMap = new Map();
  for (const e of entries) {
    const data = typedCopy(e.dtype, bytes, dataStart + e.begin, elementCount(e.shape));
    tensors.set(e.name, { dtype: e.dtype, shape: e.shape, data });
  }
  return { tensors, metadata };
}

/** Larger elements first, so that every tensor starts at a multiple of its element size. */
function byAlignment(tensors: TensorMap): [string, HostTensor][] {
  return [...tensors].sort((a, b) => dtypeBytes(b[1].dtype) - dtypeBytes(a[1].dtype));
}

/**
 * Writes a safetensors file; data starts at a multiple of 8 bytes.
 * @param metadata default `{format: 'pt'}`, which the Python libraries ask for.
 * @throws UserError 'tensor-shape' if an array does not fill its shape.
 */
export function writeSafetensors(
  tensors: TensorMap,
  metadata: ReadonlyMap<string, string> = new Map([['format', 'pt']]),
): Uint8Array<ArrayBuffer> {
  const offsets = new Map<string, number>();
  let at = 0;
  for (const [name, t] of byAlignment(tensors)) {
    if (t.data.length !== elementCount(t.shape)) {
      throw new UserError(
        'tensor-shape',
        `tensor "${name}" has ${t.data.length} values for shape [${t.shape.join(', ')}]`,
        {
          subject: name,
        },
      );
    }
    offsets.set(name, at);
    at += t.data.byteLength;
  }
  // Built by hand: a JS object would move names such as "0" to the front and treat "__proto__" specially.
  const fields = [...tensors].map(([name, t]) => {
    const begin = offsets.get(name) as number;
    const value = {
      dtype: NAMES.get(t.dtype),
      shape: t.shape,
      data_offsets: [begin, begin + t.data.byteLength],
    };
    return `${JSON.stringify(name)}:${JSON.stringify(value)}`;
  });
  if (metadata.size > 0) {
    const pairs = [...metadata].map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`);
    fields.unshift(`"__metadata__":{${pairs.join(',')}}`);
  }
  const header = new TextEncoder().encode(`{${fields.join(',')}}`);
  const headerLength = Math.ceil(header.length / 8) * 8;
  const out = new Uint8Array(8 + headerLength + at);
  new DataView(out.buffer).setBigUint64(0, BigInt(headerLength), true);
  out.fill(0x20, 8, 8 + headerLength);
  out.set(header, 8);
  for (const [name, t] of tensors)
    out.set(tensorRawBytes(t), 8 + headerLength + (offsets.get(name) as number));
  return out;
}
