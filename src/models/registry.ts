/**
 * @file All models by name. Adding one: a file for its family, a line here, a YAML in configs/model.
 */
import { UserError } from '../lib/errors';
import { segFormer } from './segformer';
import { tinyUsfm } from './tinyusfm';
import type { ModelDefinition } from './types';

/** Registry names differ in their config; the family decides the code. */
const FAMILIES: Readonly<Record<string, ModelDefinition>> = {
  tinyusfm: tinyUsfm as ModelDefinition,
  tinyusfm_nano: tinyUsfm as ModelDefinition,
  segformer_b0: segFormer as ModelDefinition,
  segformer_b1: segFormer as ModelDefinition,
  segformer_b2: segFormer as ModelDefinition,
  segformer_b3: segFormer as ModelDefinition,
  segformer_b4: segFormer as ModelDefinition,
  segformer_b5: segFormer as ModelDefinition,
  segformer_nano: segFormer as ModelDefinition,
};

/** Model definitions by `model.name`. The architecture type of an entry is its own: pass back what it returned. */
export const models: ReadonlyMap<string, ModelDefinition> = new Map(Object.entries(FAMILIES));

/** The definition of a registered model. @throws UserError 'unknown-model' listing the names. */
export function getModel(name: string): ModelDefinition {
  const model = models.get(name);
  if (model === undefined) {
    throw new UserError('unknown-model', `There is no model "${name}"`, {
      subject: 'model.name',
      hint: `Models: ${[...models.keys()].join(', ')}.`,
    });
  }
  return model;
}
