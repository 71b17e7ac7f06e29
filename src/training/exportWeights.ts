/**
 * @file Weights for the Python world and back: safetensors and .pth under the model's own names. Imports config, formats.
 * The metadata makes a file recognisable when it is dropped back in: the whole config, the labels and the validation Dice.
 */
import type { StudioConfig } from '../config/types';
import { checkConfig } from '../config/schema';
import type { Tree } from '../config/tree';
import type { LabelSpec } from '../data/types';
import { writePth } from '../formats/pthWriter';
import { writeSafetensors } from '../formats/safetensors';
import type { TensorMap } from '../formats/tensor';
import { UserError } from '../lib/errors';

export interface WeightsDescription {
  readonly config: StudioConfig;
  readonly labels: LabelSpec;
  readonly epoch: number;
  readonly valDice: number | null;
}

const KEY = 'tinyusfm_studio';

/** "best_epoch_12_dice0.8312": the framework's file name. */
export function weightsName(
  kind: 'best' | 'last' | 'interrupt',
  d: Pick<WeightsDescription, 'epoch' | 'valDice'>,
): string {
  return kind === 'best' && d.valDice !== null
    ? `best_epoch_${d.epoch}_dice${d.valDice.toFixed(4)}`
    : `checkpoint_epoch_${d.epoch}`;
}

/** A .safetensors file that transformers, safetensors and this studio open. */
export function exportSafetensors(weights: TensorMap, description: WeightsDescription): Uint8Array {
  return writeSafetensors(
    weights,
    new Map([
      ['format', 'pt'],
      [KEY, JSON.stringify(description)],
    ]),
  );
}

/** A .pth that `torch.load(weights_only=True)` opens: a plain state_dict. It cannot carry the description. */
export function exportPth(weights: TensorMap): Uint8Array {
  return writePth(weights);
}

/** The description inside a studio safetensors file; null when another tool wrote it. Throws UserError 'weights-metadata' when damaged. */
export function describedWeights(
  metadata: ReadonlyMap<string, string>,
  fileName: string,
): WeightsDescription | null {
  const text = metadata.get(KEY);
  if (text === undefined) return null;
  try {
    const value = JSON.parse(text) as WeightsDescription;
    return {
      ...value,
      config: checkConfig(value.config as unknown as Tree),
      labels: checkedLabels(value.labels),
    };
  } catch (cause) {
    throw new UserError('weights-metadata', `The studio's description inside "${fileName}" is damaged`, {
      subject: fileName,
      cause,
    });
  }
}

function checkedLabels(labels: LabelSpec): LabelSpec {
  const ok =
    Array.isArray(labels.names) &&
    labels.names.length >= 2 &&
    labels.names.every((n) => typeof n === 'string') &&
    ['threshold', 'values', 'colors', 'class'].includes(labels.encoding.kind);
  if (!ok) throw new Error('labels');
  return labels;
}
