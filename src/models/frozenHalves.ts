/**
 * @file Frozen weights of linear layers, kept as halves: two bytes a number instead of four. Part of a ParameterStore; they are no variables
 * and never train. May import gpu, tfjs.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { Arena, bySize, isAt } from '../gpu/arena';
import { packHalves, unpackHalves } from '../gpu/halves';
import { halfToFloat, type HalfWeight } from '../gpu/ops/frozen';
import type { StudioBackend } from '../gpu/studioBackend';
import type { ParameterSpec } from './types';

interface Held {
  readonly weight: HalfWeight;
  readonly arena: Arena | null;
}

const wordsOf = ({ shape }: ParameterSpec): number => Math.ceil(shape.reduce((a, b) => a * b, 1) / 2);

export class FrozenHalves {
  private readonly held = new Map<string, Held>();
  private readonly arenas: readonly Arena[];

  /**
   * All zero at first. On WebGPU in few buffers, else in the host's memory.
   * @param specs of rank 2: (out, in).
   * @throws UserError 'gpu-out-of-memory' as Arena does.
   */
  constructor(backend: StudioBackend | null, specs: readonly ParameterSpec[]) {
    const entries = specs.map((spec) => ({
      spec,
      name: spec.name,
      shape: [wordsOf(spec)],
      dtype: 'int32' as const,
    }));
    const groups =
      backend === null ? [] : bySize(entries).map((group) => ({ group, arena: new Arena(backend, group) }));
    this.arenas = groups.map(({ arena }) => arena);
    const found = new Map(
      groups.flatMap(({ group, arena }) => group.map(({ name }) => [name, arena] as const)),
    );
    for (const spec of specs) {
      const arena = found.get(spec.name) ?? null;
      const stored = arena === null ? new Int32Array(wordsOf(spec)) : arena.tensor(spec.name);
      this.held.set(spec.name, { weight: { stored, shape: spec.shape as [number, number] }, arena });
    }
  }

  get names(): Iterable<string> {
    return this.held.keys();
  }

  /** Bytes of device buffers. */
  get bytes(): number {
    return this.arenas.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Null where the weight is not among these. */
  weight(name: string): HalfWeight | null {
    return this.held.get(name)?.weight ?? null;
  }

  /** A new float32 tensor of a weight, for what is no linear layer; null as above. */
  plain(name: string): tf.Tensor2D | null {
    const weight = this.weight(name);
    return weight === null ? null : halfToFloat(weight);
  }

  /** Rounds to halves. */
  write(name: string, values: Float32Array): void {
    const { weight, arena } = this.entry(name);
    const packed = packHalves(values);
    if (weight.stored instanceof Int32Array) weight.stored.set(packed);
    else arena?.write(name, packed);
  }

  /** The rounded values. */
  async read(name: string): Promise<Float32Array> {
    const { stored, shape } = this.entry(name).weight;
    const words = stored instanceof Int32Array ? stored : ((await stored.data()) as Int32Array);
    return unpackHalves(words, shape[0] * shape[1]);
  }

  /** Name of the first that no longer lies where it was made; null when all do. */
  moved(backend: StudioBackend): string | null {
    for (const [name, { weight, arena }] of this.held) {
      const { stored } = weight;
      if (arena === null || stored instanceof Int32Array) continue;
      if (!isAt(backend, stored, arena.view(name))) return name;
    }
    return null;
  }

  dispose(): void {
    for (const arena of this.arenas) arena.dispose();
    this.held.clear();
  }

  private entry(name: string): Held {
    const entry = this.held.get(name);
    if (entry === undefined) throw new Error(`No weight "${name}" is stored as halves`);
    return entry;
  }
}
