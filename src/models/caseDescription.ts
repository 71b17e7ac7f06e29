/**
 * @file Reads case.json (and the config.json of SegFormer cases) into a model, its architecture and a training recipe. Pure.
 */
import type { StudioConfig } from '../config/types';
import { UserError } from '../lib/errors';
import { getModel } from './registry';
import type { ModelDefinition } from './types';

export interface DescribedCase {
  readonly model: ModelDefinition;
  readonly architecture: unknown;
  readonly imageSize: number;
  /** Of weights given by rule; null: a checkpoint. */
  readonly salt: string | null;
  readonly training: {
    readonly loss: StudioConfig['loss'];
    readonly optimizer: StudioConfig['optimizer'];
    readonly lr: number; // constant
    readonly losses: readonly number[]; // expected, before each step
  } | null;
}

type Json = Readonly<Record<string, unknown>>;

const asObject = (value: unknown): Json =>
  typeof value === 'object' && value !== null ? (value as Json) : {};

function incomplete(key: string): never {
  throw new UserError('case-incomplete', `case.json has no usable "${key}"`, { subject: key });
}

function number(from: Json, key: string): number {
  const value = from[key];
  return typeof value === 'number' ? value : incomplete(key);
}

/** TinyUSFM as published; cases override what they change. */
const TINYUSFM = {
  embed_dim: 192, depth: 12, heads: 12, patch_size: 16, mlp_ratio: 4, out_indices: [3, 5, 7, 11],
  neck_channels: 48, head_channels: 128, drop_path: 0, dropout: 0, layer_norm_eps: 1e-6,
}; // prettier-ignore

/** MiT-B0, the model of the full-size case. */
const SEGFORMER_B0 = {
  hidden_sizes: [32, 64, 160, 256], depths: [2, 2, 2, 2], num_attention_heads: [1, 2, 5, 8], sr_ratios: [8, 4, 2, 1],
  mlp_ratios: [4, 4, 4, 4], decoder_hidden_size: 256,
}; // prettier-ignore

function tinyUsfmKeys(given: Json): Json {
  const c = asObject(given['config']);
  if (given['config'] === undefined) return { ...TINYUSFM, image_size: number(given, 'imageSize') };
  return {
    ...TINYUSFM,
    image_size: number(c, 'imageSize'),
    embed_dim: number(c, 'embedDim'),
    depth: number(c, 'depth'),
    heads: number(c, 'heads'),
    patch_size: number(c, 'patchSize'),
    out_indices: c['outIndices'],
    neck_channels: number(c, 'embedDim') * number(c, 'neckScale'),
    head_channels: number(c, 'headChannels'),
    drop_path: number(c, 'dropPath'),
    dropout: number(c, 'dropout'),
    layer_norm_eps: number(c, 'layerNormEps'),
  };
}

/** config.json uses the studio's own keys; its layer_norm_eps is not applied by transformers, which keeps torch's 1e-5. */
function segFormerKeys(given: Json, modelConfig: Json): Json {
  return {
    ...SEGFORMER_B0,
    ...modelConfig,
    image_size: number(given, 'imageSize'),
    drop_path: 0,
    classifier_dropout: 0,
    layer_norm_eps: 1e-5,
  };
}

function lossSettings(loss: Json): StudioConfig['loss'] {
  const plain = { ce_weight: 1, pos_weight: 1, class_weights: null } as const;
  const kind = loss['kind'];
  if (kind === 'crossEntropy') return { ...plain, name: 'ce', bce_weight: 0, dice_weight: 0, smooth: 1e-5 };
  if (kind === 'bce+dice') {
    const [bce, dice] = [number(loss, 'bceWeight'), number(loss, 'diceWeight')];
    return { ...plain, name: 'bce_dice', bce_weight: bce, dice_weight: dice, smooth: number(loss, 'smooth') };
  }
  throw new UserError('case-unknown', `The case's loss "${String(kind)}" is not known`, {
    subject: 'loss.kind',
  });
}

function trainingOf(given: Json): DescribedCase['training'] {
  const losses = given['losses'];
  if (losses === undefined) return null;
  if (!Array.isArray(losses)) incomplete('losses');
  const optimizer = asObject(given['optimizer']);
  const betas = optimizer['betas'];
  if (optimizer['kind'] !== 'adamw') incomplete('optimizer.kind');
  if (!Array.isArray(betas) || betas.length !== 2) incomplete('optimizer.betas');
  return {
    loss: lossSettings(asObject(given['loss'])),
    optimizer: {
      name: 'adamw',
      weight_decay: number(optimizer, 'weightDecay'),
      betas: betas as [number, number],
      eps: number(optimizer, 'eps'),
      momentum: 0,
      layer_decay: null,
      head_lr_multiplier: 1,
      decay_norm_and_bias: true,
    },
    lr: number(optimizer, 'lr'),
    losses: losses as number[],
  };
}

/**
 * @param caseJson parsed case.json.
 * @param modelConfig parsed config.json, or null.
 * @throws UserError 'case-unknown' (model or loss), 'case-incomplete' (a key).
 */
export function describeCase(caseJson: unknown, modelConfig: unknown): DescribedCase {
  const given = asObject(caseJson);
  const name = given['model'];
  if (name !== 'tinyusfm' && name !== 'segformer') {
    throw new UserError('case-unknown', `The case's model ${JSON.stringify(name)} is not built yet`, {
      subject: 'model',
      hint: 'Models with cases: tinyusfm, segformer.',
    });
  }
  const tiny = name === 'tinyusfm';
  const keys = tiny ? tinyUsfmKeys(given) : segFormerKeys(given, asObject(modelConfig));
  const classes = number(
    tiny && given['config'] !== undefined ? asObject(given['config']) : given,
    'numClasses',
  );
  // The official TinyUSFM has one logit for two classes; transformers' SegFormer always one per class.
  const outChannels = tiny && classes === 2 ? 1 : classes;
  const model = getModel(tiny ? 'tinyusfm' : 'segformer_b0');
  const salt = asObject(given['weights'])['salt'];
  return {
    model,
    architecture: model.architecture(keys, outChannels),
    imageSize: keys['image_size'] as number,
    salt: typeof salt === 'string' ? salt : null,
    training: trainingOf(given),
  };
}
