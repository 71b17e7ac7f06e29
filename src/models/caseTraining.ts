/**
 * @file The losses and the optimiser of numeric cases.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { CaseAdamWSettings, CaseLossSettings } from './caseDescription';
import type { NamedVariable } from './parameters';

/** Loss of logits [b, h, w, c] against labels [b, h, w] (0 / 1 or class indices). */
export function caseLoss(settings: CaseLossSettings, logits: tf.Tensor4D, labels: tf.Tensor3D): tf.Scalar {
  if (settings.kind === 'crossEntropy') {
    const classes = logits.shape[3];
    const target = tf.cast(tf.oneHot(tf.cast(labels, 'int32'), classes), 'float32');
    const logp = tf.logSoftmax(logits);
    return tf.neg(tf.mean(tf.sum(tf.mul(target, logp), -1)));
  }
  const x = tf.reshape(logits, labels.shape);
  const bce = tf.mean(tf.sub(tf.softplus(x), tf.mul(x, labels)));
  const p = tf.sigmoid(x);
  const s = settings.smooth;
  const top = tf.add(tf.mul(tf.sum(tf.mul(p, labels)), 2), s);
  const bottom = tf.add(tf.add(tf.sum(tf.square(p)), tf.sum(tf.square(labels))), s);
  const dice = tf.sub(1, tf.div(top, bottom));
  return tf.add(tf.mul(bce, settings.bceWeight), tf.mul(dice, settings.diceWeight));
}

/** torch's AdamW over all given variables. */
export class CaseAdamW {
  private readonly m = new Map<string, tf.Tensor>();
  private readonly v = new Map<string, tf.Tensor>();
  private t = 0;

  constructor(private readonly settings: CaseAdamWSettings) {}

  step(trained: readonly NamedVariable[], grads: ReadonlyMap<string, tf.Tensor>): void {
    const { lr, weightDecay, betas, eps } = this.settings;
    this.t++;
    const c1 = 1 - betas[0] ** this.t;
    const c2 = 1 - betas[1] ** this.t;
    for (const { spec, variable } of trained) {
      const g = grads.get(spec.name) as tf.Tensor;
      const [m, v, next] = tf.tidy(() => {
        const m0 = this.m.get(spec.name) ?? tf.zerosLike(g);
        const v0 = this.v.get(spec.name) ?? tf.zerosLike(g);
        const m1 = tf.add(tf.mul(m0, betas[0]), tf.mul(g, 1 - betas[0]));
        const v1 = tf.add(tf.mul(v0, betas[1]), tf.mul(tf.square(g), 1 - betas[1]));
        const denominator = tf.add(tf.mul(tf.sqrt(v1), 1 / Math.sqrt(c2)), eps);
        const decayed = tf.mul(variable, 1 - lr * weightDecay);
        return [m1, v1, tf.sub(decayed, tf.mul(tf.div(m1, denominator), lr / c1))] as const;
      });
      variable.assign(next);
      tf.dispose([next, this.m.get(spec.name), this.v.get(spec.name)].filter((x) => x !== undefined));
      this.m.set(spec.name, m);
      this.v.set(spec.name, v);
    }
  }

  dispose(): void {
    tf.dispose([...this.m.values(), ...this.v.values()]);
  }
}
