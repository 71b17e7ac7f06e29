/** @file CRC-32 (zip, PNG), CRC-32C (TensorBoard) and Adler-32 (zlib). Imports nothing. */

/** Eight tables for slicing-by-4 on a reflected polynomial. */
function crcTables(polynomial: number): readonly Uint32Array[] {
  const tables = Array.from({ length: 4 }, () => new Uint32Array(256));
  const [t0] = tables as [Uint32Array];
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ polynomial : c >>> 1;
    t0[n] = c >>> 0;
  }
  for (let k = 1; k < 4; k++) {
    const before = tables[k - 1] as Uint32Array;
    const table = tables[k] as Uint32Array;
    for (let n = 0; n < 256; n++) {
      const c = before[n] as number;
      table[n] = ((c >>> 8) ^ (t0[c & 255] as number)) >>> 0;
    }
  }
  return tables;
}

function crc(tables: readonly Uint32Array[], bytes: Uint8Array, start: number): number {
  const [t0, t1, t2, t3] = tables as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
  let c = ~start;
  let i = 0;
  for (const end = bytes.length - 3; i < end; i += 4) {
    c ^=
      (bytes[i] as number) |
      ((bytes[i + 1] as number) << 8) |
      ((bytes[i + 2] as number) << 16) |
      ((bytes[i + 3] as number) << 24);
    c =
      (t3[c & 255] as number) ^
      (t2[(c >>> 8) & 255] as number) ^
      (t1[(c >>> 16) & 255] as number) ^
      (t0[c >>> 24] as number);
  }
  for (; i < bytes.length; i++) c = (c >>> 8) ^ (t0[(c ^ (bytes[i] as number)) & 255] as number);
  return ~c >>> 0;
}

let zipTables: readonly Uint32Array[] | undefined;
let castagnoliTables: readonly Uint32Array[] | undefined;

/** CRC-32 of zip and PNG. Pass the previous result to go on over several parts. */
export function crc32(bytes: Uint8Array, previous = 0): number {
  zipTables ??= crcTables(0xedb88320);
  return crc(zipTables, bytes, previous);
}

/** CRC-32C (Castagnoli), as TFRecord files use it. */
export function crc32c(bytes: Uint8Array): number {
  castagnoliTables ??= crcTables(0x82f63b78);
  return crc(castagnoliTables, bytes, 0);
}

/** Adler-32 of zlib streams. */
export function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let i = 0; i < bytes.length;) {
    // 3800 additions cannot overflow 32 bits, so the remainder is taken once per block.
    const end = Math.min(i + 3800, bytes.length);
    for (; i < end; i++) {
      a += bytes[i] as number;
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return ((b << 16) | a) >>> 0;
}
