/**
 * @file CCITT Group 4 (T.6) bilevel decoding, as TIFF compression 4 uses it. Imports nothing.
 * Reference: ITU-T T.6 §2.2 and T.4 tables 2 and 3 (run codes); TIFF 6.0 §11.
 */

/** Codes of runs 0..63, then of 64, 128 .. 2560, in this order. */
const WHITE_CODES =
  '00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101 ' +
  '101010 101011 0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 ' +
  '0011000 00000010 00000011 00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111 ' +
  '00101000 00101001 00101010 00101011 00101100 00101101 00000100 00000101 00001010 00001011 01010010 ' +
  '01010011 01010100 01010101 00100100 00100101 01011000 01011001 01011010 01011011 01001010 01001011 ' +
  '00110010 00110011 00110100 11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 ' +
  '01100111 011001100 011001101 011010010 011010011 011010100 011010101 011010110 011010111 011011000 ' +
  '011011001 011011010 011011011 010011000 010011001 010011010 011000 010011011 00000001000 00000001100 ' +
  '00000001101 000000010010 000000010011 000000010100 000000010101 000000010110 000000010111 ' +
  '000000011100 000000011101 000000011110 000000011111';
const BLACK_CODES =
  '0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111 ' +
  '000011000 0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 ' +
  '00000101000 00000010111 00000011000 000011001010 000011001011 000011001100 000011001101 000001101000 ' +
  '000001101001 000001101010 000001101011 000011010010 000011010011 000011010100 000011010101 ' +
  '000011010110 000011010111 000001101100 000001101101 000011011010 000011011011 000001010100 ' +
  '000001010101 000001010110 000001010111 000001100100 000001100101 000001010010 000001010011 ' +
  '000000100100 000000110111 000000111000 000000100111 000000101000 000001011000 000001011001 ' +
  '000000101011 000000101100 000001011010 000001100110 000001100111 0000001111 000011001000 ' +
  '000011001001 000001011011 000000110011 000000110100 000000110101 0000001101100 0000001101101 ' +
  '0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 0000001110011 0000001110100 ' +
  '0000001110101 0000001110110 0000001110111 0000001010010 0000001010011 0000001010100 0000001010101 ' +
  '0000001011010 0000001011011 0000001100100 0000001100101 00000001000 00000001100 00000001101 ' +
  '000000010010 000000010011 000000010100 000000010101 000000010110 000000010111 000000011100 ' +
  '000000011101 000000011110 000000011111';

/** Code words by a leading 1 bit followed by the code, so that length matters. */
function codeMap(codes: string): Map<number, number> {
  return new Map(codes.split(' ').map((c, i) => [parseInt(`1${c}`, 2), i < 64 ? i : (i - 63) * 64]));
}

/** Mode codes: vertical -3..3 as numbers, the others by name. */
const MODES = new Map<number, number | 'pass' | 'horizontal'>([
  [0b11, 0],
  [0b1011, 1],
  [0b1010, -1],
  [0b1000011, 2],
  [0b1000010, -2],
  [0b10000011, 3],
  [0b10000010, -3],
  [0b10001, 'pass'],
  [0b1001, 'horizontal'],
]);

const RUNS = [codeMap(WHITE_CODES), codeMap(BLACK_CODES)] as const;

class BitReader {
  private bit = 0;
  constructor(private readonly data: Uint8Array) {}

  /** Reads the next code word of a table; undefined at the end of the data or for no known code. */
  code<T>(table: ReadonlyMap<number, T>, maxBits: number): T | undefined {
    let word = 1;
    for (let i = 0; i < maxBits; i++) {
      const byte = this.data[this.bit >> 3];
      if (byte === undefined) return undefined;
      word = (word << 1) | ((byte >> (7 - (this.bit & 7))) & 1);
      this.bit++;
      const found = table.get(word);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** A run length: make-up codes and a terminating one. */
  run(color: 0 | 1): number | undefined {
    let total = 0;
    for (;;) {
      const part = this.code(RUNS[color], 13);
      if (part === undefined || total > 1e6) return undefined;
      total += part;
      if (part < 64) return total;
    }
  }
}

/** Changing elements (positions where the colour switches, starting from white) of the row below `above`. */
function decodeRow(bits: BitReader, above: readonly number[], width: number): number[] | undefined {
  const row: number[] = [];
  let a0 = -1;
  let color: 0 | 1 = 0;
  let b = 0;
  while (a0 < width) {
    // b1: the first change above, right of a0, towards the colour that is not ours (even entries turn black).
    while (b > 0 && (above[b - 1] as number) > a0) b--;
    while (b < above.length && ((above[b] as number) <= a0 || (b & 1) !== color)) b++;
    const b1 = above[b] ?? width;
    const mode = bits.code(MODES, 7);
    if (mode === undefined) return undefined;
    if (mode === 'pass') {
      a0 = above[b + 1] ?? width;
    } else if (mode === 'horizontal') {
      const first = bits.run(color);
      const second = bits.run(color === 0 ? 1 : 0);
      if (first === undefined || second === undefined) return undefined;
      const start = Math.max(a0, 0);
      if (start + first + second > width) return undefined;
      row.push(start + first, start + first + second);
      a0 = start + first + second;
    } else {
      const a1 = b1 + mode;
      if (a1 < Math.max(a0, 0) || a1 > width) return undefined;
      row.push(a1);
      a0 = a1;
      color = color === 0 ? 1 : 0;
    }
  }
  return withoutEmptyRuns(row);
}

/** Drops runs of length 0: they are no changes of colour for the row below. */
function withoutEmptyRuns(row: readonly number[]): number[] {
  const out: number[] = [];
  for (const x of row) {
    if (out.length > 0 && out[out.length - 1] === x) out.pop();
    else out.push(x);
  }
  return out;
}

/** Decodes rows of bits, 1 where black, most significant bit first. @returns the number of rows decoded. */
export function decodeGroup4(data: Uint8Array, out: Uint8Array, width: number, height: number): number {
  const bits = new BitReader(data);
  const stride = (width + 7) >> 3;
  let above: readonly number[] = [];
  for (let y = 0; y < height; y++) {
    const row = decodeRow(bits, above, width);
    if (row === undefined) return y;
    for (let i = 0; i < row.length; i += 2) {
      const end = row[i + 1] ?? width;
      for (let x = row[i] as number; x < end; x++)
        out[y * stride + (x >> 3)] = (out[y * stride + (x >> 3)] as number) | (0x80 >> (x & 7));
    }
    above = row;
  }
  return height;
}
