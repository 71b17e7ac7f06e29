/**
 * @file For tests only: a model of two layers with everything a step can have (random masks, running statistics, frozen parameters,
 * blocks to recompute), a tenth of the smallest real one's dispatches. For tests that take many steps.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { StudioConfig } from '../config/types';
import { models } from '../models/registry';
import { batchNormSpecs, torchConvSpecs } from '../models/specs';
import type { ForwardContext, ModelDefinition } from '../models/types';
import { batchNormLayer, convLayer, dropout2d } from '../nn/layers';
import { recompute } from '../nn/recompute';
import { smallConfig } from './testSupport';

const CHANNELS = 8;

function body(ctx: ForwardContext, images: tf.Tensor4D): tf.Tensor4D {
  const x = convLayer(ctx, 'backbone.conv', images);
  return batchNormLayer(ctx, 'backbone.norm', x, { relu: true });
}

const probe: ModelDefinition<{ readonly outChannels: number }> = {
  family: 'probe',
  title: 'Probe',
  architecture: (_, outChannels) => ({ outChannels }),
  parameters: ({ outChannels }) => [
    ...torchConvSpecs('backbone.conv', CHANNELS, 3, 1),
    ...batchNormSpecs('backbone.norm', CHANNELS),
    ...torchConvSpecs('head.conv', outChannels, CHANNELS, 1),
  ],
  forward: (ctx, _, images) =>
    convLayer(ctx, 'head.conv', dropout2d(ctx, 'head.dropout', recompute(ctx, body, images), 0.2)),
  featureNames: () => [],
  layerId: (_, name) => (name.startsWith('backbone.') ? 0 : 1),
  layerCount: () => 1,
  isBackbone: (name) => name.startsWith('backbone.'),
  adapt: (_, tensors) => ({ tensors, recognisedAs: 'probe', reshaped: [] }),
};

/** A config of the probe, which is registered for this test file's process: 16 pixels, batches of 2. */
export function probeConfig(...overrides: string[]): StudioConfig {
  (models as Map<string, ModelDefinition>).set('probe', probe as ModelDefinition);
  const config = smallConfig('model.image_size=16', ...overrides);
  return { ...config, model: { ...config.model, name: 'probe' } };
}
