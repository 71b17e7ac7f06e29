/**
 * @file Forward passes in evaluation mode on WebGPU, taped or as plans: logits, or features for an embedding. Imports gpu, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import { Plan, type PlanFigures } from '../gpu/plan/plan';
import type { VirtualBuffer } from '../gpu/plan/recording';
import type { SlotPool } from '../gpu/plan/slots';
import type { StudioBackend } from '../gpu/studioBackend';
import { pooledFeatures } from './embedding';
import type { ParameterStore } from './parameters';
import type { StepInputs } from './stepBuffers';
import { recordTrace } from './stepRecording';
import type { ForwardContext } from './types';

export interface EvaluationPlan {
  readonly plan: Plan;
  readonly results: readonly { readonly buffer: VirtualBuffer; readonly shape: readonly number[] }[];
}

export interface EvaluationModel {
  readonly store: ParameterStore;
  readonly seed: number;
  readonly forward: (ctx: ForwardContext, images: tf.Tensor4D) => tf.Tensor4D;
}

export class EvaluationPasses {
  private readonly made = new Map<string, EvaluationPlan>();

  constructor(
    private readonly backend: StudioBackend,
    private readonly pool: SlotPool,
    private readonly model: EvaluationModel,
  ) {}

  get figures(): readonly PlanFigures[] {
    return [...this.made.values()].map(({ plan }) => plan.figures);
  }

  /** Taped: the logits, or these features averaged over their positions. Call inside tf.tidy. */
  run(inputs: StepInputs, features: readonly string[]): tf.Tensor[] {
    const { store, seed, forward } = this.model;
    const pass = { training: false, seed, step: 0 };
    if (features.length === 0) return [forward(store.context(pass), inputs.images)];
    return pooledFeatures(features, (capture) => {
      forward(store.context({ ...pass, capture }), inputs.images);
    });
  }

  /** The plan of `run` for inputs of a shape, recorded when first asked for. @throws RecordingError when it cannot be. */
  plan(inputs: StepInputs, shape: string, features: readonly string[]): EvaluationPlan {
    const key = [shape, ...features].join(' ');
    let made = this.made.get(key);
    if (made === undefined) {
      const { dispatches, result: results } = recordTrace(this.backend, (recording) => {
        const tensors = tf.tidy(() => this.run(inputs, features));
        try {
          return tensors.map((t) => ({ buffer: recording.virtualOf(t.dataId), shape: t.shape }));
        } finally {
          tf.dispose(tensors);
        }
      });
      const buffers = new Set(results.map(({ buffer }) => buffer));
      made = { plan: new Plan(this.backend, this.pool, dispatches, new Map(), buffers), results };
      this.made.set(key, made);
    }
    return made;
  }

  /**
   * Replays a plan and copies its results out of the shared slots, in the same submit; the caller disposes of them.
   * @param replay runs the plan and then what it is given.
   */
  replay(
    { plan, results }: EvaluationPlan,
    replay: (plan: Plan, after: (encoder: GPUCommandEncoder) => void) => void,
  ): tf.Tensor[] {
    const copies = results.map(({ buffer, shape }) => {
      const info = this.backend.makeTensorInfo([...shape], 'float32');
      this.backend.uploadToGPU(info.dataId);
      return { from: plan.viewOf(buffer), to: this.backend.viewOf(info), info };
    });
    replay(plan, (encoder) => {
      for (const { from, to } of copies) {
        encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, from.size);
      }
    });
    return copies.map(({ info }) => tf.engine().makeTensorFromTensorInfo(info, this.backend));
  }

  dispose(): void {
    for (const { plan } of this.made.values()) plan.dispose();
    this.made.clear();
  }
}
