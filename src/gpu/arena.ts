/**
 * @file Many tensors in one GPU buffer, each also usable alone: weights, gradients, moments, inputs of a plan. May import tfjs.
 * One buffer, so that an optimiser reaches all parameters in one dispatch; ranges start at multiples of 256 bytes, what WebGPU asks.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { outOfMemoryError } from './health';
import { isView, type BufferView, type StudioBackend } from './studioBackend';

export interface ArenaEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype?: 'float32' | 'int32';
}

/** Elements between two possible starts. */
const STEP = 64;

const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Largest buffer for tensors that are not trained, bytes: half of what every adapter binds. */
const REST_BYTES = 64 * 2 ** 20;

/** Splits entries into groups of at most REST_BYTES (or of one), each for an arena. */
export function bySize<T extends { readonly shape: readonly number[] }>(entries: readonly T[]): T[][] {
  const groups: T[][] = [];
  let held = Number.POSITIVE_INFINITY;
  for (const entry of entries) {
    const bytes = Math.max(256, count(entry.shape) * 4);
    if (held + bytes > REST_BYTES) {
      groups.push([]);
      held = 0;
    }
    groups.at(-1)?.push(entry);
    held += bytes;
  }
  return groups;
}

export class Arena {
  /** Elements, gaps included; a multiple of 64. */
  readonly total: number;
  private readonly buffer: GPUBuffer;
  private readonly entries = new Map<string, { tensor: tf.Tensor; view: BufferView }>();
  private whole: tf.Tensor1D | null = null;

  /** All values are zero at first. @throws UserError 'gpu-out-of-memory' when the device has no buffer of that size. */
  constructor(
    private readonly backend: StudioBackend,
    entries: readonly ArenaEntry[],
  ) {
    const starts: number[] = [];
    let end = 0;
    for (const { shape } of entries) {
      starts.push(end);
      end += Math.max(1, Math.ceil(count(shape) / STEP)) * STEP;
    }
    this.total = Math.max(end, STEP);
    const limit = backend.device.limits.maxBufferSize;
    if (this.total * 4 > limit) {
      const [mb, has] = [this.total * 4, limit].map((bytes) => Math.round(bytes / 2 ** 20));
      throw outOfMemoryError(`the model's tensors take ${mb} MiB, the device's largest buffer is ${has} MiB`);
    }
    this.buffer = backend.allocate(this.total * 4);
    entries.forEach(({ name, shape, dtype }, i) => {
      const view = { buffer: this.buffer, offset: (starts[i] as number) * 4, size: count(shape) * 4 };
      this.entries.set(name, { view, tensor: backend.viewTensor(view, shape, dtype) });
    });
  }

  get bytes(): number {
    return this.total * 4;
  }

  /** The whole buffer as one float32 tensor [total]. */
  get flat(): tf.Tensor1D {
    const view = { buffer: this.buffer, offset: 0, size: this.total * 4 };
    this.whole ??= this.backend.viewTensor(view, [this.total]) as tf.Tensor1D;
    return this.whole;
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  /** Throws if there is no tensor of that name. The arena owns it. */
  tensor(name: string): tf.Tensor {
    return this.entry(name).tensor;
  }

  view(name: string): BufferView {
    return this.entry(name).view;
  }

  /** First element of a tensor within `flat`. */
  start(name: string): number {
    return this.entry(name).view.offset / 4;
  }

  /** Writes values from the host; ordered after all work encoded so far. */
  write(name: string, values: Float32Array | Int32Array): void {
    const { view } = this.entry(name);
    if (values.byteLength !== view.size) {
      throw new Error(`${name}: ${values.byteLength} bytes for a tensor of ${view.size}`);
    }
    this.backend.writeInto(view.buffer, view.offset, values);
  }

  dispose(): void {
    for (const { tensor } of this.entries.values()) if (!tensor.isDisposed) tensor.dispose();
    this.entries.clear();
    this.whole?.dispose();
    this.whole = null;
    this.backend.free(this.buffer);
  }

  private entry(name: string): { tensor: tf.Tensor; view: BufferView } {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new Error(`There is no tensor "${name}" in the arena`);
    return entry;
  }
}

/** Whether tf.variable or a host copy still refers to the range it was made for (tf's assign() would have swapped it). */
export function isAt(backend: StudioBackend, tensor: tf.Tensor, view: BufferView): boolean {
  if (tensor.isDisposed) return false;
  const { resource } = backend.record(tensor.dataId);
  return isView(resource) && resource.buffer === view.buffer && resource.offset === view.offset;
}
