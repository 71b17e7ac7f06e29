/**
 * @file What a model family provides. Parameter names and layouts are the published checkpoint's, end to end
 * (torch layouts: Linear (out, in), Conv2d (out, in, kh, kw)); only inside an operation are they turned to NHWC.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { TensorMap } from '../formats/tensor';
import type { HalfWeight } from '../gpu/ops/frozen';

export type Initializer =
  | { readonly kind: 'zeros' }
  | { readonly kind: 'ones' }
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'truncNormal'; readonly std: number }
  | { readonly kind: 'normal'; readonly std: number }
  | { readonly kind: 'uniform'; readonly bound: number };

export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  /** buffer: saved, never trained (BatchNorm running statistics). counter: num_batches_tracked, int64 in files, kept on the host. */
  readonly kind: 'parameter' | 'buffer' | 'counter';
  readonly init: Initializer;
  /** Present in checkpoints, never used in forward (TinyUSFM's backbone.norm): no gradient, left alone by the optimiser. */
  readonly unused?: boolean;
  /** False for norms, biases, position embeddings, tokens: recipes may leave them out of weight decay. */
  readonly decay: boolean;
}

/** Everything one forward pass needs besides the images. */
export interface ForwardContext {
  /** Parameter or buffer by checkpoint name; throws if absent. */
  param(name: string): tf.Tensor;
  /** The weight of a linear layer where it is frozen and kept as halves (ParameterStore), else null; `param` gives float32 all the same. */
  readonly half?: (name: string) => HalfWeight | null;
  /** Training mode: batch statistics, dropout, drop path. */
  readonly training: boolean;
  /** Key for counter-based random masks: same seed and step, same masks. */
  readonly seed: number;
  readonly step: number;
  /**
   * Called in training mode with the new running statistics. `value` is kept (tf.keep) and then owned by the receiver, which stores
   * it after the step and disposes of it.
   */
  updateBuffer(name: string, value: tf.Tensor): void;
  /** WebGPU: a device tensor [1] int32 with the key of a site's random mask in this pass (see nn/masks.ts). */
  readonly randomKey?: (site: string) => tf.Tensor1D;
  /** Names of the parameters that train, when blocks are recomputed in the backward pass (nn/recompute.ts). */
  readonly recompute?: ReadonlySet<string>;
  /** Called with named intermediate features (NHWC) when someone wants them. */
  readonly capture?: (name: string, value: tf.Tensor) => void;
}

/** Outcome of fitting a file's tensors to a model. */
export interface LoadReport {
  readonly file: string;
  /** e.g. "TinyUSFM pretrained backbone", "SegFormer, published names (transformers v4)", "studio checkpoint". */
  readonly recognisedAs: string;
  readonly loaded: readonly string[];
  readonly missing: readonly string[]; // stay at their initial values
  readonly unexpected: readonly string[]; // in the file, not used
  readonly reshaped: readonly {
    readonly name: string;
    readonly from: readonly number[];
    readonly to: readonly number[];
    readonly how: string;
  }[];
  readonly mismatched: readonly {
    readonly name: string;
    readonly file: readonly number[];
    readonly model: readonly number[];
  }[]; // refused, stay initial
}

export interface ModelDefinition<Architecture = unknown> {
  readonly family: string; // "tinyusfm", "segformer"
  /** Shown in the page. */
  readonly title: string;
  /** Checks architecture keys of `config.model`; throws UserError naming key, value and what is allowed. `outChannels` is resolved. */
  architecture(model: Readonly<Record<string, unknown>>, outChannels: number): Architecture;
  parameters(a: Architecture): readonly ParameterSpec[];
  /** images [B, S, S, 3] normalised -> logits [B, S, S, outChannels] at input resolution. */
  forward(ctx: ForwardContext, a: Architecture, images: tf.Tensor4D): tf.Tensor4D;
  /** Names `capture` will be called with, in order. */
  featureNames(a: Architecture): readonly string[];
  /** 0 = embedding ... layerCount = head; for layer-wise learning-rate decay (factor decay^(layerCount - id)). */
  layerId(a: Architecture, parameterName: string): number;
  layerCount(a: Architecture): number;
  /** True for parameters of the pretrained part (frozen by training.freeze_backbone; not multiplied by head_lr_multiplier). */
  isBackbone(parameterName: string): boolean;
  /** Renames and reshapes a file's tensors to this model's names; pure, host side. Unknown names come back unchanged. */
  adapt(
    a: Architecture,
    tensors: TensorMap,
  ): {
    readonly tensors: TensorMap;
    readonly recognisedAs: string;
    readonly reshaped: LoadReport['reshaped'];
  };
}
