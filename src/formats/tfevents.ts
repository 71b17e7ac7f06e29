/**
 * @file TensorBoard event files: scalars and PNG images. Imports formats and lib only.
 * Reference: tensorboard/compat/proto/{event,summary}.proto, TFRecord framing with masked CRC-32C; peers.md §4.2.
 */
import { concatBytes } from '../lib/bytes';
import { crc32c } from './checksums';

/** TFRecord's masked checksum. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const c = crc32c(bytes);
  return (((c >>> 15) | (c << 17)) + 0xa282ead8) >>> 0;
}

function frame(data: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(16 + data.length);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return out;
}

/** Base-128 varint of a non-negative integer up to 2^53. */
function varint(value: number): number[] {
  const out: number[] = [];
  let v = value;
  while (v >= 128) {
    out.push((v % 128) | 128);
    v = Math.floor(v / 128);
  }
  out.push(v);
  return out;
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function tag(field: number, wire: number): number[] {
  return varint(field * 8 + wire);
}

function intField(field: number, value: number): Uint8Array {
  return Uint8Array.from([...tag(field, VARINT), ...varint(value)]);
}

function bytesField(field: number, body: Uint8Array): Uint8Array {
  return concatBytes([Uint8Array.from([...tag(field, BYTES), ...varint(body.length)]), body]);
}

function textField(field: number, text: string): Uint8Array {
  return bytesField(field, new TextEncoder().encode(text));
}

function doubleField(field: number, value: number): Uint8Array {
  const body = new Uint8Array(new Float64Array([value]).buffer);
  return concatBytes([Uint8Array.from(tag(field, FIXED64)), body]);
}

function floatField(field: number, value: number): Uint8Array {
  const body = new Uint8Array(new Float32Array([value]).buffer);
  return concatBytes([Uint8Array.from(tag(field, FIXED32)), body]);
}

function event(wallTime: number, step: number, rest: Uint8Array): Uint8Array<ArrayBuffer> {
  return frame(concatBytes([doubleField(1, wallTime), intField(2, step), rest]));
}

/** The record every event file begins with. @param wallTime seconds since 1970. */
export function fileVersionEvent(wallTime: number): Uint8Array<ArrayBuffer> {
  return frame(concatBytes([doubleField(1, wallTime), textField(3, 'brain.Event:2')]));
}

/** One scalar, e.g. "val/dice". @param wallTime seconds since 1970. */
export function scalarEvent(
  name: string,
  step: number,
  value: number,
  wallTime: number,
): Uint8Array<ArrayBuffer> {
  const summaryValue = concatBytes([textField(1, name), floatField(2, value)]);
  return event(wallTime, step, bytesField(5, bytesField(1, summaryValue)));
}

export interface EventImage {
  readonly width: number;
  readonly height: number;
  /** 1 grey, 3 RGB, 4 RGBA. */
  readonly channels: 1 | 3 | 4;
  readonly png: Uint8Array;
}

/** One PNG image. @param wallTime seconds since 1970. */
export function imageEvent(
  name: string,
  step: number,
  image: EventImage,
  wallTime: number,
): Uint8Array<ArrayBuffer> {
  const body = concatBytes([
    intField(1, image.height),
    intField(2, image.width),
    intField(3, image.channels),
    bytesField(4, image.png),
  ]);
  const summaryValue = concatBytes([textField(1, name), bytesField(4, body)]);
  return event(wallTime, step, bytesField(5, bytesField(1, summaryValue)));
}

/** "events.out.tfevents.<seconds>.<host>.<pid>.<uid>", the name TensorBoard looks for. */
export function eventFileName(wallTime: number, host = 'tinyusfm-studio', uid = 0): string {
  return `events.out.tfevents.${String(Math.floor(wallTime)).padStart(10, '0')}.${host}.0.${uid}`;
}
