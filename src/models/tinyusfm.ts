/**
 * @file TinyUSFM for segmentation: a plain ViT-Ti with 12 heads, a four-level neck and an FPN head.
 * Reference: github.com/MacDunno/TinyUSFM model/tinyusfm_seg.py, arXiv 2510.19239; reference/models.md section 3.
 * Names and shapes are the published checkpoint's.
 */
import * as tf from '@tensorflow/tfjs-core';
import { attentionPacked } from '../gpu/ops/attention';
import { add } from '../gpu/ops/elementwise';
import { resizeBilinear } from '../gpu/ops/resize';
import {
  batchNormLayer, convLayer, dropout2d, layerNormLayer, linearLayer, residualLinear,
} from '../nn/layers'; // prettier-ignore
import { recompute } from '../nn/recompute';
import { integerKey, integersKey, numberKey, requireKey } from './architecture';
import { batchNormSpecs, linearSpecs, normSpecs, parameter, torchConvSpecs } from './specs';
import { adaptTinyUsfm } from './tinyusfmNames';
import type { ForwardContext, Initializer, ModelDefinition, ParameterSpec } from './types';

export interface TinyUsfmArchitecture {
  readonly imageSize: number;
  readonly embedDim: number; // C
  readonly depth: number;
  readonly heads: number;
  readonly patchSize: number;
  readonly mlpRatio: number;
  /** Blocks whose outputs feed the neck, finest level first. */
  readonly outIndices: readonly number[];
  readonly neckChannels: number;
  readonly headChannels: number;
  readonly dropPath: number; // of the last block; linear from 0
  readonly dropout: number; // of whole channels before the classifier
  readonly layerNormEps: number;
  readonly outChannels: number;
}

const LEVELS = [0, 1, 2, 3] as const;
const TRUNCATED: Initializer = { kind: 'truncNormal', std: 0.02 }; // timm's ViT

function architecture(model: Readonly<Record<string, unknown>>, outChannels: number): TinyUsfmArchitecture {
  const depth = integerKey(model, 'depth', { min: 1, max: 64 });
  const a: TinyUsfmArchitecture = {
    imageSize: integerKey(model, 'image_size', { min: 16, max: 2048 }),
    embedDim: integerKey(model, 'embed_dim', { min: 4, max: 4096 }),
    depth,
    heads: integerKey(model, 'heads', { min: 1, max: 64 }),
    patchSize: integerKey(model, 'patch_size', { min: 1, max: 64 }),
    mlpRatio: numberKey(model, 'mlp_ratio', { min: 0.25, max: 16 }),
    outIndices: integersKey(model, 'out_indices', 4, { min: 0, max: depth - 1 }),
    neckChannels: integerKey(model, 'neck_channels', { min: 1, max: 4096 }),
    headChannels: integerKey(model, 'head_channels', { min: 1, max: 4096 }),
    dropPath: numberKey(model, 'drop_path', { min: 0, max: 0.9 }),
    dropout: numberKey(model, 'dropout', { min: 0, max: 0.9 }),
    layerNormEps: numberKey(model, 'layer_norm_eps', { min: 1e-12, max: 1e-2 }),
    outChannels,
  };
  requireKey(a.embedDim % a.heads === 0, 'heads', a.heads, `a divisor of embed_dim (${a.embedDim})`);
  requireKey(
    a.imageSize % a.patchSize === 0 && a.imageSize >= 2 * a.patchSize,
    'image_size',
    a.imageSize,
    `a multiple of patch_size (${a.patchSize}), at least ${2 * a.patchSize}`,
  );
  return a;
}

function parameters(a: TinyUsfmArchitecture): ParameterSpec[] {
  const c = a.embedDim;
  const hidden = Math.round(c * a.mlpRatio);
  const grid = a.imageSize / a.patchSize;
  const specs: ParameterSpec[] = [
    parameter('backbone.cls_token', [1, 1, c], TRUNCATED, false),
    parameter('backbone.pos_embed', [1, grid * grid + 1, c], TRUNCATED, false),
    ...torchConvSpecs('backbone.patch_embed.proj', c, 3, a.patchSize),
    // In the checkpoint, but features are taken before it.
    ...normSpecs('backbone.norm', c).map((spec) => ({ ...spec, unused: true })),
  ];
  for (let i = 0; i < a.depth; i++) {
    const block = `backbone.blocks.${i}`;
    specs.push(
      ...normSpecs(`${block}.norm1`, c),
      ...linearSpecs(`${block}.attn.qkv`, 3 * c, c, TRUNCATED),
      ...linearSpecs(`${block}.attn.proj`, c, c, TRUNCATED),
      ...normSpecs(`${block}.norm2`, c),
      ...linearSpecs(`${block}.mlp.fc1`, hidden, c, TRUNCATED),
      ...linearSpecs(`${block}.mlp.fc2`, c, hidden, TRUNCATED),
    );
  }
  const h = a.headChannels;
  for (const i of LEVELS) specs.push(...torchConvSpecs(`neck.projections.${i}`, a.neckChannels, c, 1));
  for (const i of LEVELS) {
    specs.push(...torchConvSpecs(`decode_head.lateral_convs.${i}.0`, h, a.neckChannels, 1));
    specs.push(...batchNormSpecs(`decode_head.lateral_convs.${i}.1`, h));
  }
  for (const i of LEVELS) {
    specs.push(...torchConvSpecs(`decode_head.fpn_convs.${i}.0`, h, h, 3));
    specs.push(...batchNormSpecs(`decode_head.fpn_convs.${i}.1`, h));
  }
  specs.push(...torchConvSpecs('decode_head.conv_seg', a.outChannels, h, 1));
  return specs;
}

/** Patches, class token, positions: [b, 1 + g g, c]. */
function embed(ctx: ForwardContext, a: TinyUsfmArchitecture, images: tf.Tensor4D): tf.Tensor3D {
  const options = { stride: a.patchSize, padding: 0 };
  const patches = convLayer(ctx, 'backbone.patch_embed.proj', images, options); // [b, g, g, c]
  const [b, g, , c] = patches.shape;
  const tokens = tf.reshape(patches, [b, g * g, c]);
  const cls = ctx.param('backbone.cls_token') as tf.Tensor3D; // [1, 1, c]
  // The class token joins as "zero row + its value in row 0": no tile, whose gradient is slow.
  const rest: [[number, number], [number, number], [number, number]] = [[0, 0], [0, g * g], [0, 0]]; // prettier-ignore
  const offsets = tf.add(ctx.param('backbone.pos_embed'), tf.pad(cls, rest)); // [1, 1 + g g, c]
  const first: [[number, number], [number, number], [number, number]] = [[0, 0], [1, 0], [0, 0]]; // prettier-ignore
  return tf.add(tf.pad(tokens, first), offsets);
}

/** One pre-norm transformer block: [b, n, c] -> [b, n, c]. */
function block(ctx: ForwardContext, a: TinyUsfmArchitecture, i: number, x: tf.Tensor3D): tf.Tensor3D {
  const name = `backbone.blocks.${i}`;
  const rate = a.depth > 1 ? (a.dropPath * i) / (a.depth - 1) : 0;
  const n1 = layerNormLayer(ctx, `${name}.norm1`, x, a.layerNormEps);
  const qkv = linearLayer(ctx, `${name}.attn.qkv`, n1); // [b, n, 3 c]
  const mixed = attentionPacked(qkv, a.heads);
  const y = residualLinear(ctx, `${name}.attn.proj`, mixed, x, { site: `${name}.drop_path1`, rate });
  const n2 = layerNormLayer(ctx, `${name}.norm2`, y, a.layerNormEps);
  const hidden = linearLayer(ctx, `${name}.mlp.fc1`, n2, { activation: 'gelu' }); // [b, n, 4 c]
  return residualLinear(ctx, `${name}.mlp.fc2`, hidden, y, { site: `${name}.drop_path2`, rate });
}

/** The four chosen block outputs as images [b, g, g, c], without class token and final norm. */
function backbone(ctx: ForwardContext, a: TinyUsfmArchitecture, images: tf.Tensor4D): tf.Tensor4D[] {
  const g = a.imageSize / a.patchSize;
  let x = embed(ctx, a, images);
  const outputs: tf.Tensor3D[] = [];
  for (let i = 0; i <= Math.max(...a.outIndices); i++) {
    x = recompute(ctx, (inner, y) => block(inner, a, i, y), x);
    outputs.push(x);
  }
  return a.outIndices.map((at, level) => {
    const tokens = tf.slice(outputs[at] as tf.Tensor3D, [0, 1, 0], [-1, -1, -1]);
    const feature = tf.reshape(tokens, [-1, g, g, a.embedDim]) as tf.Tensor4D;
    ctx.capture?.(`feature.${level}`, feature);
    return feature;
  });
}

/** torch's interpolate(scale_factor = 0.5): on an odd side the last row and column are left out. */
function halve(x: tf.Tensor4D): tf.Tensor4D {
  const [b, h, w, c] = x.shape;
  const [hh, hw] = [Math.floor(h / 2), Math.floor(w / 2)];
  const even = h % 2 === 0 && w % 2 === 0 ? x : tf.slice(x, [0, 0, 0, 0], [b, 2 * hh, 2 * hw, c]);
  return resizeBilinear(even, hh, hw);
}

/** Projects each level and resizes it by 4, 2, 1, 1/2. */
function neck(ctx: ForwardContext, features: readonly tf.Tensor4D[]): tf.Tensor4D[] {
  return features.map((feature, i) => {
    const x = convLayer(ctx, `neck.projections.${i}`, feature); // [b, g, g, neck]
    const g = x.shape[1];
    const scaled = i === 3 ? halve(x) : resizeBilinear(x, g * 2 ** (2 - i), g * 2 ** (2 - i));
    ctx.capture?.(`neck.${i}`, scaled);
    return scaled;
  });
}

/** FPN: laterals, top-down sums, 3x3 convolutions, all levels summed at the finest: [b, 4 g, 4 g, out]. */
function head(ctx: ForwardContext, a: TinyUsfmArchitecture, levels: readonly tf.Tensor4D[]): tf.Tensor4D {
  const laterals = levels.map((level, i) => {
    const name = `decode_head.lateral_convs.${i}`;
    return batchNormLayer(ctx, `${name}.1`, convLayer(ctx, `${name}.0`, level), { relu: true });
  });
  for (let i = laterals.length - 1; i > 0; i--) {
    const finer = laterals[i - 1] as tf.Tensor4D;
    laterals[i - 1] = add(finer, resizeBilinear(laterals[i] as tf.Tensor4D, finer.shape[1], finer.shape[2]));
  }
  const outputs = laterals.map((lateral, i) => {
    const name = `decode_head.fpn_convs.${i}`;
    const y = convLayer(ctx, `${name}.0`, lateral, { stride: 1, padding: 1 });
    return batchNormLayer(ctx, `${name}.1`, y, { relu: true });
  });
  const finest = outputs[0] as tf.Tensor4D;
  const sum = outputs
    .slice(1)
    .reduce((total, y) => add(total, resizeBilinear(y, finest.shape[1], finest.shape[2])), finest);
  return convLayer(ctx, 'decode_head.conv_seg', dropout2d(ctx, 'decode_head.dropout', sum, a.dropout));
}

function forward(ctx: ForwardContext, a: TinyUsfmArchitecture, images: tf.Tensor4D): tf.Tensor4D {
  const native = head(ctx, a, neck(ctx, backbone(ctx, a, images)));
  ctx.capture?.('logits.native', native);
  return resizeBilinear(native, images.shape[1], images.shape[2]);
}

/** As the official fine-tuning script: block i and patch embedding at their depth, tokens with the last block, head on top. */
function layerId(a: TinyUsfmArchitecture, name: string): number {
  const blockIndex = /^backbone\.blocks\.(\d+)\./.exec(name);
  if (blockIndex !== null) return Number(blockIndex[1]);
  if (name.startsWith('backbone.patch_embed.')) return 0;
  return name.startsWith('backbone.') ? a.depth - 1 : a.depth;
}

export const tinyUsfm: ModelDefinition<TinyUsfmArchitecture> = {
  family: 'tinyusfm',
  title: 'TinyUSFM',
  architecture,
  parameters,
  forward,
  featureNames: () => [
    ...LEVELS.map((i) => `feature.${i}`),
    ...LEVELS.map((i) => `neck.${i}`),
    'logits.native',
  ],
  layerId,
  layerCount: (a) => a.depth,
  isBackbone: (name) => name.startsWith('backbone.'),
  adapt: adaptTinyUsfm,
};
