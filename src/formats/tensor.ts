/**
 * @file A named array on the host, as checkpoint files hold it. Typed arrays only, no tensor library.
 * Layout is always the file's (torch's: Linear (out, in), Conv2d (out, in, kh, kw)), row-major and contiguous.
 */

export type TensorDtype =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint64'
  | 'uint32'
  | 'uint16'
  | 'uint8'
  | 'bool'
  | 'float8_e4m3fn'
  | 'float8_e5m2';

/** `data` holds the raw bits for 16-bit floats (Uint16Array) and 8-bit floats (Uint8Array). */
export interface HostTensor {
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  readonly data:
    | Float64Array
    | Float32Array
    | Uint16Array
    | BigInt64Array
    | BigUint64Array
    | Int32Array
    | Uint32Array
    | Int16Array
    | Int8Array
    | Uint8Array;
}

/** Name (dotted, as in the file) to tensor, in the file's order. A Map: names come from untrusted files. */
export type TensorMap = Map<string, HostTensor>;

/** A float32 tensor from numbers. */
export function float32Tensor(shape: readonly number[], data: Float32Array): HostTensor {
  return { dtype: 'float32', shape, data };
}
