/**
 * @file What a measured step is made of: names, shapes and sizes. The same shape of description as in ../shared/peerbench
 * (src/workloads.js there), so that our engine runs both lists. Types only at run time.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { PlanFigures } from '../../gpu/plan/plan';

export interface Value {
  readonly shape: readonly number[];
  /** Values are uniform in offset +- bound. */
  readonly bound?: number;
  readonly offset?: number;
}

type Group = Readonly<Record<string, Value>>;

export interface Workload {
  readonly kind: 'vit-block' | 'attention' | 'mix-ffn' | 'lora-linear' | 'matmul' | 'upsample' | 'adamw';
  readonly inputs: Group;
  readonly params: Group;
  readonly frozen?: Group;
  /** Whether the step also computes the gradient of the inputs. */
  readonly inputGradient?: boolean;
  readonly [size: string]: unknown;
}

export type Values = Readonly<Record<'inputs' | 'params' | 'frozen', Readonly<Record<string, Float32Array>>>>;

/** A tensor of the workload by name. */
export type Get = (name: string) => tf.Tensor;

/** What is measured: ours or stock, a block, a product or a whole model. */
export interface Runner {
  /** Works that one step does: what is short against the read-back of a number is repeated before it. */
  readonly repeats: number;
  /** The recorded plans, once there are any; empty where steps are taped. */
  readonly plans: readonly PlanFigures[];
  /** One training step. Resolves to its loss before the update (or to some number of its result) once the device is done. */
  step(): Promise<number>;
  dispose(): void;
}

/** peerbench's AdamW, src/workloads.js there. */
export const ADAMW = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const;

/** The same in the words of the configuration. */
export const OPTIMIZER = {
  name: 'adamw',
  weight_decay: ADAMW.weightDecay,
  betas: [...ADAMW.betas] as [number, number],
  eps: ADAMW.eps,
  momentum: 0,
  layer_decay: null,
  head_lr_multiplier: 1,
  decay_norm_and_bias: true,
} as const;
