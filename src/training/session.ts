/**
 * @file A model with its optimiser on the device: one training step, prediction, state. Imports models, nn, gpu, tfjs-core.
 * Knows nothing of epochs, files or events. On WebGPU a step runs our kernels and is recorded once (models/deviceStep.ts); elsewhere,
 * or with kernels switched off, TensorFlow.js executes it (training/tapedStep.ts).
 */
import * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import type { TensorMap } from '../formats/tensor';
import { kernelsOn, studioBackend } from '../gpu/launch';
import type { PlanFigures } from '../gpu/plan/plan';
import { DeviceStep, type RunShapes } from '../models/deviceStep';
import { pooledFeatures } from '../models/embedding';
import { initialTensors } from '../models/initialize';
import { ParameterStore } from '../models/parameters';
import { getModel } from '../models/registry';
import type { HostBatch } from '../models/stepBuffers';
import type { ModelDefinition, ParameterSpec } from '../models/types';
import { FlatOptimizer } from '../nn/flatOptimizer';
import { resolveOutChannels, segmentationLoss } from '../nn/losses';
import { Optimizer, type OptimizedParameter } from '../nn/optimizers';
import type { MemoryPlan } from './memoryParts';
import { tapedStep } from './tapedStep';

export type { HostBatch };

/** Numbers of one optimiser step, read back from the device. */
export interface StepNumbers {
  readonly loss: number;
  readonly terms: Readonly<Record<string, number>>;
  readonly gradNorm: number;
}

/** A parameter that trains, with its learning-rate factor and weight decay. */
export type TrainedSpec = Omit<OptimizedParameter, 'variable'>;

/** Which parameters train (reference/models.md sections 3.3 and 4.3), in the specs' order. */
export function trainedSpecs(
  config: StudioConfig,
  model: ModelDefinition,
  architecture: unknown,
  specs: readonly ParameterSpec[],
): TrainedSpec[] {
  const {
    layer_decay: decay,
    head_lr_multiplier: headFactor,
    weight_decay,
    decay_norm_and_bias: decayAll,
  } = config.optimizer;
  const layers = model.layerCount(architecture);
  const out: TrainedSpec[] = [];
  for (const spec of specs) {
    if (spec.kind !== 'parameter' || spec.unused === true) continue;
    const backbone = model.isBackbone(spec.name);
    if (backbone && config.training.freeze_backbone) continue;
    const byLayer = decay === null ? 1 : decay ** (layers - model.layerId(architecture, spec.name));
    out.push({
      name: spec.name,
      lrScale: byLayer * (backbone ? 1 : headFactor),
      weightDecay: decayAll || spec.decay ? weight_decay : 0,
    });
  }
  return out;
}

export interface SessionOptions {
  /** False: weights are only used (evaluation); no memory for gradients and moments. */
  readonly trains?: boolean;
  /** WebGPU: recorded and replayed where possible (auto), taped by TensorFlow.js, or a plan or an error. */
  readonly execution?: 'auto' | 'tape' | 'plan';
  /** For StudioBackend.countOnly: weights have no values and are not computed. */
  readonly counted?: boolean;
}

/** The given weights with initial values for those that are absent. */
function completed(weights: TensorMap | null, specs: readonly ParameterSpec[], seed: number): TensorMap {
  const absent = specs.filter((spec) => weights?.has(spec.name) !== true);
  return new Map([...(weights ?? []), ...initialTensors(absent, seed)]);
}

/** A model and its weights on the device. Throws as ParameterStore does. */
export class TrainingSession {
  readonly model: ModelDefinition;
  readonly architecture: unknown;
  readonly store: ParameterStore;
  readonly outChannels: number;
  /** Tensor bytes of a step at their peak: activations, weights, moments. Zero before the first step. */
  peakBytes = 0;
  private readonly trained: readonly TrainedSpec[];
  private readonly device: DeviceStep | null;
  private madeOptimizer: Optimizer | FlatOptimizer | null = null;

  /**
   * @param weights tensors under the model's names; those absent get their initial values (seeded). Null: all initial.
   */
  constructor(
    readonly config: StudioConfig,
    weights: TensorMap | null,
    { trains = true, execution = 'auto', counted = false }: SessionOptions = {},
  ) {
    this.outChannels = resolveOutChannels(config);
    const model = getModel(config.model.name);
    this.model = model;
    const architecture = model.architecture(config.model, this.outChannels);
    this.architecture = architecture;
    const specs = model.parameters(architecture);
    this.trained = trains ? trainedSpecs(config, model, architecture, specs) : [];
    this.store = new ParameterStore(
      specs,
      counted ? null : completed(weights, specs, config.seed),
      this.trained.map(({ name }) => name),
    );
    const backend = kernelsOn() ? studioBackend() : null;
    this.device =
      backend === null
        ? null
        : new DeviceStep(backend, {
            store: this.store,
            seed: config.seed,
            forward: (ctx, images) => model.forward(ctx, architecture, images),
            loss: (logits, labels) => segmentationLoss(config.loss, logits, labels),
            recompute: config.training.recompute === 'blocks',
            execution,
          });
  }

  /** Made when first asked for: its moments take twice the weights' memory, which a test does not need. */
  get optimizer(): Optimizer | FlatOptimizer {
    this.madeOptimizer ??= this.makeOptimizer();
    return this.madeOptimizer;
  }

  private makeOptimizer(): Optimizer | FlatOptimizer {
    const { config, store } = this;
    const parameters: OptimizedParameter[] = this.trained.map((spec) => ({
      ...spec,
      variable: store.get(spec.name),
    }));
    const backend = studioBackend();
    if (this.device === null || backend === null || store.trained === null) {
      return new Optimizer(config.optimizer, parameters);
    }
    return new FlatOptimizer(
      backend,
      config.optimizer,
      parameters,
      store.trained,
      config.training.gradient_clip,
    );
  }

  /** What the recorded steps consist of; empty where steps are taped. */
  get planFigures(): readonly PlanFigures[] {
    return this.device?.figures ?? [];
  }

  /** Why steps are not recorded, or null. */
  get notPlanned(): string | null {
    return this.device === null ? 'kernels of our own run on WebGPU only' : this.device.notPlanned;
  }

  /**
   * Records all passes over these batches and adds up the buffers; for a session made with `counted` inside StudioBackend.countOnly.
   * Null on other backends. @throws RecordingError, UserError 'gpu-out-of-memory' (DeviceStep.reserve).
   */
  planMemory(shapes: RunShapes): MemoryPlan | null {
    const { device, optimizer } = this;
    if (device === null || !(optimizer instanceof FlatOptimizer)) return null;
    device.reserve(shapes, optimizer);
    const { temporaries, inputs, constants } = device.byteParts;
    const [weights, trained] = [this.store.arenaBytes, optimizer.deviceBytes];
    const rest = weights + trained + inputs + constants;
    return {
      bytes: rest + temporaries,
      weights,
      optimizer: trained,
      temporaries,
      inputs,
      constants,
      lowerBound: rest + Math.max(0, ...device.figures.map(({ liveBytes }) => liveBytes)),
    };
  }

  /**
   * Logits [n, s, s, c] in evaluation mode; the caller disposes.
   * @param images [count, size, size, 3], normalised, on the host.
   */
  async predict(images: Float32Array, count: number, size: number): Promise<tf.Tensor4D> {
    if (this.device !== null) return this.device.predict(images, count, size);
    return tf.tidy(() => {
      const ctx = this.store.context({ training: false, seed: this.config.seed, step: 0 });
      const input = tf.tensor4d(images, [count, size, size, 3]);
      return this.model.forward(ctx, this.architecture, input);
    });
  }

  /**
   * Features in evaluation mode, averaged over their positions: [n, channels] for each name; the caller disposes.
   * @param images [count, size, size, 3], normalised, on the host.
   * @param names among the model's `featureNames`; throws Error naming one that is not.
   */
  async embed(
    images: Float32Array,
    count: number,
    size: number,
    names: readonly string[],
  ): Promise<tf.Tensor2D[]> {
    if (this.device !== null) return this.device.embed(images, count, size, names);
    return tf.tidy(() =>
      pooledFeatures(names, (capture) => {
        const ctx = this.store.context({ training: false, seed: this.config.seed, step: 0, capture });
        this.model.forward(ctx, this.architecture, tf.tensor4d(images, [count, size, size, 3]));
      }),
    );
  }

  /**
   * One optimiser step over one or more micro-batches (their mean gradient; BatchNorm sees each micro-batch alone).
   * @param stepsDone optimiser steps before this one.
   * @param passKey distinct per micro-batch: keys the random masks.
   * @returns the step's numbers, once the device has computed them.
   */
  async step(
    batches: readonly HostBatch[],
    lr: number,
    stepsDone: number,
    passKey: number,
  ): Promise<StepNumbers> {
    const { optimizer, device } = this;
    if (device !== null && optimizer instanceof FlatOptimizer) {
      return this.deviceStep(device, optimizer, batches, lr, stepsDone, passKey);
    }
    return tapedStep({
      config: this.config,
      store: this.store,
      optimizer: optimizer as Optimizer,
      forward: (ctx, images) => this.model.forward(ctx, this.architecture, images),
      onForward: () => {
        this.peakBytes = Math.max(this.peakBytes, tf.memory().numBytes);
      },
      batches,
      lr,
      stepsDone,
      passKey,
    });
  }

  private async deviceStep(
    device: DeviceStep,
    optimizer: FlatOptimizer,
    batches: readonly HostBatch[],
    lr: number,
    stepsDone: number,
    passKey: number,
  ): Promise<StepNumbers> {
    const total = batches.reduce((n, b) => n + b.count, 0);
    const several = batches.length > 1;
    const readings: { share: number; names: readonly string[]; values: Promise<Float32Array> }[] = [];
    for (const [i, batch] of batches.entries()) {
      const share = batch.count / total; // a short last micro-batch weighs by its images
      const names = await device.gradients(batch, passKey + i, optimizer);
      if (several) {
        optimizer.prepareShare(share, i === 0);
        await device.accumulate(optimizer);
      }
      const values = device.readNumbers(names.length);
      values.catch(() => undefined); // awaited below, unless something else fails first: a lost device fails every read
      readings.push({ share, names, values });
    }
    optimizer.prepare(lr, stepsDone);
    await device.update(optimizer, several);
    const clip = await optimizer.clip.data();
    const sums = new Map<string, number>();
    for (const { share, names, values } of readings) {
      const numbers = await values;
      names.forEach((name, j) => sums.set(name, (sums.get(name) ?? 0) + share * (numbers[j] as number)));
    }
    this.peakBytes = Math.max(this.peakBytes, this.store.arenaBytes + optimizer.deviceBytes + device.bytes);
    const { loss, ...terms } = Object.fromEntries(sums);
    return { loss: loss as number, terms, gradNorm: clip[0] as number };
  }

  /** Everything a checkpoint needs of the device: "weights.<name>" and "optimizer.<slot>.<name>". */
  async toTensorMap(): Promise<TensorMap> {
    const out: TensorMap = new Map();
    for (const [name, tensor] of await this.store.toTensorMap()) out.set(`weights.${name}`, tensor);
    for (const [name, tensor] of await this.optimizer.toTensorMap()) out.set(`optimizer.${name}`, tensor);
    return out;
  }

  get trainableElements(): number {
    return this.trained.reduce((n, { name }) => n + this.store.get(name).size, 0);
  }

  dispose(): void {
    this.device?.dispose();
    this.madeOptimizer?.dispose();
    this.madeOptimizer = null;
    this.store.dispose();
  }
}
