/**
 * @file From logits to what people look at: probability maps, label maps. Imports gpu/ops, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import { resizeBilinear } from '../gpu/ops/resize';

/** One image's prediction: binary as probability x 255 (rounded), multi-class as label indices. */
export interface CaseOutput {
  readonly kind: 'probability' | 'labels';
  readonly values: Uint8Array;
  /** Labels under the threshold given (binary: probability > threshold, decided in float32 before rounding). */
  readonly labels: Uint8Array;
}

/**
 * Reads a batch of predictions back.
 * @param logits [n, h, w, c]; kept.
 * @param height, width size of the result; logits are resized bilinearly (half-pixel) when it differs.
 * @param softmaxBinary two channels: probability of class 1.
 */
export async function readOutputs(
  logits: tf.Tensor4D,
  height: number,
  width: number,
  threshold: number,
): Promise<CaseOutput[]> {
  const [n, , , c] = logits.shape;
  const pixels = height * width;
  const tensor = tf.tidy(() => {
    const full = resizeBilinear(logits, height, width);
    if (c === 1) return tf.sigmoid(full);
    if (c === 2) {
      const [background, foreground] = tf.split(full, 2, 3) as [tf.Tensor4D, tf.Tensor4D];
      return tf.sigmoid(tf.sub(foreground, background));
    }
    return tf.argMax(full, 3);
  });
  const data = await tensor.data();
  tensor.dispose();
  return Array.from({ length: n }, (_, i) => {
    const part = data.subarray(i * pixels, (i + 1) * pixels);
    return c <= 2 ? fromProbabilities(part as Float32Array, threshold) : fromLabels(part as Int32Array);
  });
}

function fromProbabilities(p: Float32Array, threshold: number): CaseOutput {
  const values = new Uint8Array(p.length);
  const labels = new Uint8Array(p.length);
  for (let i = 0; i < p.length; i++) {
    const v = p[i] as number;
    values[i] = Math.round(v * 255);
    labels[i] = v > threshold ? 1 : 0;
  }
  return { kind: 'probability', values, labels };
}

function fromLabels(indices: Int32Array): CaseOutput {
  const labels = Uint8Array.from(indices);
  return { kind: 'labels', values: labels, labels };
}
