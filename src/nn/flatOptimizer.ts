/**
 * @file AdamW, Adam and SGD on WebGPU: weights, gradients and moments in flat buffers, all parameters in one dispatch.
 * The same arithmetic as nn/optimizers.ts, its twin. Imports config types, formats, gpu, tfjs-core.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import type { TensorMap } from '../formats/tensor';
import { Arena } from '../gpu/arena';
import { accumulate, adamwStep, BLOCK, gradientNorm, sgdStep, stepScalars } from '../gpu/kernels/adamw';
import type { StudioBackend } from '../gpu/studioBackend';
import { UserError } from '../lib/errors';
import type { OptimizedParameter } from './optimizers';

type Settings = StudioConfig['optimizer'];

const SLOTS: Readonly<Record<Settings['name'], readonly string[]>> = {
  adamw: ['exp_avg', 'exp_avg_sq'],
  adam: ['exp_avg', 'exp_avg_sq'],
  sgd: ['momentum'],
};

/** One entry per distinct pair of learning-rate factor and weight decay. */
function groupTable(parameters: readonly OptimizedParameter[]): { pairs: number[]; of: number[] } {
  const pairs: number[] = [];
  const index = new Map<string, number>();
  const of = parameters.map(({ lrScale, weightDecay }) => {
    const key = `${lrScale} ${weightDecay}`;
    let at = index.get(key);
    if (at === undefined) {
      at = index.size;
      index.set(key, at);
      pairs.push(lrScale, weightDecay);
    }
    return at;
  });
  return { pairs, of };
}

export class FlatOptimizer {
  /** Gradients under the parameters' names; whoever computes them writes them here. */
  readonly gradients: Arena;
  private readonly moments = new Map<string, Arena>();
  private readonly table: Arena;
  private readonly control: Arena;
  private readonly results: Arena;
  private sums: Arena | null = null;

  /**
   * @param weights holds exactly these parameters, in this order.
   * @param maxNorm of the gradient, or null for no clipping.
   * @param measured whether each update computes the gradient's norm; without, `clip` stays [0, 1] and non-finite gradients are applied.
   */
  constructor(
    private readonly backend: StudioBackend,
    private readonly settings: Settings,
    readonly parameters: readonly OptimizedParameter[],
    private readonly weights: Arena,
    private readonly maxNorm: number | null,
    private readonly measured = true,
  ) {
    const entries = parameters.map(({ name, variable }) => ({ name, shape: variable.shape }));
    this.gradients = new Arena(backend, entries);
    for (const slot of SLOTS[settings.name]) this.moments.set(slot, new Arena(backend, entries));
    const { pairs, of } = groupTable(parameters);
    const blocks = new Int32Array(this.gradients.total / BLOCK);
    parameters.forEach(({ name, variable }, i) => {
      const first = this.gradients.start(name) / BLOCK;
      blocks.fill(of[i] as number, first, first + Math.ceil(variable.size / BLOCK));
    });
    this.table = new Arena(backend, [
      { name: 'blocks', shape: [blocks.length], dtype: 'int32' },
      { name: 'groups', shape: [Math.max(2, pairs.length)] },
    ]);
    this.table.write('blocks', blocks);
    this.table.write('groups', Float32Array.from(pairs.length === 0 ? [1, 0] : pairs));
    this.control = new Arena(backend, [
      { name: 'scalars', shape: [8] },
      { name: 'share', shape: [2] },
    ]);
    this.results = new Arena(backend, [{ name: 'clip', shape: [2] }]);
    this.results.write('clip', Float32Array.of(0, 1));
  }

  /** [norm of the gradient, clip coefficient], of the last update. */
  get clip(): tf.Tensor {
    return this.results.tensor('clip');
  }

  /** Writes what changes from step to step. @param lr of this step. @param stepsDone optimiser steps before it. */
  prepare(lr: number, stepsDone: number): void {
    this.control.write('scalars', stepScalars(lr, stepsDone, this.settings.betas));
  }

  /** Writes the share of the next micro-batch in the mean gradient. */
  prepareShare(share: number, first: boolean): void {
    this.sums ??= new Arena(
      this.backend,
      this.parameters.map(({ name, variable }) => ({ name, shape: variable.shape })),
    );
    this.control.write('share', Float32Array.of(share, first ? 1 : 0));
  }

  /** Adds the gradients, times their share, to the mean gradient. */
  accumulate(): void {
    const { gradients, control } = this;
    const sum = (this.sums as Arena).flat;
    accumulate({ sum, g: gradients.flat, share: control.tensor('share'), total: gradients.total });
  }

  /** Norm, clipping and the update of all weights in place; nothing is touched when the norm is not finite. */
  update(accumulated: boolean): void {
    const { settings, gradients, maxNorm, clip, control, table, weights } = this;
    const g = accumulated ? (this.sums as Arena).flat : gradients.flat;
    const { total } = gradients;
    if (this.measured) gradientNorm({ g, total, maxNorm, clip });
    const shared = {
      p: weights.flat,
      g,
      blockGroup: table.tensor('blocks'),
      groups: table.tensor('groups'),
      scalars: control.tensor('scalars'),
      clip,
      total,
    };
    if (settings.name === 'sgd') {
      const momentumBuffer = (this.moments.get('momentum') as Arena).flat;
      sgdStep({ ...shared, momentumBuffer, momentum: settings.momentum });
    } else {
      const [m, v] = ['exp_avg', 'exp_avg_sq'].map((slot) => (this.moments.get(slot) as Arena).flat);
      const { name: variant, betas, eps } = settings;
      adamwStep({ ...shared, m: m as tf.Tensor1D, v: v as tf.Tensor1D, variant, betas, eps });
    }
  }

  /** Moments as "exp_avg.<name>", ... on the host. */
  async toTensorMap(): Promise<TensorMap> {
    const out: TensorMap = new Map();
    for (const [slot, arena] of this.moments) {
      const flat = (await arena.flat.data()) as Float32Array; // one read-back for all
      for (const { name, variable } of this.parameters) {
        const start = arena.start(name);
        const data = flat.slice(start, start + variable.size);
        out.set(`${slot}.${name}`, { dtype: 'float32', shape: variable.shape, data });
      }
    }
    return out;
  }

  /** Takes over moments. Throws UserError 'checkpoint-mismatch' naming the first tensor that does not fit. */
  load(state: TensorMap): void {
    for (const [slot, arena] of this.moments) {
      for (const { name, variable } of this.parameters) {
        const key = `${slot}.${name}`;
        const value = state.get(key);
        if (value?.data.length !== variable.size || !(value.data instanceof Float32Array)) {
          throw new UserError(
            'checkpoint-mismatch',
            `The checkpoint has no optimiser state "${key}" of shape [${variable.shape}]`,
            {
              subject: key,
              hint: 'It was saved with another optimiser or model; start a new run from its weights instead.',
            },
          );
        }
        arena.write(name, value.data);
      }
    }
  }

  /** Bytes of the moments, as a checkpoint holds them. */
  get bytes(): number {
    const elements = this.parameters.reduce((n, { variable }) => n + variable.size, 0);
    return elements * 4 * this.moments.size;
  }

  /** Bytes of all device buffers of the optimiser, gradients included. */
  get deviceBytes(): number {
    const { gradients, table, control, results, sums } = this;
    const arenas = [
      gradients,
      table,
      control,
      results,
      ...this.moments.values(),
      ...(sums === null ? [] : [sums]),
    ];
    return arenas.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  dispose(): void {
    const { gradients, table, control, results, sums } = this;
    for (const arena of [gradients, table, control, results, ...this.moments.values()]) arena.dispose();
    sums?.dispose();
    this.moments.clear();
  }
}
