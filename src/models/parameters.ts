/**
 * @file A model's tensors on the device: variables by checkpoint name, running statistics, counters.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { HostTensor, TensorMap } from '../formats/tensor';
import { toFloat32 } from '../formats/tensorConvert';
import { Arena, bySize, isAt } from '../gpu/arena';
import { copyInto } from '../gpu/kernels/adamw';
import { kernelsOn, studioBackend } from '../gpu/launch';
import type { StudioBackend } from '../gpu/studioBackend';
import { mapLimit } from '../lib/async';
import { UserError } from '../lib/errors';
import { FrozenHalves } from './frozenHalves';
import type { ForwardContext, ParameterSpec } from './types';

/** Read-backs in flight at once; each holds a staging buffer. */
const PARALLEL_READS = 16;

export interface PassOptions {
  readonly training: boolean;
  readonly seed: number;
  /** Distinct for every forward pass in training (also for each micro-batch): it keys the random masks. */
  readonly step: number;
  readonly capture?: (name: string, value: tf.Tensor) => void;
  /** The key of a random mask on the device (WebGPU); without it masks are made on the host. */
  readonly randomKey?: (site: string) => tf.Tensor1D;
  /** See ForwardContext. */
  readonly recompute?: ReadonlySet<string>;
}

export interface NamedVariable {
  readonly spec: ParameterSpec;
  readonly variable: tf.Variable;
}

export interface StoreOptions {
  /**
   * Which weights of linear layers, (out, in), are kept as halves; asked only for those that are not trained. Their layers read the halves,
   * everything else gets float32 made of them; files get the rounded values.
   */
  readonly frozenHalf?: (spec: ParameterSpec) => boolean;
}

/**
 * Creates variables from host tensors; owns them until `dispose`. With our kernels on WebGPU the variables are ranges of a few large
 * buffers and are only ever written in place: those to be trained lie in one, in the order given, so that one dispatch updates them all.
 */
export class ParameterStore {
  /** The trained parameters' buffer; null on other backends. */
  readonly trained: Arena | null = null;
  private readonly rest = new Map<string, Arena>();
  private readonly halves: FrozenHalves;
  private readonly variables = new Map<string, tf.Variable>();
  private readonly counts = new Map<string, number>();
  private pending = new Map<string, tf.Tensor>();

  /**
   * @param tensors one per spec, of its shape; any float type. Null: all zero, for recordings whose values nobody computes.
   * @param trainedNames parameters that an optimiser will train.
   * @throws UserError 'weights-incomplete' naming the first tensor that is absent or of another shape.
   */
  constructor(
    readonly specs: readonly ParameterSpec[],
    tensors: TensorMap | null,
    trainedNames: readonly string[] = [],
    { frozenHalf = () => false }: StoreOptions = {},
  ) {
    // All are checked before the first is put on the device: a refusal leaves nothing there.
    const checked = specs.map((spec) => [spec, tensors === null ? null : fitting(spec, tensors)] as const);
    const backend = kernelsOn() ? studioBackend() : null;
    const frozen = (spec: ParameterSpec): boolean =>
      spec.kind === 'parameter' && spec.shape.length === 2 && !trainedNames.includes(spec.name);
    this.halves = new FrozenHalves(
      studioBackend(),
      specs.filter((spec) => frozen(spec) && frozenHalf(spec)),
    );
    if (backend !== null) {
      const byName = new Map(specs.map((spec) => [spec.name, spec]));
      const trained = trainedNames.map((name) => byName.get(name) as ParameterSpec);
      this.trained = new Arena(backend, trained);
      const chosen = new Set(trained);
      for (const group of bySize(specs.filter((spec) => this.isVariable(spec) && !chosen.has(spec)))) {
        const arena = new Arena(backend, group);
        for (const { name } of group) this.rest.set(name, arena);
      }
    }
    for (const [spec, value] of checked) {
      if (spec.kind === 'counter') {
        this.counts.set(spec.name, Number(value?.data[0] ?? 0));
      } else if (this.isVariable(spec)) {
        this.variables.set(spec.name, this.variable(spec, value === null ? null : toFloat32(value)));
      } else if (value !== null) {
        this.halves.write(spec.name, toFloat32(value));
      }
    }
  }

  private isVariable({ kind, name }: ParameterSpec): boolean {
    return kind !== 'counter' && this.halves.weight(name) === null;
  }

  private arenaOf(name: string): Arena | null {
    if (this.trained?.has(name) === true) return this.trained;
    return this.rest.get(name) ?? null;
  }

  private variable({ name, shape, kind }: ParameterSpec, values: Float32Array | null): tf.Variable {
    const arena = this.arenaOf(name);
    if (arena !== null) {
      if (values !== null) arena.write(name, values);
      return tf.variable(arena.tensor(name), kind === 'parameter');
    }
    const initial = values === null ? tf.zeros([...shape]) : tf.tensor(values, [...shape], 'float32');
    const variable = tf.variable(initial, kind === 'parameter');
    initial.dispose();
    return variable;
  }

  /** Bytes of the device buffers made for the tensors; 0 where tfjs manages them. */
  get arenaBytes(): number {
    const arenas = new Set([...this.rest.values(), ...(this.trained === null ? [] : [this.trained])]);
    return [...arenas].reduce((sum, { bytes }) => sum + bytes, this.halves.bytes);
  }

  /**
   * Checks that every tensor, trained, frozen or running statistic, lies where it was made: a variable that was assigned to no longer
   * does, and a recorded pass would go on with the old values. @throws Error naming the first that was replaced.
   */
  assertInPlace(backend: StudioBackend): void {
    const half = this.halves.moved(backend);
    if (half !== null) throw new Error(`The weight "${half}" was replaced; weights must be written in place`);
    for (const [name, variable] of this.variables) {
      const arena = this.arenaOf(name);
      if (arena !== null && isAt(backend, variable, arena.view(name))) continue;
      throw new Error(`The variable "${name}" was replaced; weights must be written in place`);
    }
  }

  /** The variable of a parameter or buffer. Throws if the model has none of that name, or keeps it as halves. */
  get(name: string): tf.Variable {
    const variable = this.variables.get(name);
    if (variable === undefined) throw new Error(`The model has no tensor "${name}"`);
    return variable;
  }

  /** Parameters that the forward pass uses and that are no halves, in the specs' order: what an optimiser may train. */
  trainable(): NamedVariable[] {
    return this.specs
      .filter((spec) => spec.kind === 'parameter' && spec.unused !== true && this.isVariable(spec))
      .map((spec) => ({ spec, variable: this.get(spec.name) }));
  }

  /** num_batches_tracked by name. */
  get counters(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.counts);
  }

  /** Elements of parameters (unused ones included, as torch counts) and of buffers. */
  elementCounts(): { parameters: number; buffers: number } {
    const total = (kind: ParameterSpec['kind']): number =>
      this.specs
        .filter((spec) => spec.kind === kind)
        .reduce((sum, spec) => sum + spec.shape.reduce((a, b) => a * b, 1), 0);
    return { parameters: total('parameter'), buffers: total('buffer') };
  }

  /** The context of one forward pass. New running statistics wait for `commitBuffers` or `discardBuffers`. */
  context(options: PassOptions): ForwardContext {
    return {
      ...options,
      param: (name) => this.halves.plain(name) ?? this.get(name),
      half: (name) => this.halves.weight(name),
      updateBuffer: (name, value) => {
        this.pending.get(name)?.dispose();
        this.pending.set(name, value);
      },
    };
  }

  /** Takes over the running statistics of the last training pass and counts the batch. */
  commitBuffers(): void {
    if (this.storeBuffers()) this.countBatch();
  }

  /** Takes over the running statistics of the last training pass; whether there were any. For a recording, which counts nothing. */
  storeBuffers(): boolean {
    const any = this.pending.size > 0;
    for (const [name, value] of this.pending) {
      if (this.arenaOf(name) === null) this.get(name).assign(value);
      else copyInto(this.get(name), value);
      value.dispose();
    }
    this.pending = new Map();
    return any;
  }

  /** Counts a training batch in every num_batches_tracked. */
  countBatch(): void {
    for (const [name, count] of this.counts) this.counts.set(name, count + 1);
  }

  /** Forgets the running statistics of the last training pass (a step that is not to count). */
  discardBuffers(): void {
    for (const value of this.pending.values()) value.dispose();
    this.pending = new Map();
  }

  /** Replaces all values; throws as the constructor does, before anything is changed. */
  assign(tensors: TensorMap): void {
    const values = this.specs.map((spec) => fitting(spec, tensors));
    this.specs.forEach((spec, i) => {
      const value = values[i] as HostTensor;
      if (spec.kind === 'counter') {
        this.counts.set(spec.name, Number(value.data[0] ?? 0));
      } else {
        this.write(spec.name, toFloat32(value));
      }
    });
  }

  private write(name: string, values: Float32Array): void {
    if (this.halves.weight(name) !== null) {
      this.halves.write(name, values);
      return;
    }
    const arena = this.arenaOf(name);
    if (arena !== null) {
      arena.write(name, values);
      return;
    }
    const variable = this.get(name);
    const fresh = tf.tensor(values, variable.shape, 'float32');
    variable.assign(fresh);
    fresh.dispose();
  }

  /** A host copy of everything, in the specs' order: float32, counters int64. */
  async toTensorMap(): Promise<TensorMap> {
    const entries = await mapLimit(
      this.specs,
      PARALLEL_READS,
      async (spec): Promise<[string, HostTensor]> => {
        if (spec.kind === 'counter') {
          const data = BigInt64Array.of(BigInt(this.counts.get(spec.name) ?? 0));
          return [spec.name, { dtype: 'int64', shape: [], data }];
        }
        if (!this.isVariable(spec)) {
          return [
            spec.name,
            { dtype: 'float32', shape: spec.shape, data: await this.halves.read(spec.name) },
          ];
        }
        const data = (await this.get(spec.name).data()) as Float32Array;
        // A copy: some backends hand out memory that the next step reuses.
        return [spec.name, { dtype: 'float32', shape: spec.shape, data: data.slice() }];
      },
    );
    return new Map(entries);
  }

  /** Frees all device memory. */
  dispose(): void {
    this.discardBuffers();
    for (const variable of this.variables.values()) variable.dispose();
    this.variables.clear();
    for (const arena of new Set(this.rest.values())) arena.dispose();
    this.rest.clear();
    this.halves.dispose();
    this.trained?.dispose();
  }
}

/** The tensor of a spec, checked for shape. A missing counter is 0: files of other tools leave them out. */
function fitting(spec: ParameterSpec, tensors: TensorMap): HostTensor {
  const value = tensors.get(spec.name);
  if (value === undefined) {
    if (spec.kind === 'counter') return { dtype: 'int64', shape: [], data: new BigInt64Array(1) };
    throw new UserError('weights-incomplete', `The weights have no tensor "${spec.name}"`, {
      subject: spec.name,
    });
  }
  const same = value.shape.length === spec.shape.length && value.shape.every((n, i) => n === spec.shape[i]);
  if (!same && spec.kind !== 'counter') {
    const message = `"${spec.name}" has shape [${value.shape}], the model needs [${spec.shape}]`;
    throw new UserError('weights-incomplete', message, { subject: spec.name });
  }
  return value;
}
