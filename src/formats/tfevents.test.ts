import { expect, it } from 'vitest';
import { concatBytes } from '../lib/bytes';
import { adler32, crc32, crc32c } from './checksums';
import { writePng } from './png';
import { eventFileName, fileVersionEvent, imageEvent, maskedCrc32c, scalarEvent } from './tfevents';

const ascii = (s: string): Uint8Array => new TextEncoder().encode(s);

it('checksums equal the published check values', () => {
  expect(crc32(ascii('123456789'))).toBe(0xcbf43926);
  expect(crc32(ascii('6789'), crc32(ascii('12345')))).toBe(0xcbf43926);
  expect(crc32c(ascii('123456789'))).toBe(0xe3069283);
  // RFC 3720, B.4: 32 bytes of zeros.
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(adler32(ascii('Wikipedia'))).toBe(0x11e60398);
  expect(maskedCrc32c(new Uint8Array(32))).toBe(
    (((0x8a9136aa >>> 15) | (0x8a9136aa << 17)) + 0xa282ead8) >>> 0,
  );
});

it('frames records and encodes events as the TensorBoard protocol says', () => {
  const png = writePng({ width: 2, height: 1, mode: 'L', data: Uint8Array.of(0, 255) });
  const file = concatBytes([
    fileVersionEvent(1700000000.5),
    scalarEvent('train/loss', 0, 0.75, 1700000001),
    scalarEvent('val/dice', 300, 0.5, 1700000002),
    imageEvent('val/case', 300, { width: 2, height: 1, channels: 1, png }, 1700000003),
  ]);
  const view = new DataView(file.buffer);
  let at = 0;
  let records = 0;
  while (at < file.length) {
    const length = Number(view.getBigUint64(at, true));
    expect(view.getUint32(at + 8, true)).toBe(maskedCrc32c(file.subarray(at, at + 8)));
    expect(view.getUint32(at + 12 + length, true)).toBe(
      maskedCrc32c(file.subarray(at + 12, at + 12 + length)),
    );
    at += 16 + length;
    records++;
  }
  expect([at, records]).toEqual([file.length, 4]);
  // The scalar record byte by byte: wall time, step, summary { value { tag, simple_value } }.
  const scalar = [...scalarEvent('a', 300, 1, 0)].slice(12, -4);
  expect(scalar).toEqual([
    9, 0, 0, 0, 0, 0, 0, 0, 0, 16, 172, 2, 42, 10, 10, 8, 10, 1, 97, 21, 0, 0, 128, 63,
  ]);
  expect(eventFileName(1700000000.5)).toBe('events.out.tfevents.1700000000.tinyusfm-studio.0.0');
});
