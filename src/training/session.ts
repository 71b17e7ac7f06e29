/**
 * @file A model with its optimiser on the device: forward, backward, update of one step; prediction. Imports models, nn, gpu, tfjs-core.
 * Knows nothing of epochs, files or events.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import type { TensorMap } from '../formats/tensor';
import { initialTensors } from '../models/initialize';
import { ParameterStore } from '../models/parameters';
import { getModel } from '../models/registry';
import type { ModelDefinition } from '../models/types';
import { resolveOutChannels, segmentationLoss } from '../nn/losses';
import { clipCoefficient, globalNorm, Optimizer } from '../nn/optimizers';
import type { OptimizedParameter } from '../nn/optimizers';

/** Network input and labels of one micro-batch, on the host. */
export interface HostBatch {
  /** [n, size, size, 3], normalised. */
  readonly images: Float32Array;
  /** [n, size, size] label indices. */
  readonly labels: Int32Array;
  readonly count: number;
  readonly size: number;
}

/** Numbers of one optimiser step, read back from the device. */
export interface StepNumbers {
  readonly loss: number;
  readonly terms: Readonly<Record<string, number>>;
  readonly gradNorm: number;
}

/** Which parameters train, with their learning-rate factors and weight decay (reference/models.md sections 3.3 and 4.3). */
export function optimizedParameters(
  config: StudioConfig,
  model: ModelDefinition,
  architecture: unknown,
  store: ParameterStore,
): OptimizedParameter[] {
  const {
    layer_decay: decay,
    head_lr_multiplier: headFactor,
    weight_decay,
    decay_norm_and_bias: decayAll,
  } = config.optimizer;
  const layers = model.layerCount(architecture);
  const out: OptimizedParameter[] = [];
  for (const { spec, variable } of store.trainable()) {
    const backbone = model.isBackbone(spec.name);
    if (backbone && config.training.freeze_backbone) continue;
    const byLayer = decay === null ? 1 : decay ** (layers - model.layerId(architecture, spec.name));
    out.push({
      name: spec.name,
      variable,
      lrScale: byLayer * (backbone ? 1 : headFactor),
      weightDecay: decayAll || spec.decay ? weight_decay : 0,
    });
  }
  return out;
}

export class TrainingSession {
  readonly model: ModelDefinition;
  readonly architecture: unknown;
  readonly store: ParameterStore;
  readonly outChannels: number;
  /** Most tensor bytes alive at the end of a forward pass so far: activations, weights, moments. About a step's peak. */
  peakBytes = 0;
  private madeOptimizer: Optimizer | null = null;

  /**
   * @param weights tensors under the model's names; those absent get their initial values (seeded). Null: all initial.
   */
  constructor(
    readonly config: StudioConfig,
    weights: TensorMap | null,
  ) {
    this.outChannels = resolveOutChannels(config);
    this.model = getModel(config.model.name);
    this.architecture = this.model.architecture(config.model, this.outChannels);
    const specs = this.model.parameters(this.architecture);
    const absent = specs.filter((spec) => weights?.has(spec.name) !== true);
    this.store = new ParameterStore(
      specs,
      new Map([...(weights ?? []), ...initialTensors(absent, config.seed)]),
    );
  }

  /** Made when first asked for: its moments take twice the weights' memory, which a test does not need. */
  get optimizer(): Optimizer {
    this.madeOptimizer ??= new Optimizer(
      this.config.optimizer,
      optimizedParameters(this.config, this.model, this.architecture, this.store),
    );
    return this.madeOptimizer;
  }

  private get variables(): tf.Variable[] {
    return this.optimizer.parameters.map((p) => p.variable);
  }

  /** Logits [n, s, s, c] of images [n, s, s, 3] in evaluation mode; the caller disposes. */
  predict(images: tf.Tensor4D): tf.Tensor4D {
    return tf.tidy(() => {
      const ctx = this.store.context({ training: false, seed: this.config.seed, step: 0 });
      return this.model.forward(ctx, this.architecture, images);
    });
  }

  /**
   * One optimiser step over one or more micro-batches (their mean gradient; BatchNorm sees each micro-batch alone).
   * @param stepsDone optimiser steps before this one.
   * @param passKey distinct per micro-batch: keys the random masks.
   * @returns a reader of the step's numbers; it resolves when the device has computed them.
   */
  step(
    batches: readonly HostBatch[],
    lr: number,
    stepsDone: number,
    passKey: number,
  ): () => Promise<StepNumbers> {
    const total = batches.reduce((n, b) => n + b.count, 0);
    const sums = new Map<string, tf.Tensor>();
    const termSums: Record<string, tf.Scalar> = {};
    try {
      batches.forEach((batch, i) => {
        const share = batch.count / total; // a short last micro-batch weighs by its images
        const { grads, loss, terms } = this.gradients(batch, passKey + i);
        accumulate(sums, grads, batches.length === 1 ? null : share);
        accumulateScalars(termSums, { loss, ...terms }, batches.length === 1 ? null : share);
        this.store.commitBuffers();
      });
      return this.update(sums, termSums, lr, stepsDone);
    } finally {
      // Also after a failure (out of memory): what follows tries again with less.
      tf.dispose([...Object.values(termSums), ...sums.values()]);
    }
  }

  private update(
    sums: ReadonlyMap<string, tf.Tensor>,
    termSums: Readonly<Record<string, tf.Scalar>>,
    lr: number,
    stepsDone: number,
  ): () => Promise<StepNumbers> {
    const names = Object.keys(termSums);
    const clip = this.config.training.gradient_clip;
    const packed = tf.tidy(() => {
      const norm = globalNorm([...sums.values()]);
      this.optimizer.step(sums, lr, stepsDone, clip === null ? null : clipCoefficient(norm, clip));
      return tf.stack([norm, ...names.map((n) => termSums[n] as tf.Scalar)]);
    });
    return async () => {
      const values = await packed.data().finally(() => packed.dispose());
      const named = Object.fromEntries(names.map((n, i) => [n, values[i + 1] as number]));
      const { loss, ...terms } = named;
      return { loss: loss as number, terms, gradNorm: values[0] as number };
    };
  }

  private gradients(
    batch: HostBatch,
    passKey: number,
  ): { grads: Map<string, tf.Tensor>; loss: tf.Scalar; terms: Record<string, tf.Scalar> } {
    const { count, size } = batch;
    const terms: Record<string, tf.Scalar> = {};
    const inputs: tf.Tensor[] = [];
    try {
      const images = tf.tensor4d(batch.images, [count, size, size, 3]);
      inputs.push(images);
      const labels = tf.tensor3d(batch.labels, [count, size, size], 'int32');
      inputs.push(labels);
      const { value, grads } = tf.variableGrads(() => {
        const ctx = this.store.context({ training: true, seed: this.config.seed, step: passKey });
        const logits = this.model.forward(ctx, this.architecture, images);
        const parts = segmentationLoss(this.config.loss, logits, labels);
        for (const [name, term] of Object.entries(parts.terms)) terms[name] = tf.keep(tf.clone(term));
        this.peakBytes = Math.max(this.peakBytes, tf.memory().numBytes);
        return parts.total;
      }, this.variables);
      const named = new Map<string, tf.Tensor>();
      for (const p of this.optimizer.parameters) {
        const grad = grads[p.variable.name];
        if (grad !== undefined && grad !== null) named.set(p.name, grad);
      }
      return { grads: named, loss: value, terms };
    } catch (error) {
      tf.dispose(terms);
      this.store.discardBuffers();
      disposeTape();
      throw error;
    } finally {
      tf.dispose(inputs);
    }
  }

  /** Everything a checkpoint needs of the device: "weights.<name>" and "optimizer.<slot>.<name>". */
  async toTensorMap(): Promise<TensorMap> {
    const out: TensorMap = new Map();
    for (const [name, tensor] of await this.store.toTensorMap()) out.set(`weights.${name}`, tensor);
    for (const [name, tensor] of await this.optimizer.toTensorMap()) out.set(`optimizer.${name}`, tensor);
    return out;
  }

  get trainableElements(): number {
    return this.variables.reduce((n, v) => n + v.size, 0);
  }

  dispose(): void {
    this.madeOptimizer?.dispose();
    this.madeOptimizer = null;
    this.store.dispose();
  }
}

/**
 * Frees what the forward pass kept for a backward pass that never came: tfjs does so only at the end of a gradient that succeeds,
 * so a step that runs out of memory would hold all its activations for ever.
 */
function disposeTape(): void {
  const { state } = tf.engine();
  for (const node of state.activeTape ?? []) {
    for (const saved of node.saved ?? []) if (!saved.isDisposed) saved.dispose();
  }
  state.activeTape = [];
}

function accumulate(
  sums: Map<string, tf.Tensor>,
  grads: ReadonlyMap<string, tf.Tensor>,
  share: number | null,
): void {
  for (const [name, grad] of grads) {
    if (share === null) {
      sums.set(name, grad);
      continue;
    }
    const before = sums.get(name);
    const next = tf.tidy(() =>
      before === undefined ? tf.mul(grad, share) : tf.add(before, tf.mul(grad, share)),
    );
    tf.dispose(before === undefined ? [grad] : [grad, before]);
    sums.set(name, next);
  }
}

function accumulateScalars(
  sums: Record<string, tf.Scalar>,
  values: Record<string, tf.Scalar>,
  share: number | null,
): void {
  const map = new Map<string, tf.Tensor>(Object.entries(sums));
  accumulate(map, new Map(Object.entries(values)), share);
  for (const [name, value] of map) sums[name] = value as tf.Scalar;
}
