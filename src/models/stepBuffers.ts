/**
 * @file The buffers through which the host and a recorded pass talk: batches in, random keys in, losses out. They stay where they are,
 * so that a plan may be bound to them. Imports gpu, nn.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { Arena } from '../gpu/arena';
import type { StudioBackend } from '../gpu/studioBackend';
import { dropoutBase } from '../nn/masks';

/** Network input and labels of one micro-batch, on the host. */
export interface HostBatch {
  /** [n, size, size, 3], normalised. */
  readonly images: Float32Array;
  /** [n, size, size] label indices. */
  readonly labels: Int32Array;
  readonly count: number;
  readonly size: number;
}

/** Buffers of one batch shape. */
export interface StepInputs {
  readonly arena: Arena;
  readonly images: tf.Tensor4D; // [n, size, size, 3]
  readonly labels: tf.Tensor3D; // [n, size, size] int32
}

/** Random sites (dropout and drop path layers) a model may have. */
const MAX_SITES = 1024;
/** Loss and its terms. */
const MAX_NUMBERS = 8;

export const shapeKey = (count: number, size: number): string => `${count} x ${size}`;

export class StepBuffers {
  private readonly inputs = new Map<string, StepInputs>();
  private readonly keys: Arena;
  private readonly sites = new Map<string, number>();
  private readonly numbers: Arena;

  constructor(
    private readonly backend: StudioBackend,
    private readonly seed: number,
  ) {
    const sites = Array.from({ length: MAX_SITES }, (_, i) => ({
      name: String(i),
      shape: [1],
      dtype: 'int32' as const,
    }));
    this.keys = new Arena(backend, sites);
    const counts = Array.from({ length: MAX_NUMBERS }, (_, i) => ({ name: String(i + 1), shape: [i + 1] }));
    this.numbers = new Arena(backend, counts);
  }

  get bytes(): number {
    const batches = [...this.inputs.values()].reduce((sum, { arena }) => sum + arena.bytes, 0);
    return batches + this.keys.bytes + this.numbers.bytes;
  }

  /** The buffers of a batch shape, made when first asked for. */
  inputsOf(count: number, size: number): StepInputs {
    const key = shapeKey(count, size);
    let inputs = this.inputs.get(key);
    if (inputs === undefined) {
      const arena = new Arena(this.backend, [
        { name: 'images', shape: [count, size, size, 3] },
        { name: 'labels', shape: [count, size, size], dtype: 'int32' },
      ]);
      inputs = {
        arena,
        images: arena.tensor('images') as tf.Tensor4D,
        labels: arena.tensor('labels') as tf.Tensor3D,
      };
      this.inputs.set(key, inputs);
    }
    return inputs;
  }

  /** Writes a batch; without labels (length 0) only its images. */
  write({ images, labels, count, size }: HostBatch): StepInputs {
    const inputs = this.inputsOf(count, size);
    inputs.arena.write('images', images);
    if (labels.length > 0) inputs.arena.write('labels', labels);
    return inputs;
  }

  /** The key [1] int32 of a random layer. A site met for the first time outside a recording gets its value at once. */
  randomKey(site: string, passKey: number): tf.Tensor1D {
    let index = this.sites.get(site);
    if (index === undefined) {
      index = this.sites.size;
      if (index >= MAX_SITES) throw new Error(`More than ${MAX_SITES} random layers`);
      this.sites.set(site, index);
      if (this.backend.recording === null) this.writeKey(site, index, passKey);
    }
    return this.keys.tensor(String(index)) as tf.Tensor1D;
  }

  /** Writes the keys of all sites known, for a pass. */
  writeKeys(passKey: number): void {
    for (const [site, index] of this.sites) this.writeKey(site, index, passKey);
  }

  /** Where a pass leaves its loss and terms: [count]. */
  numbersOf(count: number): tf.Tensor {
    return this.numbers.tensor(String(count));
  }

  dispose(): void {
    for (const { arena } of this.inputs.values()) arena.dispose();
    this.inputs.clear();
    this.keys.dispose();
    this.numbers.dispose();
  }

  private writeKey(site: string, index: number, passKey: number): void {
    const base = dropoutBase([this.seed, passKey, site]);
    this.keys.write(String(index), Int32Array.of(base));
  }
}
