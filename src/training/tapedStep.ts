/**
 * @file One optimiser step as TensorFlow.js executes it: for WASM and the CPU, and as the reference of our kernels.
 * Imports models, nn, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import { disposeTape } from '../models/deviceStep';
import type { HostBatch } from '../models/stepBuffers';
import type { ParameterStore } from '../models/parameters';
import type { ForwardContext } from '../models/types';
import { segmentationLoss } from '../nn/losses';
import { clipCoefficient, globalNorm, type Optimizer } from '../nn/optimizers';
import type { StepNumbers } from './session';

export interface TapedStep {
  readonly config: StudioConfig;
  readonly store: ParameterStore;
  readonly optimizer: Optimizer;
  readonly forward: (ctx: ForwardContext, images: tf.Tensor4D) => tf.Tensor4D;
  /** Called at the end of each forward pass, when most tensors are alive. */
  readonly onForward: () => void;
  readonly batches: readonly HostBatch[];
  readonly lr: number;
  readonly stepsDone: number;
  readonly passKey: number;
}

/** Forward, backward, clipping and update over all micro-batches; frees everything, also when it throws. */
export async function tapedStep(step: TapedStep): Promise<StepNumbers> {
  const { batches } = step;
  const total = batches.reduce((n, b) => n + b.count, 0);
  const sums = new Map<string, tf.Tensor>();
  const termSums = new Map<string, tf.Tensor>();
  let packed: tf.Tensor;
  try {
    batches.forEach((batch, i) => {
      const share = batches.length === 1 ? null : batch.count / total; // a short last micro-batch weighs by its images
      const { grads, numbers } = gradients(step, batch, step.passKey + i);
      accumulate(sums, grads, share);
      accumulate(termSums, numbers, share);
      step.store.commitBuffers();
    });
    packed = update(step, sums, termSums);
  } finally {
    // Also after a failure (out of memory): what follows tries again with less.
    tf.dispose([...termSums.values(), ...sums.values()]);
  }
  const values = await packed.data().finally(() => packed.dispose());
  const named = [...termSums.keys()].map((name, i) => [name, values[i + 1] as number] as const);
  const { loss, ...terms } = Object.fromEntries(named);
  return { loss: loss as number, terms, gradNorm: values[0] as number };
}

/** Updates the weights; [norm, loss, terms ...]. */
function update(
  { config, optimizer, lr, stepsDone }: TapedStep,
  sums: ReadonlyMap<string, tf.Tensor>,
  termSums: ReadonlyMap<string, tf.Tensor>,
): tf.Tensor {
  const clip = config.training.gradient_clip;
  return tf.tidy(() => {
    const norm = globalNorm([...sums.values()]);
    optimizer.step(sums, lr, stepsDone, clip === null ? null : clipCoefficient(norm, clip));
    return tf.stack([norm, ...termSums.values()]);
  });
}

function gradients(
  { config, store, optimizer, forward, onForward }: TapedStep,
  { images: pixels, labels: indices, count, size }: HostBatch,
  passKey: number,
): { grads: Map<string, tf.Tensor>; numbers: Map<string, tf.Tensor> } {
  const terms = new Map<string, tf.Tensor>();
  const inputs: tf.Tensor[] = [];
  try {
    const images = tf.tensor4d(pixels, [count, size, size, 3]);
    inputs.push(images);
    const labels = tf.tensor3d(indices, [count, size, size], 'int32');
    inputs.push(labels);
    const { value, grads } = tf.variableGrads(
      () => {
        const trained = new Set(optimizer.parameters.map((p) => p.name));
        const ctx = store.context({
          training: true,
          seed: config.seed,
          step: passKey,
          ...(config.training.recompute === 'blocks' ? { recompute: trained } : {}),
        });
        const parts = segmentationLoss(config.loss, forward(ctx, images), labels);
        for (const [name, term] of Object.entries(parts.terms)) terms.set(name, tf.keep(tf.clone(term)));
        onForward();
        return parts.total;
      },
      optimizer.parameters.map((p) => p.variable),
    );
    const named = new Map<string, tf.Tensor>();
    for (const p of optimizer.parameters) {
      const grad = grads[p.variable.name];
      if (grad !== undefined && grad !== null) named.set(p.name, grad);
    }
    return { grads: named, numbers: new Map([['loss', value], ...terms]) };
  } catch (error) {
    tf.dispose([...terms.values()]);
    store.discardBuffers();
    disposeTape();
    throw error;
  } finally {
    tf.dispose(inputs);
  }
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
