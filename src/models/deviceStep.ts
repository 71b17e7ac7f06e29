/**
 * @file Training and evaluation passes on WebGPU: batch, random keys and numbers in fixed buffers, so that a pass can be recorded
 * once and replayed. Imports nn, gpu, tfjs-core. Knows no optimiser settings and no files.
 *
 * The same function runs in two ways. Taped: TensorFlow.js executes it. Planned: it is recorded without values, compiled, and
 * replayed for every batch of that shape. Both run the same kernels in the same order and give the same bits.
 */
import * as tf from '@tensorflow/tfjs-core';
import { copyInto } from '../gpu/kernels/adamw';
import { Plan, type PlanFigures } from '../gpu/plan/plan';
import { RecordingError, type VirtualBuffer } from '../gpu/plan/recording';
import { studioBackend } from '../gpu/launch';
import { SlotPool } from '../gpu/plan/slots';
import type { BufferView, StudioBackend } from '../gpu/studioBackend';
import type { FlatOptimizer } from '../nn/flatOptimizer';
import type { LossParts } from '../nn/losses';
import { EvaluationPasses } from './evaluationPasses';
import type { ParameterStore } from './parameters';
import { shapeKey, StepBuffers, type HostBatch, type StepInputs } from './stepBuffers';
import { place, PlanConditions, recordTrace } from './stepRecording';
import type { ForwardContext } from './types';

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

const ACCUMULATE = 'accumulate';
const updateKey = (accumulated: boolean): string => `update ${accumulated}`;

interface TrainPlan {
  readonly plan: Plan;
  readonly names: readonly string[];
  readonly counts: boolean; // whether the pass updates running statistics
}

/** Batches of a run, for counting its memory before it starts. */
export interface RunShapes {
  readonly size: number; // pixels
  /** Distinct micro-batch sizes in training and in evaluation. */
  readonly train: readonly number[];
  readonly evaluation: readonly number[];
  /** Whether some optimiser steps have one micro-batch, and some several. */
  readonly single: boolean;
  readonly several: boolean;
}

export class DeviceStep {
  /** Why steps are taped although a plan was allowed; null while plans work. */
  notPlanned: string | null = null;
  private readonly buffers: StepBuffers;
  private readonly pool: SlotPool;
  private readonly training = new Map<string, TrainPlan>();
  private readonly evaluation: EvaluationPasses;
  private readonly updates = new Map<string, Plan>();
  private conditions = new PlanConditions();
  private optimizer: FlatOptimizer | null = null; // of the plans

  constructor(
    private readonly backend: StudioBackend,
    private readonly options: DeviceStepOptions,
  ) {
    this.pool = new SlotPool(backend);
    this.buffers = new StepBuffers(backend, options.seed);
    this.evaluation = new EvaluationPasses(backend, this.pool, options);
  }

  /** Figures of all plans made so far, for display and measurements. */
  get figures(): readonly PlanFigures[] {
    const plans = [...[...this.training.values()].map(({ plan }) => plan), ...this.updates.values()];
    return [...plans.map(({ figures }) => figures), ...this.evaluation.figures];
  }

  /** Bytes of the buffers made for plans and inputs, once they run. */
  get bytes(): number {
    const { temporaries, inputs, constants } = this.byteParts;
    return temporaries + inputs + constants;
  }

  /** The parts of `bytes`. */
  get byteParts(): { readonly temporaries: number; readonly inputs: number; readonly constants: number } {
    return {
      temporaries: this.pool.bytes,
      inputs: this.buffers.bytes,
      constants: this.figures.reduce((sum, { constantBytes }) => sum + constantBytes, 0),
    };
  }

  /**
   * Forward and backward pass: gradients into `optimizer.gradients`, running statistics into the store.
   * @param passKey of the random masks.
   * @returns names of the numbers that `readNumbers` gives: "loss" and its terms.
   */
  async gradients(batch: HostBatch, passKey: number, optimizer: FlatOptimizer): Promise<readonly string[]> {
    const inputs = this.buffers.write(batch);
    const plan = await this.planned(optimizer, async () => {
      const made = this.trainPlan(batch, inputs, passKey, optimizer);
      await made.plan.compile();
      made.plan.bind();
      return made;
    });
    this.buffers.writeKeys(passKey);
    if (plan === null) {
      const names = this.pass(inputs, passKey, optimizer, (gradient, _, tensor) =>
        copyInto(tensor, gradient),
      );
      if (this.options.store.storeBuffers()) this.options.store.countBatch();
      return names;
    }
    this.replay([plan.plan]);
    if (plan.counts) this.options.store.countBatch();
    return plan.names;
  }

  /** The optimiser's update from the gradients in place; its `prepare` must have been called. */
  async update(optimizer: FlatOptimizer, accumulated: boolean): Promise<void> {
    await this.inPlace(optimizer, updateKey(accumulated), () => optimizer.update(accumulated));
  }

  /** Adds the gradients to the optimiser's mean; its `prepareShare` must have been called. */
  async accumulate(optimizer: FlatOptimizer): Promise<void> {
    await this.inPlace(optimizer, ACCUMULATE, () => optimizer.accumulate());
  }

  /** Work on persistent buffers only: planned under a name, or run. */
  private async inPlace(optimizer: FlatOptimizer, name: string, work: () => void): Promise<void> {
    const plan = await this.planned(optimizer, async () => {
      const made = this.updatePlan(name, work);
      await made.compile();
      made.bind();
      return made;
    });
    if (plan === null) tf.tidy(work);
    else this.replay([plan]);
  }

  /** Loss and terms of the last pass. */
  async readNumbers(count: number): Promise<Float32Array> {
    return (await this.buffers.numbersOf(count).data()) as Float32Array;
  }

  /** Logits [n, s, s, c] in evaluation mode; the caller disposes. @param images [n, s, s, 3] on the host. */
  async predict(images: Float32Array, count: number, size: number): Promise<tf.Tensor4D> {
    const [logits] = await this.evaluated(images, count, size, []);
    return logits as tf.Tensor4D;
  }

  /**
   * Features in evaluation mode, averaged over their positions: [n, channels] for each name; the caller disposes. Its plan shares weights
   * and memory with those of training. @param images [n, s, s, 3] on the host. @throws Error naming a feature the model has not.
   */
  async embed(
    images: Float32Array,
    count: number,
    size: number,
    names: readonly string[],
  ): Promise<tf.Tensor2D[]> {
    return names.length === 0 ? [] : ((await this.evaluated(images, count, size, names)) as tf.Tensor2D[]);
  }

  /** Logits, or the pooled features of these names. */
  private async evaluated(
    images: Float32Array,
    count: number,
    size: number,
    features: readonly string[],
  ): Promise<tf.Tensor[]> {
    const inputs = this.buffers.write({ images, labels: new Int32Array(0), count, size });
    const made = await this.planned(null, async () => {
      const recorded = this.evaluation.plan(inputs, shapeKey(count, size), features);
      await recorded.plan.compile();
      recorded.plan.bind();
      return recorded;
    });
    if (made === null) return tf.tidy(() => this.evaluation.run(inputs, features));
    return this.evaluation.replay(made, (plan, after) => this.replay([plan], after));
  }

  /**
   * Makes the plans and buffers of a run without compiling or running anything, so that `bytes` and `figures` are known. For
   * StudioBackend.countOnly, where it takes no memory. @param optimizer null: evaluation only.
   * @throws RecordingError when a pass cannot be recorded; UserError 'gpu-out-of-memory' when the device cannot bind a tensor of it.
   */
  reserve({ size, train, evaluation, single, several }: RunShapes, optimizer: FlatOptimizer | null): void {
    if (optimizer !== null) {
      for (const count of train) {
        this.trainPlan({ count, size }, this.buffers.inputsOf(count, size), 0, optimizer).plan.reserve();
      }
      if (several) {
        optimizer.prepareShare(1, true);
        this.updatePlan(ACCUMULATE, () => optimizer.accumulate()).reserve();
      }
      for (const accumulated of [...(single ? [false] : []), ...(several ? [true] : [])]) {
        this.updatePlan(updateKey(accumulated), () => optimizer.update(accumulated)).reserve();
      }
    }
    for (const count of evaluation) {
      this.evaluation.plan(this.buffers.inputsOf(count, size), shapeKey(count, size), []).plan.reserve();
    }
  }

  dispose(): void {
    this.dropPlans();
    this.buffers.dispose();
    this.pool.dispose();
  }

  private dropPlans(): void {
    for (const { plan } of this.training.values()) plan.dispose();
    for (const plan of this.updates.values()) plan.dispose();
    this.evaluation.dispose();
    this.training.clear();
    this.updates.clear();
  }

  /**
   * Refuses what would replay old values, and drops plans that were recorded for something else: another optimiser (its buffers, its
   * trained set, its settings), other kernels or flags. Batch shapes have plans of their own; loss, recompute and seed belong to the
   * session, as does the device, whose loss ends it. @param optimizer null: none takes part.
   */
  private checkPlans(optimizer: FlatOptimizer | null): void {
    if (studioBackend() !== this.backend) throw new Error('The backend that the plans were made for is gone');
    this.options.store.assertInPlace(this.backend);
    const other = optimizer !== null && this.optimizer !== null && optimizer !== this.optimizer;
    if (optimizer !== null) this.optimizer = optimizer;
    if (this.conditions.hold && !other) return;
    this.dropPlans();
    this.conditions = new PlanConditions();
    this.notPlanned = null;
  }

  /** Runs `plan` unless steps are taped; a recording that is impossible switches to the tape for good, with its reason. */
  private async planned<T>(optimizer: FlatOptimizer | null, plan: () => Promise<T>): Promise<T | null> {
    const { execution } = this.options;
    this.checkPlans(optimizer); // taped too: updates go where the variables were made
    if (execution === 'tape' || this.notPlanned !== null) return null;
    try {
      return await plan();
    } catch (error) {
      if (!(error instanceof RecordingError) || execution === 'plan') throw error;
      this.notPlanned = error.message;
      return null;
    }
  }

  /** Forward and backward; `store` receives each gradient with the place it belongs to. */
  private pass(
    inputs: StepInputs,
    passKey: number,
    optimizer: FlatOptimizer,
    store: (gradient: tf.Tensor, view: BufferView, tensor: tf.Tensor) => void,
  ): readonly string[] {
    const { options, buffers } = this;
    let terms: Readonly<Record<string, tf.Scalar>> = {};
    const trained = new Set(optimizer.parameters.map(({ name }) => name));
    const ctx = options.store.context({
      training: true,
      seed: options.seed,
      step: passKey,
      randomKey: (site) => buffers.randomKey(site, passKey),
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
        copyInto(buffers.numbersOf(numbers.size), numbers);
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

  private trainPlan(
    { count, size }: Pick<HostBatch, 'count' | 'size'>,
    inputs: StepInputs,
    passKey: number,
    optimizer: FlatOptimizer,
  ): TrainPlan {
    const key = shapeKey(count, size);
    let made = this.training.get(key);
    if (made === undefined) {
      const { store } = this.options;
      let placed = new Map<VirtualBuffer, BufferView>();
      let counts = false;
      let trace = 0;
      const { dispatches, result: names } = recordTrace(this.backend, (recording) => {
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
      this.training.set(key, made);
    }
    return made;
  }

  private updatePlan(name: string, work: () => void): Plan {
    let made = this.updates.get(name);
    if (made === undefined) {
      const { dispatches } = recordTrace(this.backend, () => tf.tidy(work));
      made = new Plan(this.backend, this.pool, dispatches, new Map(), new Set());
      this.updates.set(name, made);
    }
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
