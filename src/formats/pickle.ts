/**
 * @file A restricted unpickler: reads Python's pickle protocol 2-5 as plain data, executes nothing. Imports formats only.
 * Opcodes and names outside the allow-lists are refused. Reference: CPython Lib/pickletools.py; reliability.md D1-D3.
 */
import { callGlobal, findGlobal, PickleError, storageFromId } from './pickleGlobals';
import type { PickleDict, PickleList, PickleTuple, PickleValue } from './pickle.types';

const MAX_OPCODES = 5_000_000;
const MAX_STACK = 100_000;
const MAX_TENSORS = 100_000;
const MAX_STRING_BYTES = 65_536;
const MAX_DEPTH = 64;

const MARK = Symbol('mark');
type StackItem = PickleValue | typeof MARK;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function tuple(items: PickleValue[]): PickleTuple {
  let depth = 1;
  for (const v of items)
    if (typeof v === 'object' && v?.kind === 'tuple') depth = Math.max(depth, v.depth + 1);
  if (depth > MAX_DEPTH) throw new PickleError(`its values are nested more than ${MAX_DEPTH} deep`);
  return { kind: 'tuple', items, depth };
}

class Unpickler {
  private readonly view: DataView;
  private readonly stack: StackItem[] = [];
  private readonly memo = new Map<number, PickleValue>();
  private tensors = 0;

  constructor(
    private readonly bytes: Uint8Array,
    public at: number,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): PickleValue {
    for (let n = 0; n < MAX_OPCODES; n++) {
      const code = this.byte();
      if (code === 0x2e) {
        const value = this.pop();
        checkDepth(value);
        return value;
      }
      this.step(code);
      if (this.stack.length > MAX_STACK) throw new PickleError('it needs too much memory');
    }
    throw new PickleError('it has too many instructions');
  }

  private take(count: number): number {
    const start = this.at;
    if (count > this.bytes.length - start) throw new PickleError('it ends too early');
    this.at = start + count;
    return start;
  }

  private byte(): number {
    return this.bytes[this.take(1)] as number;
  }

  private pop(): PickleValue {
    const v = this.stack.pop();
    if (v === undefined || v === MARK) throw new PickleError('its instructions are inconsistent');
    return v;
  }

  private top(): PickleValue {
    const v = this.stack[this.stack.length - 1];
    if (v === undefined || v === MARK) throw new PickleError('its instructions are inconsistent');
    return v;
  }

  private popToMark(): PickleValue[] {
    const at = this.stack.lastIndexOf(MARK);
    if (at < 0) throw new PickleError('its instructions are inconsistent');
    const items = this.stack.splice(at);
    items.shift();
    return items as PickleValue[];
  }

  private popMany(count: number): PickleValue[] {
    const items: PickleValue[] = [];
    for (let i = 0; i < count; i++) items.unshift(this.pop());
    return items;
  }

  private text(length: number): string {
    if (length > MAX_STRING_BYTES) throw new PickleError('it holds an unreasonably long text');
    const start = this.take(length);
    try {
      return UTF8.decode(this.bytes.subarray(start, start + length));
    } catch {
      throw new PickleError('it holds text that is not UTF-8');
    }
  }

  /** A text line, as GLOBAL has two of. */
  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0 || end - this.at > 256) throw new PickleError('it ends too early');
    const text = this.text(end - this.at);
    this.at = end + 1;
    return text;
  }

  private put(index: number): void {
    this.memo.set(index, this.top());
  }

  private get(index: number): void {
    const v = this.memo.get(index);
    if (v === undefined) throw new PickleError('it refers to a value that is not there');
    this.stack.push(v);
  }

  /** LONG1: a little-endian two's complement integer. */
  private long(length: number): number | bigint {
    const start = this.take(length);
    let v = 0n;
    for (let i = length - 1; i >= 0; i--) v = (v << 8n) | BigInt(this.bytes[start + i] as number);
    v = BigInt.asIntN(length * 8, v);
    return Number.isSafeInteger(Number(v)) ? Number(v) : v;
  }

  private list(): PickleList {
    const v = this.top();
    if (typeof v !== 'object' || v?.kind !== 'list')
      throw new PickleError('it appends to something that is not a list');
    return v;
  }

  private setItems(pairs: PickleValue[]): void {
    const dict = this.top();
    if (typeof dict !== 'object' || dict?.kind !== 'dict' || pairs.length % 2 !== 0) {
      throw new PickleError('it sets an item of something that is not a dictionary');
    }
    for (let i = 0; i < pairs.length; i += 2)
      dict.entries.set(pairs[i] as PickleValue, pairs[i + 1] as PickleValue);
  }

  private reduce(): void {
    const args = this.pop();
    const value = callGlobal(this.pop(), args);
    if (typeof value === 'object' && value?.kind === 'tensor' && ++this.tensors > MAX_TENSORS)
      throw new PickleError('it has too many tensors');
    this.stack.push(value);
  }

  /** BUILD: a state for the object below. Only a numpy type's byte order matters; a dictionary's attributes are dropped. */
  private build(): void {
    const state = this.pop();
    const target = this.top();
    if (typeof target !== 'object' || target === null)
      throw new PickleError('it changes a value that cannot be changed');
    if (target.kind === 'numpy-dtype') {
      const order = typeof state === 'object' && state?.kind === 'tuple' ? state.items[1] : undefined;
      if (typeof order !== 'string' || !/^[<>|=]$/.test(order))
        throw new PickleError('it holds an unknown numpy type');
      target.byteOrder = order;
    } else if (target.kind !== 'dict') {
      throw new PickleError('it changes a value that cannot be changed');
    }
  }

  private step(code: number): void {
    if (this.pushConstant(code) || this.container(code)) return;
    switch (code) {
      case 0x80: // PROTO
        if (this.byte() > 5) throw new PickleError('its protocol is newer than 5');
        return;
      case 0x95: // FRAME: its length is only advice
        this.take(8);
        return;
      case 0x30: // POP
        if (this.stack.pop() === undefined) throw new PickleError('its instructions are inconsistent');
        return;
      case 0x31: // POP_MARK
        this.popToMark();
        return;
      case 0x68: // BINGET
        return this.get(this.byte());
      case 0x6a: // LONG_BINGET
        return this.get(this.view.getUint32(this.take(4), true));
      case 0x71: // BINPUT
        return this.put(this.byte());
      case 0x72: // LONG_BINPUT
        return this.put(this.view.getUint32(this.take(4), true));
      case 0x94: // MEMOIZE
        return this.put(this.memo.size);
      case 0x63: {
        // GLOBAL
        const module = this.line();
        this.stack.push(findGlobal(module, this.line()));
        return;
      }
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.popMany(2);
        if (typeof module !== 'string' || typeof name !== 'string')
          throw new PickleError('it asks for a name that is not text');
        this.stack.push(findGlobal(module, name));
        return;
      }
      case 0x52: // REDUCE
        return this.reduce();
      case 0x62: // BUILD
        return this.build();
      case 0x51: // BINPERSID
        this.stack.push(storageFromId(this.pop()));
        return;
      default:
        throw new PickleError(
          `it uses the instruction 0x${code.toString(16).padStart(2, '0')}, which plain weights files do not need`,
        );
    }
  }

  private pushConstant(code: number): boolean {
    const value = this.constant(code);
    if (value === undefined) return false;
    this.stack.push(value);
    return true;
  }

  private constant(code: number): PickleValue | undefined {
    switch (code) {
      case 0x4e: // NONE
        return null;
      case 0x88: // NEWTRUE
        return true;
      case 0x89: // NEWFALSE
        return false;
      case 0x4a: // BININT
        return this.view.getInt32(this.take(4), true);
      case 0x4b: // BININT1
        return this.byte();
      case 0x4d: // BININT2
        return this.view.getUint16(this.take(2), true);
      case 0x8a: // LONG1
        return this.long(this.byte());
      case 0x47: // BINFLOAT: the one big-endian number
        return this.view.getFloat64(this.take(8), false);
      case 0x58: // BINUNICODE
        return this.text(this.view.getUint32(this.take(4), true));
      case 0x8c: // SHORT_BINUNICODE
        return this.text(this.byte());
      case 0x43: {
        // SHORT_BINBYTES
        const length = this.byte();
        const start = this.take(length);
        return { kind: 'bytes', bytes: this.bytes.slice(start, start + length) };
      }
      default:
        return undefined;
    }
  }

  private container(code: number): boolean {
    switch (code) {
      case 0x28: // MARK
        this.stack.push(MARK);
        return true;
      case 0x7d: // EMPTY_DICT
        this.stack.push({ kind: 'dict', entries: new Map() } satisfies PickleDict);
        return true;
      case 0x5d: // EMPTY_LIST
        this.stack.push({ kind: 'list', items: [] } satisfies PickleList);
        return true;
      case 0x29: // EMPTY_TUPLE
        this.stack.push(tuple([]));
        return true;
      case 0x74: // TUPLE
        this.stack.push(tuple(this.popToMark()));
        return true;
      case 0x85: // TUPLE1, TUPLE2, TUPLE3
      case 0x86:
      case 0x87:
        this.stack.push(tuple(this.popMany(code - 0x84)));
        return true;
      case 0x61: {
        // APPEND
        const item = this.pop();
        this.list().items.push(item);
        return true;
      }
      case 0x65: {
        // APPENDS
        const items = this.popToMark();
        const list = this.list();
        for (const v of items) list.items.push(v);
        return true;
      }
      case 0x73: // SETITEM
        this.setItems(this.popMany(2));
        return true;
      case 0x75: // SETITEMS
        this.setItems(this.popToMark());
        return true;
      default:
        return false;
    }
  }
}

function children(v: PickleValue): Iterable<PickleValue> {
  if (typeof v !== 'object' || v === null) return [];
  if (v.kind === 'list' || v.kind === 'tuple') return v.items;
  return v.kind === 'dict' ? v.entries.values() : [];
}

/** Breadth-first over each container once: shared values are not expanded, cycles end. */
function checkDepth(root: PickleValue): void {
  const seen = new Set<PickleValue>();
  let level: PickleValue[] = [root];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) throw new PickleError(`its values are nested more than ${MAX_DEPTH} deep`);
    const next: PickleValue[] = [];
    for (const v of level) {
      for (const child of children(v)) {
        if (typeof child !== 'object' || child === null || seen.has(child)) continue;
        seen.add(child);
        next.push(child);
      }
    }
    level = next;
  }
}

/** Reads one pickle from `start`. @returns the value and the position after its STOP. @throws PickleError. */
export function unpickle(bytes: Uint8Array, start = 0): { value: PickleValue; end: number } {
  const u = new Unpickler(bytes, start);
  const value = u.run();
  return { value, end: u.at };
}
