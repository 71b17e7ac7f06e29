/**
 * @file What a restricted unpickling can yield: plain data and tensors, no classes, no code. Imports formats/tensor.
 * Containers may be shared and lists and dicts may contain themselves: walk them with a visited set, never by recursion alone.
 */
import type { TensorDtype } from './tensor';

export interface PickleList {
  readonly kind: 'list';
  readonly items: PickleValue[];
}

export interface PickleTuple {
  readonly kind: 'tuple';
  readonly items: readonly PickleValue[];
  /** Nesting of tuples in tuples, 1 for a flat one. */
  readonly depth: number;
}

export interface PickleDict {
  readonly kind: 'dict';
  /** Keys of any origin: a Map, so "__proto__" is a name like any other. */
  readonly entries: Map<PickleValue, PickleValue>;
}

/** A block of elements in the file. */
export interface PickleStorage {
  readonly kind: 'storage';
  readonly dtype: TensorDtype;
  readonly key: string;
  readonly count: number;
  /** Offset into another storage's elements (views of the legacy format). */
  readonly viewOffset: number;
  /** The key of the storage that holds the bytes. */
  readonly rootKey: string;
}

/** A strided view of a storage; bounds are checked. */
export interface PickleTensor {
  readonly kind: 'tensor';
  readonly storage: PickleStorage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** A name from the allow-list: a function, class or dtype that means something to the reader only. */
export interface PickleGlobal {
  readonly kind: 'global';
  readonly name: string;
}

/** A numpy dtype of a scalar, such as "f8"; `little` after its byte order was read. */
export interface PickleNumpyDtype {
  readonly kind: 'numpy-dtype';
  readonly code: string;
  byteOrder: string;
}

export interface PickleBytes {
  readonly kind: 'bytes';
  readonly bytes: Uint8Array;
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleBytes
  | PickleList
  | PickleTuple
  | PickleDict
  | PickleStorage
  | PickleTensor
  | PickleGlobal
  | PickleNumpyDtype;
