/**
 * @file Checks a model against a numeric case computed by its PyTorch code: features, logits, gradients, training trajectory.
 * Format and bounds: cases/README.md. Used by the tests, by `studio verify` and by the page's self-test of the user's GPU.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { HostTensor, TensorMap } from '../formats/tensor';
import { toFloat32 } from '../formats/tensorConvert';
import { yieldToEventLoop } from '../lib/async';
import { UserError } from '../lib/errors';
import type { Arena } from '../gpu/arena';
import { studioBackend } from '../gpu/launch';
import type { StudioBackend } from '../gpu/studioBackend';
import { FlatOptimizer } from '../nn/flatOptimizer';
import { segmentationLoss } from '../nn/losses';
import { Optimizer, type OptimizedParameter } from '../nn/optimizers';
import { describeCase, type DescribedCase } from './caseDescription';
import { ruleImages, ruleTensor } from './caseRule';
import { DeviceStep } from './deviceStep';
import { fitTensors } from './load';
import { ParameterStore } from './parameters';
import type { HostBatch } from './stepBuffers';

export interface CaseQuantity {
  /** What was compared: "feature.0", "gradients (104 tensors, worst: ...)". */
  readonly quantity: string;
  /** max |ours - expected| / max |expected|; for zero gradients the absolute maximum. NaN when something is missing. */
  readonly relativeError: number;
  readonly bound: number;
  readonly pass: boolean;
}

const BOUNDS = { output: 1e-4, gradient: 1e-3, zeroGradient: 1e-6, loss: 1e-4, trained: 2e-2 } as const;

function maxAbs(x: ArrayLike<number>): number {
  let max = 0;
  for (let i = 0; i < x.length; i++) max = Math.max(max, Math.abs(x[i] as number));
  return max;
}

/** max |a - b|; NaN on any NaN or on different lengths. */
function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN;
  let max = 0;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs((a[i] as number) - (b[i] as number));
    if (!(d <= max)) max = d; // also takes over NaN, and keeps it
    if (Number.isNaN(max)) return max;
  }
  return max;
}

/** The worst of many comparisons as one line. */
class Worst {
  private error = 0;
  private name = '';
  private count = 0;

  add(name: string, error: number): void {
    this.count++;
    if (!(error <= this.error)) {
      this.error = error;
      this.name = name;
    }
  }

  result(what: string, bound: number): CaseQuantity {
    const worst = this.name === '' ? '' : `, worst: ${this.name}`;
    const pass = this.count > 0 && this.error <= bound;
    return { quantity: `${what} (${this.count} tensors${worst})`, relativeError: this.error, bound, pass };
  }
}

/** NHWC values of a device tensor against an NCHW expectation. */
async function compareImages(ours: tf.Tensor, expected: HostTensor): Promise<number> {
  const nchw = tf.tidy(() => tf.transpose(ours, [0, 3, 1, 2]));
  const values = await nchw.data();
  nchw.dispose();
  return maxDifference(values, toFloat32(expected)) / maxAbs(toFloat32(expected));
}

function toNhwc(images: HostTensor): tf.Tensor4D {
  const shape = images.shape as [number, number, number, number];
  return tf.tidy(() => tf.transpose(tf.tensor4d(toFloat32(images), shape), [0, 2, 3, 1]));
}

/** The weights of the case: the file's, complete, or by rule. */
function caseWeights(described: DescribedCase, checkpoint: TensorMap | null): TensorMap {
  const { model, architecture, salt } = described;
  const specs = model.parameters(architecture);
  if (salt !== null) return new Map(specs.map((s) => [s.name, ruleTensor(s.name, s.shape, salt)]));
  if (checkpoint === null) {
    throw new UserError('case-incomplete', 'The case has no checkpoint and no rule for its weights', {
      subject: 'case.json',
    });
  }
  const { tensors, report } = fitTensors(model, architecture, checkpoint, 'checkpoint');
  const absent = specs.find((s) => s.kind !== 'counter' && !tensors.has(s.name));
  if (absent !== undefined || report.unexpected.length > 0) {
    const name = absent?.name ?? (report.unexpected[0] as string);
    throw new UserError('case-incomplete', `The checkpoint and the model do not agree on "${name}"`, {
      subject: name,
    });
  }
  return tensors;
}

/** One pass without gradients: captured features and logits against those the case has. */
async function verifyForward(
  described: DescribedCase,
  store: ParameterStore,
  images: tf.Tensor4D,
  expected: TensorMap,
  training: boolean,
): Promise<CaseQuantity[]> {
  const captured = new Map<string, tf.Tensor>();
  const capture = (name: string, value: tf.Tensor): void => {
    captured.set(name, tf.keep(tf.clone(value)));
  };
  const ctx = store.context({ training, seed: 0, step: 0, capture });
  captured.set(
    'logits',
    tf.tidy(() => described.model.forward(ctx, described.architecture, images)),
  );
  store.discardBuffers();
  const results: CaseQuantity[] = [];
  const compare = async (name: string, ours: tf.Tensor | undefined): Promise<void> => {
    const wanted = expected.get(name);
    if (wanted === undefined || ours === undefined) return;
    const relativeError = await compareImages(ours, wanted);
    results.push({
      quantity: name,
      relativeError,
      bound: BOUNDS.output,
      pass: relativeError <= BOUNDS.output,
    });
  };
  const logitsName = training ? 'logits.train' : 'logits.eval';
  const side = expected.get(logitsName)?.shape[2];
  const native = captured.get('logits.native');
  if (!training) for (let i = 0; i < 4; i++) await compare(`feature.${i}`, captured.get(`feature.${i}`));
  await compare(logitsName, native?.shape[1] === side ? native : captured.get('logits'));
  if (!training) await compare('logits.upsampled', captured.get('logits'));
  for (const t of captured.values()) t.dispose();
  return results;
}

/** Gradients of the first training step against `grad.*`; returns the parameters whose true gradient is zero. */
async function verifyGradients(
  grads: ReadonlyMap<string, tf.Tensor>,
  expected: TensorMap,
): Promise<{ results: CaseQuantity[]; zero: Set<string> }> {
  const [worst, worstZero] = [new Worst(), new Worst()];
  const zero = new Set<string>();
  const names = [...expected.keys()].filter((n) => n.startsWith('grad.')).map((n) => n.slice('grad.'.length));
  for (const name of new Set([...names, ...grads.keys()])) {
    const wanted = expected.get(`grad.${name}`);
    const ours = await grads.get(name)?.data();
    if (wanted === undefined || ours === undefined) {
      worst.add(name, Number.NaN); // ours or theirs does not have it
      continue;
    }
    const values = toFloat32(wanted);
    if (maxAbs(values) < BOUNDS.zeroGradient) {
      zero.add(name);
      worstZero.add(name, maxDifference(ours, values));
    } else {
      worst.add(name, maxDifference(ours, values) / maxAbs(values));
    }
  }
  const results = [worst.result('gradients', BOUNDS.gradient)];
  if (zero.size > 0) results.push(worstZero.result('zero gradients, absolute', BOUNDS.zeroGradient));
  return { results, zero };
}

/**
 * The key third of a joint query-key-value bias is a zero-gradient parameter inside a larger tensor (softmax does not see key
 * biases), which AdamW walks at random: leaves it out.
 */
function withoutKeyBias(name: string): (values: Float32Array) => ArrayLike<number> {
  if (!name.endsWith('.attn.qkv.bias')) return (values) => values;
  return (values) => values.filter((_, i) => Math.floor((3 * i) / values.length) !== 1);
}

/** Weights and running statistics after the last step against `trained.*`, relative to how far each tensor moved. */
async function verifyTrained(
  store: ParameterStore,
  start: TensorMap,
  expected: TensorMap,
  zero: ReadonlySet<string>,
): Promise<CaseQuantity> {
  const worst = new Worst();
  const trained = await store.toTensorMap();
  for (const [key, wanted] of expected) {
    if (!key.startsWith('trained.')) continue;
    const name = key.slice('trained.'.length);
    const [ours, before] = [trained.get(name), start.get(name)];
    if (zero.has(name)) continue;
    if (ours === undefined || before === undefined) {
      worst.add(name, Number.NaN);
      continue;
    }
    const keep = withoutKeyBias(name);
    const values = keep(toFloat32(wanted));
    const change = maxDifference(values, keep(toFloat32(before)));
    worst.add(name, maxDifference(keep(toFloat32(ours)), values) / change);
  }
  return worst.result('trained weights', BOUNDS.trained);
}

/** One way of running optimiser steps on the case's batch. */
interface Steps {
  /** Forward and backward of one step; its gradients by parameter name, valid until the next. */
  gradients(step: number): Promise<{ loss: number; grads: ReadonlyMap<string, tf.Tensor> }>;
  update(step: number): Promise<void>;
  dispose(): void;
}

/** TensorFlow.js executes the step and the composed optimiser. */
function tapedSteps(
  { model, architecture, training }: DescribedCase & { training: NonNullable<DescribedCase['training']> },
  store: ParameterStore,
  parameters: readonly OptimizedParameter[],
  images: tf.Tensor4D,
  labels: tf.Tensor3D,
): Steps {
  const optimizer = new Optimizer(training.optimizer, parameters);
  let held: ReadonlyMap<string, tf.Tensor> = new Map();
  return {
    async gradients(step) {
      const ctx = store.context({ training: true, seed: 0, step });
      const { value, grads } = tf.variableGrads(
        () => segmentationLoss(training.loss, model.forward(ctx, architecture, images), labels).total,
        parameters.map(({ variable }) => variable),
      );
      held = new Map(parameters.map((p) => [p.name, grads[p.variable.name] as tf.Tensor]));
      const [loss] = await value.data();
      value.dispose();
      return { loss: loss as number, grads: held };
    },
    async update(step) {
      optimizer.step(held, training.lr, step, null);
      store.commitBuffers();
      tf.dispose([...held.values()]);
    },
    dispose: () => optimizer.dispose(),
  };
}

/** Our kernels: recorded and replayed, or taped. */
function deviceSteps(
  { model, architecture, training }: DescribedCase & { training: NonNullable<DescribedCase['training']> },
  store: ParameterStore,
  parameters: readonly OptimizedParameter[],
  batch: HostBatch,
  options: CaseOptions,
): Steps {
  const backend = studioBackend() as StudioBackend;
  const optimizer = new FlatOptimizer(backend, training.optimizer, parameters, store.trained as Arena, null);
  const device = new DeviceStep(backend, {
    store,
    seed: 0,
    forward: (ctx, images) => model.forward(ctx, architecture, images),
    loss: (logits, labels) => segmentationLoss(training.loss, logits, labels),
    execution: options.execution ?? 'auto',
    recompute: options.recompute ?? false,
  });
  const grads = new Map(parameters.map(({ name }) => [name, optimizer.gradients.tensor(name)]));
  return {
    async gradients(step) {
      const names = await device.gradients(batch, step, optimizer);
      const [loss] = await device.readNumbers(names.length);
      return { loss: loss as number, grads };
    },
    async update(step) {
      optimizer.prepare(training.lr, step);
      await device.update(optimizer, false);
    },
    dispose() {
      device.dispose();
      optimizer.dispose();
    },
  };
}

/** Runs the case's optimiser steps: gradients of the first, loss of each, weights after the last. */
async function verifyTraining(
  described: DescribedCase,
  store: ParameterStore,
  start: TensorMap,
  images: tf.Tensor4D,
  expected: TensorMap,
  options: CaseOptions,
): Promise<CaseQuantity[]> {
  const { training } = described;
  const masks = expected.get('masks');
  if (training === null || masks === undefined) return [];
  const values = Int32Array.from(toFloat32(masks));
  const weightDecay = training.optimizer.weight_decay; // on every parameter, as torch does by default
  const parameters = store
    .trainable()
    .map(({ spec, variable }) => ({ name: spec.name, variable, lrScale: 1, weightDecay }));
  const labels = tf.tensor3d(values, masks.shape as [number, number, number], 'int32');
  const [count, size] = images.shape;
  const steps =
    store.trained === null
      ? tapedSteps({ ...described, training }, store, parameters, images, labels)
      : deviceSteps(
          { ...described, training },
          store,
          parameters,
          { images: (await images.data()) as Float32Array, labels: values, count, size },
          options,
        );
  const results: CaseQuantity[] = [];
  let zero = new Set<string>();
  let lossError = 0;
  try {
    for (let step = 0; step < training.losses.length; step++) {
      const { loss, grads } = await steps.gradients(step);
      if (step === 0) {
        const first = await verifyGradients(grads, expected);
        results.push(...first.results);
        zero = first.zero;
      }
      await steps.update(step);
      const wanted = training.losses[step] as number;
      const error = Math.abs(loss - wanted) / Math.abs(wanted);
      if (!(error <= lossError)) lossError = error;
      await yieldToEventLoop();
    }
    const quantity = `loss of ${training.losses.length} steps`;
    const pass = lossError <= BOUNDS.loss;
    results.push({ quantity, relativeError: lossError, bound: BOUNDS.loss, pass });
    results.push(await verifyTrained(store, start, expected, zero));
  } finally {
    steps.dispose();
    labels.dispose();
  }
  return results;
}

/** How a case is run on WebGPU with our kernels; elsewhere it makes no difference. */
export interface CaseOptions {
  readonly execution?: 'auto' | 'tape' | 'plan';
  readonly recompute?: boolean;
}

/** Case models that `verifyModelCase` knows. */
export const caseModels: readonly string[] = ['tinyusfm', 'segformer'];

/**
 * Verifies one case on the current backend.
 * @param caseJson the parsed case.json.
 * @param expected the tensors of tensors.safetensors.
 * @param checkpoint the tensors of the case's checkpoint file, or null where weights follow a rule.
 * @param modelConfig the parsed config.json beside it (SegFormer cases), if there is one.
 * @throws UserError 'case-unknown' for a model or loss it does not know, 'case-incomplete' naming what is absent.
 */
export async function verifyModelCase(
  caseJson: unknown,
  expected: TensorMap,
  checkpoint: TensorMap | null,
  modelConfig: unknown = null,
  options: CaseOptions = {},
): Promise<CaseQuantity[]> {
  const described = describeCase(caseJson, modelConfig);
  const start = caseWeights(described, checkpoint);
  const given = expected.get('images');
  const size = described.imageSize;
  const images = toNhwc(given ?? ruleImages(1, size, described.salt ?? ''));
  const specs = described.model.parameters(described.architecture);
  const trained = specs.filter((spec) => spec.kind === 'parameter' && spec.unused !== true);
  const store = new ParameterStore(
    specs,
    start,
    described.training === null ? [] : trained.map(({ name }) => name),
  );
  try {
    const results = await verifyForward(described, store, images, expected, false);
    if (expected.has('logits.train')) {
      results.push(...(await verifyForward(described, store, images, expected, true)));
    }
    results.push(...(await verifyTraining(described, store, start, images, expected, options)));
    return results;
  } finally {
    store.dispose();
    images.dispose();
  }
}
