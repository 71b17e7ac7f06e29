/**
 * @file AdamW, Adam and SGD with torch's arithmetic and order of operations, over named variables. Imports config types, formats, tfjs-core.
 * State leaves and enters bit for bit, so that a resumed run goes on exactly.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import type { TensorMap } from '../formats/tensor';
import { UserError } from '../lib/errors';

export interface OptimizedParameter {
  readonly name: string;
  readonly variable: tf.Variable;
  /** Times the schedule's rate: layer-wise decay, head multiplier. */
  readonly lrScale: number;
  readonly weightDecay: number;
}

type Settings = StudioConfig['optimizer'];

const SLOTS: Readonly<Record<Settings['name'], readonly string[]>> = {
  adamw: ['exp_avg', 'exp_avg_sq'],
  adam: ['exp_avg', 'exp_avg_sq'],
  sgd: ['momentum'],
};

/** sqrt(sum of squares) over all gradients. */
export function globalNorm(grads: readonly tf.Tensor[]): tf.Scalar {
  return tf.tidy(() => {
    const squares = grads.map((g) => tf.reshape(tf.sum(tf.square(g)), [1]));
    return tf.sqrt(
      tf.sum(squares.length === 1 ? (squares[0] as tf.Tensor) : tf.concat(squares)),
    ) as tf.Scalar;
  });
}

/** torch's clip_grad_norm_: min(1, max / (norm + 1e-6)). */
export function clipCoefficient(norm: tf.Scalar, max: number): tf.Scalar {
  return tf.tidy(() => tf.minimum(1, tf.div(max, tf.add(norm, 1e-6))) as tf.Scalar);
}

/** Owns the moments of the parameters it is given; parameters without a gradient in a step are left alone, as torch does. */
export class Optimizer {
  private readonly slots = new Map<string, tf.Variable>();

  constructor(
    private readonly settings: Settings,
    readonly parameters: readonly OptimizedParameter[],
  ) {
    for (const { name, variable } of parameters) {
      for (const slot of SLOTS[settings.name]) {
        const zeros = tf.zeros(variable.shape);
        this.slots.set(`${slot}.${name}`, tf.variable(zeros, false));
        zeros.dispose();
      }
    }
  }

  /**
   * One update in place.
   * @param grads by parameter name.
   * @param lr the schedule's rate for this step.
   * @param stepsDone optimiser steps before this one (bias correction uses stepsDone + 1).
   * @param scale multiplies every gradient (clipping), or null.
   */
  step(grads: ReadonlyMap<string, tf.Tensor>, lr: number, stepsDone: number, scale: tf.Scalar | null): void {
    for (const parameter of this.parameters) {
      const raw = grads.get(parameter.name);
      if (raw === undefined) continue;
      tf.tidy(() => {
        const g = scale === null ? raw : tf.mul(raw, scale);
        const rate = lr * parameter.lrScale;
        if (this.settings.name === 'sgd') this.sgd(parameter, g, rate, stepsDone);
        else this.adam(parameter, g, rate, stepsDone + 1);
      });
    }
  }

  private adam(p: OptimizedParameter, grad: tf.Tensor, lr: number, t: number): void {
    const [b1, b2] = this.settings.betas;
    const coupled = this.settings.name === 'adam' && p.weightDecay !== 0;
    const g = coupled ? tf.add(grad, tf.mul(p.variable, p.weightDecay)) : grad;
    const m = this.slot('exp_avg', p.name);
    const v = this.slot('exp_avg_sq', p.name);
    m.assign(tf.add(tf.mul(m, b1), tf.mul(g, 1 - b1)));
    v.assign(tf.add(tf.mul(v, b2), tf.mul(tf.square(g), 1 - b2)));
    const denominator = tf.add(tf.div(tf.sqrt(v), Math.sqrt(1 - b2 ** t)), this.settings.eps);
    const decoupled = this.settings.name === 'adamw' && p.weightDecay !== 0;
    const shrunk = decoupled ? tf.mul(p.variable, 1 - lr * p.weightDecay) : p.variable;
    p.variable.assign(tf.sub(shrunk, tf.mul(tf.div(m, denominator), lr / (1 - b1 ** t))));
  }

  private sgd(p: OptimizedParameter, grad: tf.Tensor, lr: number, stepsDone: number): void {
    const g = p.weightDecay === 0 ? grad : tf.add(grad, tf.mul(p.variable, p.weightDecay));
    const buffer = this.slot('momentum', p.name);
    // torch starts the buffer at the first gradient, without dampening.
    buffer.assign(stepsDone === 0 ? tf.clone(g) : tf.add(tf.mul(buffer, this.settings.momentum), g));
    p.variable.assign(tf.sub(p.variable, tf.mul(buffer, lr)));
  }

  private slot(kind: string, name: string): tf.Variable {
    return this.slots.get(`${kind}.${name}`) as tf.Variable;
  }

  /** Moments as "exp_avg.<name>", ... on the host. */
  async toTensorMap(): Promise<TensorMap> {
    const out: TensorMap = new Map();
    for (const [name, variable] of this.slots) {
      const data = (await variable.data()) as Float32Array;
      out.set(name, { dtype: 'float32', shape: variable.shape, data: data.slice() });
    }
    return out;
  }

  /** Takes over moments. Throws UserError 'checkpoint-mismatch' naming the first tensor that does not fit. */
  load(state: TensorMap): void {
    for (const [name, variable] of this.slots) {
      const value = state.get(name);
      const same =
        value !== undefined && value.data.length === variable.size && value.data instanceof Float32Array;
      if (!same) {
        throw new UserError(
          'checkpoint-mismatch',
          `The checkpoint has no optimiser state "${name}" of shape [${variable.shape}]`,
          {
            subject: name,
            hint: 'It was saved with another optimiser or model; start a new run from its weights instead.',
          },
        );
      }
      tf.tidy(() => variable.assign(tf.tensor(value.data as Float32Array, variable.shape, 'float32')));
    }
  }

  /** Bytes of the moments on the device. */
  get bytes(): number {
    let n = 0;
    for (const variable of this.slots.values()) n += variable.size * 4;
    return n;
  }

  dispose(): void {
    for (const variable of this.slots.values()) variable.dispose();
    this.slots.clear();
  }
}
