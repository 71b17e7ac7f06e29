/**
 * @file Features of a forward pass, each averaged over its positions: one vector per image and layer. Imports gpu, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import { middleSums } from '../gpu/kernels/columnSums';
import { kernelsOn } from '../gpu/launch';

/** [b, ..., c] -> [b, c], the mean over what lies between. Outside the tape. */
function meanOverPositions(x: tf.Tensor): tf.Tensor2D {
  const [b, c] = [x.shape[0] as number, x.shape[x.rank - 1] as number];
  const positions = x.size / (b * c);
  const sums = kernelsOn()
    ? tf.reshape(middleSums(x, b, positions, c), [b, c])
    : tf.sum(tf.reshape(x, [b, positions, c]), 1);
  return tf.mul(sums, 1 / positions) as tf.Tensor2D;
}

/**
 * Runs `forward` and pools the features it captures; call inside tf.tidy.
 * @param names of features, as the model captures them (ModelDefinition.featureNames).
 * @returns one tensor [b, c] per name, in their order.
 * @throws Error naming a feature that the pass did not capture.
 */
export function pooledFeatures(
  names: readonly string[],
  forward: (capture: (name: string, value: tf.Tensor) => void) => void,
): tf.Tensor2D[] {
  const pooled = new Map<string, tf.Tensor2D>();
  forward((name, value) => {
    if (names.includes(name)) pooled.set(name, meanOverPositions(value));
  });
  return names.map((name) => {
    const value = pooled.get(name);
    if (value === undefined) throw new Error(`The model has no feature "${name}"`);
    return value;
  });
}
