/**
 * @file Training and evaluation passes on WebGPU: batch, random keys and numbers in fixed buffers, so that a pass can be recorded
 * once and replayed. Imports nn, gpu, tfjs-core. Knows no optimiser settings and no files.
 *
 * The same function runs in two ways. Taped: TensorFlow.js executes it. Planned: it is recorded without values, compiled, and
 * replayed for every batch of that shape. Both run the same kernels in the same order and give the same bits.
 */
import * as tf from '@tensorflow/tfjs-core';
import { Arena, isAt } from '../gpu/arena';
import { copyInto } from '../gpu/kernels/adamw';
import { Plan, type PlanFigures } from '../gpu/plan/plan';
import { Recording, RecordingError, VirtualBuffer, type RecordedDispatch } from '../gpu/plan/recording';
import { difference } from '../gpu/plan/signature';
import { SlotPool } from '../gpu/plan/slots';
import type { BufferView, StudioBackend } from '../gpu/studioBackend';
import type { FlatOptimizer } from '../nn/flatOptimizer';
import type { LossParts } from '../nn/losses';
import { dropoutBase } from '../nn/masks';
import type { ParameterStore } from './parameters';
import type { ForwardContext } from './types';

/** Network input and labels of one micro-batch, on the host. */
export interface HostBatch {
  /** [n, size, size, 3], normalised. */
  readonly images: Float32Array;
  /** [n, size, size] label indices. */
  readonly labels: Int32Array;
  readonly count: number;
  readonly size: number;
}

export interface DeviceStepOptions {
  readonly store: ParameterStore;
  readonly seed: number;
  /** Images [n, s, s, 3] to logits [n, s, s, c]. */
  readonly forward: (ctx: ForwardContext, images: tf.Tensor4D) => tf.Tensor4D;
  readonly loss: (logits: tf.Tensor4D, labels: tf.Tensor3D) => LossParts;
  /** Whether blocks are computed again in the backward pass instead of kept. */
  readonly recompute: boolean;
  /** auto: planned, taped where recording is impossible. */
  readonly execution: 'auto' | 'tape' | 'plan';
}

/** Random sites (dropout and drop path layers) a model may have. */
const MAX_SITES = 1024;
/** Loss and its terms. */
const MAX_NUMBERS = 8;

let doubleTrace = false;

/** Records every step twice and compares, to catch values frozen into a plan; for tests and development. Returns the earlier state. */
export function setDoubleTrace(on: boolean): boolean {
  const before = doubleTrace;
  doubleTrace = on;
  return before;
}

/** Buffers of one batch shape. */
interface Inputs {
  readonly arena: Arena;
  readonly images: tf.Tensor4D;
  readonly labels: tf.Tensor3D;
}

interface TrainPlan {
  readonly plan: Plan;
  readonly names: readonly string[];
  readonly counts: boolean; // whether the pass updates running statistics
}

interface EvalPlan {
  readonly plan: Plan;
  readonly logits: VirtualBuffer;
  readonly shape: readonly number[];
}

interface Recorded<T> {
  readonly dispatches: readonly RecordedDispatch[];
  readonly result: T;
}

export class DeviceStep {
  /** Why steps are taped although a plan was allowed; null while plans work. */
  notPlanned: string | null = null;
  private readonly inputs = new Map<string, Inputs>();
  private readonly pool: SlotPool;
  private readonly keys: Arena;
  private readonly sites = new Map<string, number>();
  private readonly numbers: Arena;
  private readonly training = new Map<string, TrainPlan>();
  private readonly evaluation = new Map<string, EvalPlan>();
  private readonly updates = new Map<string, Plan>();

  constructor(
    private readonly backend: StudioBackend,
    private readonly options: DeviceStepOptions,
  ) {
    this.pool = new SlotPool(backend);
    const sites = Array.from({ length: MAX_SITES }, (_, i) => ({
      name: String(i),
      shape: [1],
      dtype: 'int32' as const,
    }));
    this.keys = new Arena(backend, sites);
    const counts = Array.from({ length: MAX_NUMBERS }, (_, i) => ({ name: String(i + 1), shape: [i + 1] }));
    this.numbers = new Arena(backend, counts);
  }

  /** Figures of all plans made so far, for display and measurements. */
  get figures(): readonly PlanFigures[] {
    const plans = [...this.training.values(), ...this.evaluation.values()].map(({ plan }) => plan);
    return [...plans, ...this.updates.values()].map(({ figures }) => figures);
  }

  /** Bytes of the buffers made for plans and inputs, once they run. */
  get bytes(): number {
    const inputs = [...this.inputs.values()].reduce((sum, { arena }) => sum + arena.bytes, 0);
    const constants = this.figures.reduce((sum, { constantBytes }) => sum + constantBytes, 0);
    return this.pool.bytes + this.keys.bytes + this.numbers.bytes + inputs + constants;
  }

  /**
   * Forward and backward pass: gradients into `optimizer.gradients`, running statistics into the store.
   * @param passKey of the random masks.
   * @returns names of the numbers that `readNumbers` gives: "loss" and its terms.
   */
  async gradients(batch: HostBatch, passKey: number, optimizer: FlatOptimizer): Promise<readonly string[]> {
    const inputs = this.write(batch);
    const plan = await this.planned(() => this.trainPlan(batch, inputs, passKey, optimizer));
    this.writeKeys(passKey);
    if (plan === null) {
      const names = this.pass(inputs, passKey, optimizer, (gradient, _, tensor) =>
        copyInto(tensor, gradient),
      );
      if (this.options.store.storeBuffers()) this.options.store.countBatch();
      return names;
    }
    this.assertInPlace(optimizer);
    this.replay([plan.plan]);
    if (plan.counts) this.options.store.countBatch();
    return plan.names;
  }

  /** The optimiser's update from the gradients in place; its `prepare` must have been called. */
  async update(optimizer: FlatOptimizer, accumulated: boolean): Promise<void> {
    await this.inPlace(`update ${accumulated}`, () => optimizer.update(accumulated));
  }

  /** Adds the gradients to the optimiser's mean; its `prepareShare` must have been called. */
  async accumulate(optimizer: FlatOptimizer): Promise<void> {
    await this.inPlace('accumulate', () => optimizer.accumulate());
  }

  /** Work on persistent buffers only: planned under a name, or run. */
  private async inPlace(name: string, work: () => void): Promise<void> {
    const plan = await this.planned(async () => {
      let made = this.updates.get(name);
      if (made === undefined) {
        const { dispatches } = this.record(() => tf.tidy(work));
        made = new Plan(this.backend, this.pool, dispatches, new Map(), new Set());
        await made.compile();
        this.updates.set(name, made);
      }
      made.bind();
      return made;
    });
    if (plan === null) tf.tidy(work);
    else this.replay([plan]);
  }

  /** Loss and terms of the last pass. */
  async readNumbers(count: number): Promise<Float32Array> {
    return (await this.numbers.tensor(String(count)).data()) as Float32Array;
  }

  /** Logits [n, s, s, c] in evaluation mode; the caller disposes. @param images [n, s, s, 3] on the host. */
  async predict(images: Float32Array, count: number, size: number): Promise<tf.Tensor4D> {
    const labels = new Int32Array(0);
    const inputs = this.write({ images, labels, count, size });
    const made = await this.planned(() => this.evalPlan(inputs, `${count} x ${size}`));
    if (made === null) return tf.tidy(() => this.evaluate(inputs));
    const { plan, logits, shape } = made;
    const result = this.backend.makeTensorInfo([...shape], 'float32');
    this.backend.uploadToGPU(result.dataId);
    const target = this.backend.viewOf(result);
    this.replay([plan], (encoder) => {
      const from = plan.viewOf(logits);
      encoder.copyBufferToBuffer(from.buffer, 0, target.buffer, target.offset, from.size);
    });
    return tf.engine().makeTensorFromTensorInfo(result, this.backend) as tf.Tensor4D;
  }

  dispose(): void {
    for (const { plan } of [...this.training.values(), ...this.evaluation.values()]) plan.dispose();
    for (const plan of this.updates.values()) plan.dispose();
    for (const { arena } of this.inputs.values()) arena.dispose();
    this.inputs.clear();
    this.training.clear();
    this.evaluation.clear();
    this.updates.clear();
    this.pool.dispose();
    this.keys.dispose();
    this.numbers.dispose();
  }

  /** Runs `plan` unless steps are taped; a recording that is impossible switches to the tape for good, with its reason. */
  private async planned<T>(plan: () => Promise<T>): Promise<T | null> {
    const { execution } = this.options;
    if (execution === 'tape' || this.notPlanned !== null) return null;
    try {
      return await plan();
    } catch (error) {
      if (!(error instanceof RecordingError) || execution === 'plan') throw error;
      this.notPlanned = error.message;
      return null;
    }
  }

  private write({ images, labels, count, size }: HostBatch): Inputs {
    const key = `${count} x ${size}`;
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
    inputs.arena.write('images', images);
    if (labels.length > 0) inputs.arena.write('labels', labels);
    return inputs;
  }

  private writeKeys(passKey: number): void {
    for (const [site, index] of this.sites) this.writeKey(site, index, passKey);
  }

  private writeKey(site: string, index: number, passKey: number): void {
    const base = dropoutBase([this.options.seed, passKey, site]);
    this.keys.write(String(index), Int32Array.of(base));
  }

  /** Forward and backward; `store` receives each gradient with the place it belongs to. */
  private pass(
    inputs: Inputs,
    passKey: number,
    optimizer: FlatOptimizer,
    store: (gradient: tf.Tensor, view: BufferView, tensor: tf.Tensor) => void,
  ): readonly string[] {
    const { options, sites } = this;
    let terms: Readonly<Record<string, tf.Scalar>> = {};
    const randomKey = (site: string): tf.Tensor1D => {
      let index = sites.get(site);
      if (index === undefined) {
        index = sites.size;
        if (index >= MAX_SITES) throw new Error(`More than ${MAX_SITES} random layers`);
        sites.set(site, index);
        if (this.backend.recording === null) this.writeKey(site, index, passKey);
      }
      return this.keys.tensor(String(index)) as tf.Tensor1D;
    };
    const trained = new Set(optimizer.parameters.map(({ name }) => name));
    const ctx = options.store.context({
      training: true,
      seed: options.seed,
      step: passKey,
      randomKey,
      ...(options.recompute ? { recompute: trained } : {}),
    });
    try {
      return tf.tidy(() => {
        const { value, grads } = tf.variableGrads(
          () => {
            const parts = options.loss(options.forward(ctx, inputs.images), inputs.labels);
            terms = Object.fromEntries(
              Object.entries(parts.terms).map(([name, term]) => [name, tf.keep(tf.clone(term))]),
            );
            return parts.total;
          },
          optimizer.parameters.map(({ variable }) => variable),
        );
        for (const { name, variable } of optimizer.parameters) {
          const { gradients } = optimizer;
          const gradient = grads[variable.name];
          if (gradient !== undefined && gradient !== null) {
            store(gradient, gradients.view(name), gradients.tensor(name));
          }
        }
        const numbers = tf.stack([value, ...Object.values(terms)].map((t) => tf.reshape(t, [])));
        copyInto(this.numbers.tensor(String(numbers.size)), numbers);
        return ['loss', ...Object.keys(terms)] as unknown as tf.TensorContainer;
      }) as unknown as readonly string[];
    } catch (error) {
      options.store.discardBuffers();
      disposeTape();
      throw error;
    } finally {
      tf.dispose(terms);
    }
  }

  private evaluate(inputs: Inputs): tf.Tensor4D {
    const { options } = this;
    const ctx = options.store.context({ training: false, seed: options.seed, step: 0 });
    return options.forward(ctx, inputs.images);
  }

  private record<T>(trace: (recording: Recording) => T): Recorded<T> {
    const once = (): Recorded<T> => {
      const recording = new Recording(this.backend);
      const result = recording.run(() => trace(recording));
      return { dispatches: recording.dispatches, result };
    };
    const recorded = once();
    if (!doubleTrace) return recorded;
    const again = once(); // returned: what the trace stored aside belongs to its last run
    const differs = difference(recorded.dispatches, again.dispatches);
    if (differs !== null) throw new Error(`Two recordings of the same step differ: ${differs}`);
    return again;
  }

  private async trainPlan(
    batch: HostBatch,
    inputs: Inputs,
    passKey: number,
    optimizer: FlatOptimizer,
  ): Promise<TrainPlan> {
    const key = `${batch.count} x ${batch.size}`;
    let made = this.training.get(key);
    if (made === undefined) {
      const { store } = this.options;
      let placed = new Map<VirtualBuffer, BufferView>();
      let counts = false;
      let trace = 0;
      const { dispatches, result: names } = this.record((recording) => {
        placed = new Map();
        // The second trace of a check is of another step: what depends on the step must not be in the plan.
        const passed = this.pass(inputs, passKey + trace++, optimizer, (gradient, view, tensor) => {
          if (place(this.backend, recording, placed, gradient, view)) return;
          // A gradient of two parameters lies in the other's place already, which the same dispatch must not read: a detour.
          copyInto(tensor, tf.mul(gradient, 1));
        });
        counts = store.storeBuffers();
        return passed;
      });
      made = { plan: new Plan(this.backend, this.pool, dispatches, placed, new Set()), names, counts };
      await made.plan.compile();
      this.training.set(key, made);
    }
    made.plan.bind();
    return made;
  }

  private async evalPlan(inputs: Inputs, key: string): Promise<EvalPlan> {
    let made = this.evaluation.get(key);
    if (made === undefined) {
      const { dispatches, result } = this.record(() => {
        const logits = tf.tidy(() => this.evaluate(inputs));
        const { resource } = this.backend.record(logits.dataId);
        const { shape } = logits;
        logits.dispose();
        if (!(resource instanceof VirtualBuffer)) throw new RecordingError('The logits are no result');
        return { buffer: resource, shape };
      });
      const { buffer: logits, shape } = result;
      const plan = new Plan(this.backend, this.pool, dispatches, new Map(), new Set([logits]));
      made = { plan, logits, shape };
      await plan.compile();
      this.evaluation.set(key, made);
    }
    made.plan.bind();
    return made;
  }

  /** One pass, one submit. */
  private replay(plans: readonly Plan[], after?: (encoder: GPUCommandEncoder) => void): void {
    this.backend.flush();
    const encoder = this.backend.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const plan of plans) plan.encode(pass);
    pass.end();
    after?.(encoder);
    this.backend.queue.submit([encoder.finish()]);
  }

  /** A variable that was assigned to no longer lies where the plans read and write it. */
  private assertInPlace(optimizer: FlatOptimizer): void {
    const { trained } = this.options.store;
    for (const { name, variable } of optimizer.parameters) {
      if (trained === null || !isAt(this.backend, variable, trained.view(name))) {
        throw new Error(`The variable "${name}" was replaced; weights must be written in place`);
      }
    }
  }
}

/**
 * Lets a gradient be computed directly in its place; false when it must be copied: it is no temporary of its own, is used for another
 * parameter too, or its kernel reads another gradient (a buffer cannot be read and written in one dispatch).
 */
function place(
  backend: StudioBackend,
  recording: Recording,
  placed: Map<VirtualBuffer, BufferView>,
  gradient: tf.Tensor,
  view: BufferView,
): boolean {
  const { resource } = backend.record(gradient.dataId);
  if (!(resource instanceof VirtualBuffer) || resource.kind !== 'temporary') return false;
  if (placed.has(resource) || resource.size !== view.size) return false;
  for (const { bindings } of recording.dispatches) {
    const mine = bindings.filter(({ target }) => target === resource);
    if (mine.length === 0) continue;
    const writes = mine.some(({ access }) => access === 'read_write');
    const others = bindings.filter(
      ({ target }) => target instanceof VirtualBuffer && target !== resource && placed.has(target),
    );
    if (others.some(({ access }) => (access === 'read_write') !== writes)) return false;
  }
  placed.set(resource, view);
  return true;
}

/**
 * Frees what the forward pass kept for a backward pass that never came: tfjs does so only at the end of a gradient that succeeds,
 * so a step that runs out of memory would hold all its activations for ever.
 */
export function disposeTape(): void {
  const { state } = tf.engine();
  for (const node of state.activeTape ?? []) {
    for (const saved of node.saved ?? []) if (!saved.isDisposed) saved.dispose();
  }
  state.activeTape = [];
}
