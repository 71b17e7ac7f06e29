/**
 * @file Numbers as IEEE 754 binary16, two to a 32-bit word (the first in the low half): how frozen weights are stored. Pure.
 */
import { toFloat32 } from '../formats/tensorConvert';

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The bits of the nearest half, ties to even; beyond 65,504 infinite. */
function halfBits(value: number): number {
  float[0] = value;
  const word = bits[0] as number;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477f_f000) return sign | 0x7c00; // 65,520 and more round to infinity
  if (magnitude >= 0x3880_0000) {
    // Normal: the exponent's bias falls from 127 to 15, 13 bits of the fraction are rounded off.
    const rebased = magnitude - 0x3800_0000;
    return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
  }
  // Subnormal: a multiple of 2^-24, which float32 counts exactly.
  const count = Math.abs(float[0] as number) * 2 ** 24;
  const low = Math.floor(count);
  const rest = count - low;
  return sign | (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low);
}

/** Rounds to halves, two to a word; an odd last one leaves a half empty. @returns [ceil(n / 2)] */
export function packHalves(values: Float32Array): Int32Array {
  const packed = new Int32Array(Math.ceil(values.length / 2));
  const words = new Uint16Array(packed.buffer);
  values.forEach((value, i) => (words[i] = halfBits(value)));
  return packed;
}

/** The first `count` numbers of packed halves, exactly. */
export function unpackHalves(packed: Int32Array, count: number): Float32Array {
  const data = new Uint16Array(packed.buffer, packed.byteOffset, count);
  return toFloat32({ dtype: 'float16', shape: [count], data });
}
