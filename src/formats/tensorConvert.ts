/**
 * @file Element sizes, typed views and float32 conversion of host tensors. Imports formats/tensor only.
 * Float formats: IEEE 754 binary16, bfloat16 (upper half of a float32), OCP 8-bit floats E4M3FN and E5M2.
 */
import type { HostTensor, TensorDtype } from './tensor';

const BYTES: Readonly<Record<TensorDtype, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint64: 8,
  uint32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
  float8_e4m3fn: 1,
  float8_e5m2: 1,
};

/** Bytes of one element. */
export function dtypeBytes(dtype: TensorDtype): number {
  return BYTES[dtype];
}

/** Number of elements of a shape; 1 for a scalar (`[]`). */
export function elementCount(shape: readonly number[]): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

/** Bytes of a tensor's elements. */
export function tensorBytes(t: HostTensor): number {
  return elementCount(t.shape) * BYTES[t.dtype];
}

/** The tensor's elements as little-endian bytes (a view, no copy). */
export function tensorRawBytes(t: HostTensor): Uint8Array {
  return new Uint8Array(t.data.buffer, t.data.byteOffset, t.data.byteLength);
}

/** Copies `count` elements that start at byte `at` into an array of the dtype's own kind. Little-endian hosts. */
export function typedCopy(
  dtype: TensorDtype,
  bytes: Uint8Array,
  at: number,
  count: number,
): HostTensor['data'] {
  const copy = bytes.slice(at, at + count * BYTES[dtype]).buffer;
  return typedView(dtype, copy);
}

/** A zeroed array of the dtype's own kind. */
export function typedZeros(dtype: TensorDtype, count: number): HostTensor['data'] {
  return typedView(dtype, new ArrayBuffer(count * BYTES[dtype]));
}

function typedView(dtype: TensorDtype, buffer: ArrayBuffer): HostTensor['data'] {
  switch (dtype) {
    case 'float64':
      return new Float64Array(buffer);
    case 'float32':
      return new Float32Array(buffer);
    case 'float16':
    case 'bfloat16':
    case 'uint16':
      return new Uint16Array(buffer);
    case 'int64':
      return new BigInt64Array(buffer);
    case 'uint64':
      return new BigUint64Array(buffer);
    case 'int32':
      return new Int32Array(buffer);
    case 'uint32':
      return new Uint32Array(buffer);
    case 'int16':
      return new Int16Array(buffer);
    case 'int8':
      return new Int8Array(buffer);
    default:
      return new Uint8Array(buffer);
  }
}

/** The value of a small float given its fields; `finiteOnly` is E4M3FN (no infinities, all ones is NaN). */
function smallFloat(bits: number, exponentBits: number, mantissaBits: number, finiteOnly: boolean): number {
  const sign = bits >>> (exponentBits + mantissaBits) ? -1 : 1;
  const top = (1 << exponentBits) - 1;
  const bias = top >> 1;
  const e = (bits >>> mantissaBits) & top;
  const m = bits & ((1 << mantissaBits) - 1);
  const unit = 1 << mantissaBits;
  if (e === 0) return sign * (m / unit) * 2 ** (1 - bias);
  if (e === top && !finiteOnly) return m === 0 ? sign * Infinity : NaN;
  if (e === top && m === unit - 1) return NaN;
  return sign * (1 + m / unit) * 2 ** (e - bias);
}

let halfTable: Float32Array | undefined;

/** All 65 536 half-precision values by their bits. Built once, 256 kB. */
function halfValues(): Float32Array {
  if (halfTable === undefined) {
    halfTable = new Float32Array(65536);
    for (let i = 0; i < 65536; i++) halfTable[i] = smallFloat(i, 5, 10, false);
  }
  return halfTable;
}

function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = (bits[i] as number) << 16;
  return new Float32Array(out.buffer);
}

function fromTable(codes: ArrayLike<number>, table: Float32Array): Float32Array {
  const out = new Float32Array(codes.length);
  for (let i = 0; i < out.length; i++) out[i] = table[codes[i] as number] as number;
  return out;
}

/**
 * The elements as float32, in the tensor's order. float32 data is returned as it is (not copied); float64 and 64-bit
 * integers are rounded to nearest; bool gives 0 and 1.
 */
export function toFloat32(t: HostTensor): Float32Array {
  const { data } = t;
  if (data instanceof Float32Array) return data;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    const out = new Float32Array(data.length);
    for (let i = 0; i < out.length; i++) out[i] = Number(data[i]);
    return out;
  }
  switch (t.dtype) {
    case 'float16':
      return fromTable(data, halfValues());
    case 'bfloat16':
      return bfloat16ToFloat32(data as Uint16Array);
    case 'float8_e4m3fn':
    case 'float8_e5m2': {
      const e4m3 = t.dtype === 'float8_e4m3fn';
      const table = Float32Array.from({ length: 256 }, (_, i) =>
        smallFloat(i, e4m3 ? 4 : 5, e4m3 ? 3 : 2, e4m3),
      );
      return fromTable(data, table);
    }
    default:
      return Float32Array.from(data);
  }
}
