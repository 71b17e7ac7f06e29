/**
 * @file SegFormer: the Mix Transformer (MiT) encoder and the all-MLP head.
 * Reference: arXiv 2105.15203; transformers' SegformerForSemanticSegmentation (LayerNorm eps 1e-5 everywhere); reference/models.md
 * section 4. Names are the published files' (transformers v4).
 */
import * as tf from '@tensorflow/tfjs-core';
import { attention } from '../gpu/ops/attention';
import { add, gelu } from '../gpu/ops/elementwise';
import { linear } from '../gpu/ops/matmul';
import { resizeBilinear } from '../gpu/ops/resize';
import {
  batchNormLayer, convLayer, depthwiseLayer, dropout, layerNormLayer, linearLayer,
  residualLinear,
} from '../nn/layers'; // prettier-ignore
import { recompute } from '../nn/recompute';
import { integerKey, integersKey, numberKey, requireKey } from './architecture';
import { adaptSegFormer } from './segformerNames';
import { batchNormSpecs, convSpecs, linearSpecs, normSpecs, parameter } from './specs';
import type { ForwardContext, Initializer, ModelDefinition, ParameterSpec } from './types';

export interface SegFormerArchitecture {
  readonly imageSize: number;
  readonly hiddenSizes: readonly number[]; // C per stage
  readonly depths: readonly number[];
  readonly heads: readonly number[];
  readonly srRatios: readonly number[]; // keys and values are reduced by r x r
  readonly mlpRatios: readonly number[];
  readonly decoderSize: number; // E
  readonly dropPath: number; // of the last block; linear from 0
  readonly classifierDropout: number;
  readonly layerNormEps: number;
  readonly outChannels: number;
}

const STAGES = [0, 1, 2, 3] as const;
const PATCH = [
  { kernel: 7, stride: 4, padding: 3 },
  { kernel: 3, stride: 2, padding: 1 },
  { kernel: 3, stride: 2, padding: 1 },
  { kernel: 3, stride: 2, padding: 1 },
] as const;
/** Coarsest feature is 1/32 of the image. */
const TOTAL_STRIDE = 32;
const NORMAL: Initializer = { kind: 'normal', std: 0.02 }; // transformers' initializer_range

function architecture(model: Readonly<Record<string, unknown>>, outChannels: number): SegFormerArchitecture {
  const a: SegFormerArchitecture = {
    imageSize: integerKey(model, 'image_size', { min: TOTAL_STRIDE, max: 2048 }),
    hiddenSizes: integersKey(model, 'hidden_sizes', 4, { min: 1, max: 4096 }),
    depths: integersKey(model, 'depths', 4, { min: 1, max: 100 }),
    heads: integersKey(model, 'num_attention_heads', 4, { min: 1, max: 64 }),
    srRatios: integersKey(model, 'sr_ratios', 4, { min: 1, max: 16 }),
    mlpRatios: integersKey(model, 'mlp_ratios', 4, { min: 1, max: 16 }),
    decoderSize: integerKey(model, 'decoder_hidden_size', { min: 1, max: 4096 }),
    dropPath: numberKey(model, 'drop_path', { min: 0, max: 0.9 }),
    classifierDropout: numberKey(model, 'classifier_dropout', { min: 0, max: 0.9 }),
    layerNormEps: numberKey(model, 'layer_norm_eps', { min: 1e-12, max: 1e-2 }),
    outChannels,
  };
  const multiple = `a multiple of ${TOTAL_STRIDE}`;
  requireKey(a.imageSize % TOTAL_STRIDE === 0, 'image_size', a.imageSize, multiple);
  for (const i of STAGES) {
    const [c, h, r] = [a.hiddenSizes[i], a.heads[i], a.srRatios[i]] as [number, number, number];
    requireKey(c % h === 0, 'num_attention_heads', a.heads, `divisors of hidden_sizes (stage ${i}: ${c})`);
    const side = a.imageSize / 2 ** (i + 2);
    requireKey(r <= side, 'sr_ratios', a.srRatios, `at most the feature side (stage ${i}: ${side})`);
  }
  return a;
}

function stageSpecs(a: SegFormerArchitecture, i: number): ParameterSpec[] {
  const c = a.hiddenSizes[i] as number;
  const hidden = c * (a.mlpRatios[i] as number);
  const sr = a.srRatios[i] as number;
  const specs: ParameterSpec[] = [];
  for (let j = 0; j < (a.depths[i] as number); j++) {
    const block = `segformer.encoder.block.${i}.${j}`;
    const self = `${block}.attention.self`;
    specs.push(...normSpecs(`${block}.layer_norm_1`, c));
    for (const part of ['query', 'key', 'value']) specs.push(...linearSpecs(`${self}.${part}`, c, c, NORMAL));
    if (sr > 1)
      specs.push(...convSpecs(`${self}.sr`, [c, c, sr, sr], NORMAL), ...normSpecs(`${self}.layer_norm`, c));
    specs.push(
      ...linearSpecs(`${block}.attention.output.dense`, c, c, NORMAL),
      ...normSpecs(`${block}.layer_norm_2`, c),
      ...linearSpecs(`${block}.mlp.dense1`, hidden, c, NORMAL),
      ...convSpecs(`${block}.mlp.dwconv.dwconv`, [hidden, 1, 3, 3], NORMAL),
      ...linearSpecs(`${block}.mlp.dense2`, c, hidden, NORMAL),
    );
  }
  return specs;
}

function parameters(a: SegFormerArchitecture): ParameterSpec[] {
  const c = (i: number): number => (i < 0 ? 3 : (a.hiddenSizes[i] as number));
  const e = a.decoderSize;
  return [
    ...STAGES.flatMap((i) => {
      const name = `segformer.encoder.patch_embeddings.${i}`;
      const k = PATCH[i].kernel;
      return [
        ...convSpecs(`${name}.proj`, [c(i), c(i - 1), k, k], NORMAL),
        ...normSpecs(`${name}.layer_norm`, c(i)),
      ];
    }),
    ...STAGES.flatMap((i) => stageSpecs(a, i)),
    ...STAGES.flatMap((i) => normSpecs(`segformer.encoder.layer_norm.${i}`, c(i))),
    ...STAGES.flatMap((i) => linearSpecs(`decode_head.linear_c.${i}.proj`, e, c(i), NORMAL)),
    parameter('decode_head.linear_fuse.weight', [e, 4 * e, 1, 1], NORMAL),
    ...batchNormSpecs('decode_head.batch_norm', e),
    ...convSpecs('decode_head.classifier', [a.outChannels, e, 1, 1], NORMAL),
  ];
}

/** Attention with keys and values from the r x r reduced map, without its output layer; x [b, h, w, c] normalised -> [b, h w, c]. */
function efficientAttention(
  ctx: ForwardContext,
  a: SegFormerArchitecture,
  i: number,
  name: string,
  x: tf.Tensor4D,
): tf.Tensor3D {
  const self = `${name}.attention.self`;
  const sr = a.srRatios[i] as number;
  const tokens = (t: tf.Tensor): tf.Tensor3D => tf.reshape(t, [x.shape[0], -1, x.shape[3]]);
  let source: tf.Tensor = x;
  if (sr > 1) {
    const reduced = convLayer(ctx, `${self}.sr`, x, { stride: sr, padding: 0 }); // [b, h / r, w / r, c]
    source = layerNormLayer(ctx, `${self}.layer_norm`, reduced, a.layerNormEps);
  }
  const q = tokens(linearLayer(ctx, `${self}.query`, x)); // [b, h w, c]
  const k = tokens(linearLayer(ctx, `${self}.key`, source)); // [b, h w / r r, c]
  const v = tokens(linearLayer(ctx, `${self}.value`, source));
  return attention(q, k, v, a.heads[i] as number);
}

/** Mix-FFN without its last layer: linear, depthwise 3x3, GELU: [b, h, w, c] -> [b, h, w, 4 c]. */
function mixFfn(ctx: ForwardContext, name: string, x: tf.Tensor4D): tf.Tensor4D {
  const hidden = linearLayer(ctx, `${name}.mlp.dense1`, x); // [b, h, w, 4 c]
  return gelu(depthwiseLayer(ctx, `${name}.mlp.dwconv.dwconv`, hidden));
}

/** One transformer block of stage i; `rate` is its drop path. */
function block(
  ctx: ForwardContext,
  a: SegFormerArchitecture,
  i: number,
  j: number,
  x: tf.Tensor4D,
  rate: number,
): tf.Tensor4D {
  const name = `segformer.encoder.block.${i}.${j}`;
  const n1 = layerNormLayer(ctx, `${name}.layer_norm_1`, x, a.layerNormEps);
  const mixed = efficientAttention(ctx, a, i, name, n1);
  const output = `${name}.attention.output.dense`;
  const y = residualLinear(ctx, output, mixed, x, { site: `${name}.drop_path1`, rate });
  const n2 = layerNormLayer(ctx, `${name}.layer_norm_2`, y, a.layerNormEps);
  const hidden = mixFfn(ctx, name, n2);
  return residualLinear(ctx, `${name}.mlp.dense2`, hidden, y, { site: `${name}.drop_path2`, rate });
}

/** The four stage outputs [b, s / 4 ... s / 32, ., c_i]. */
function encoder(ctx: ForwardContext, a: SegFormerArchitecture, images: tf.Tensor4D): tf.Tensor4D[] {
  const total = a.depths.reduce((sum, depth) => sum + depth, 0);
  let x = images;
  let index = 0;
  return STAGES.map((i) => {
    const embedding = `segformer.encoder.patch_embeddings.${i}`;
    x = convLayer(ctx, `${embedding}.proj`, x, PATCH[i]); // [b, h, w, c_i]
    x = layerNormLayer(ctx, `${embedding}.layer_norm`, x, a.layerNormEps);
    for (let j = 0; j < (a.depths[i] as number); j++, index++) {
      const rate = total > 1 ? (a.dropPath * index) / (total - 1) : 0;
      x = recompute(ctx, (inner, y) => block(inner, a, i, j, y, rate), x);
    }
    x = layerNormLayer(ctx, `segformer.encoder.layer_norm.${i}`, x, a.layerNormEps);
    ctx.capture?.(`feature.${i}`, x);
    return x;
  });
}

/**
 * The all-MLP head: [b, s / 4, s / 4, out].
 * The reference upsamples each level, concatenates [c4, c3, c2, c1] and fuses with a 1x1 convolution. Interpolation and the fuse
 * are both linear and act on different axes, so each level is fused with its quarter of the weight first and upsampled after:
 * the same numbers for a third of the multiplications, without the 4 E-channel map.
 */
function decoder(
  ctx: ForwardContext,
  a: SegFormerArchitecture,
  features: readonly tf.Tensor4D[],
): tf.Tensor4D {
  const e = a.decoderSize;
  const fuse = tf.reshape(ctx.param('decode_head.linear_fuse.weight'), [e, 4 * e]);
  const quarters = tf.split(fuse, 4, 1) as tf.Tensor2D[]; // for c4, c3, c2, c1
  const [, height, width] = (features[0] as tf.Tensor4D).shape;
  const parts = features.map((feature, i) => {
    const level = linearLayer(ctx, `decode_head.linear_c.${i}.proj`, feature); // [b, h_i, w_i, e]
    const fused = linear(level, quarters[3 - i] as tf.Tensor2D, null) as tf.Tensor4D;
    return resizeBilinear(fused, height, width);
  });
  const sum = parts.reduceRight((total, part) => add(total, part));
  const y = batchNormLayer(ctx, 'decode_head.batch_norm', sum, { relu: true });
  return convLayer(
    ctx,
    'decode_head.classifier',
    dropout(ctx, 'decode_head.dropout', y, a.classifierDropout),
  );
}

function forward(ctx: ForwardContext, a: SegFormerArchitecture, images: tf.Tensor4D): tf.Tensor4D {
  const native = decoder(ctx, a, encoder(ctx, a, images));
  ctx.capture?.('logits.native', native);
  return resizeBilinear(native, images.shape[1], images.shape[2]);
}

/** Blocks counted through the stages; a stage's patch embedding goes with its first block, its norm with its last. */
function layerId(a: SegFormerArchitecture, name: string): number {
  const before = (stage: number): number => a.depths.slice(0, stage).reduce((sum, depth) => sum + depth, 0);
  const match = /^segformer\.encoder\.(patch_embeddings|block|layer_norm)\.(\d+)\.(?:(\d+)\.)?/.exec(name);
  if (match === null) return before(STAGES.length);
  const stage = Number(match[2]);
  if (match[1] === 'block') return before(stage) + Number(match[3]);
  return match[1] === 'patch_embeddings' ? before(stage) : before(stage + 1) - 1;
}

export const segFormer: ModelDefinition<SegFormerArchitecture> = {
  family: 'segformer',
  title: 'SegFormer',
  architecture,
  parameters,
  forward,
  featureNames: () => [...STAGES.map((i) => `feature.${i}`), 'logits.native'],
  layerId,
  layerCount: (a) => a.depths.reduce((sum, depth) => sum + depth, 0),
  isBackbone: (name) => name.startsWith('segformer.'),
  adapt: adaptSegFormer,
};
