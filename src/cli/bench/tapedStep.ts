/**
 * @file A workload as TensorFlow.js executes it: taped gradients, the twin of our AdamW, a read-back of the loss. In the stock bundle its
 * operations are TensorFlow.js's own: the same step as recordedStep.ts.
 */
import * as tf from '@tensorflow/tfjs-core';
import { meanSquareLoss } from '../../gpu/ops/losses';
import { clipCoefficient, globalNorm, Optimizer } from '../../nn/optimizers';
import { forward, transposes } from './blocks';
import { ADAMW, OPTIMIZER, type Get, type Runner, type Values, type Workload } from './workload';

export class TapedStep implements Runner {
  readonly plans = [];
  private readonly tensors = new Map<string, tf.Tensor>();
  private readonly trained = new Map<string, tf.Variable>();
  private readonly optimizer: Optimizer;
  private steps = 0;

  /** @param repeats of the work before a number is read. */
  constructor(
    private readonly spec: Workload,
    values: Values,
    readonly repeats = 1,
  ) {
    const update = spec.kind === 'adamw'; // its inputs are the gradients, under the parameters' names
    for (const group of ['inputs', 'frozen'] as const) {
      for (const [name, { shape }] of Object.entries(spec[group] ?? {})) {
        const value = tf.tensor(values[group][name] as Float32Array, [...shape]);
        const differentiated = group === 'inputs' && spec.inputGradient === true;
        this.tensors.set(update ? `gradient of ${name}` : name, differentiated ? tf.variable(value) : value);
      }
    }
    for (const [name, { shape }] of Object.entries(spec.params)) {
      this.trained.set(name, tf.variable(tf.tensor(values.params[name] as Float32Array, [...shape])));
    }
    this.optimizer = new Optimizer(
      OPTIMIZER,
      [...this.trained].map(([name, variable]) => ({
        name,
        variable,
        lrScale: 1,
        weightDecay: ADAMW.weightDecay,
      })),
    );
  }

  async step(): Promise<number> {
    let number: tf.Tensor | null = null;
    for (let i = 0; i < this.repeats; i++) {
      number?.dispose();
      number = this.once();
    }
    const [value] = await (number as tf.Tensor).data();
    number?.dispose();
    return value as number;
  }

  /** One work; the number to read. */
  private once(): tf.Tensor {
    const { spec } = this;
    if (spec.kind === 'matmul') return tf.tidy(() => this.product());
    if (spec.kind === 'adamw') return this.updateAlone();
    const get: Get = (name) => this.trained.get(name) ?? (this.tensors.get(name) as tf.Tensor);
    const inputs = [...this.tensors.values()].filter((tensor) => tensor instanceof tf.Variable);
    const { value, grads } = tf.variableGrads(
      () => meanSquareLoss(forward(spec, get)),
      [...this.trained.values(), ...inputs],
    );
    const named = new Map([...this.trained].map(([name, { name: id }]) => [name, grads[id] as tf.Tensor]));
    this.optimizer.step(named, ADAMW.lr, this.steps++, null);
    tf.dispose(grads);
    return value;
  }

  private product(): tf.Tensor {
    const [a, b] = ['a', 'b'].map((name) => this.tensors.get(name) as tf.Tensor2D) as [
      tf.Tensor2D,
      tf.Tensor2D,
    ];
    return tf.slice(tf.matMul(a, b, ...transposes(this.spec)), [0, 0], [1, 1]); // one number is read, not the matrix
  }

  private updateAlone(): tf.Tensor {
    const gradients = new Map(
      [...this.trained.keys()].map((name) => [name, this.tensors.get(`gradient of ${name}`) as tf.Tensor]),
    );
    tf.tidy(() => {
      const clip =
        this.spec['clip'] === true ? clipCoefficient(globalNorm([...gradients.values()]), 1) : null;
      this.optimizer.step(gradients, ADAMW.lr, this.steps++, clip);
    });
    const [first] = this.trained.values();
    return tf.tidy(() => tf.slice(tf.reshape(first as tf.Tensor, [-1]), [0], [1]));
  }

  dispose(): void {
    this.optimizer.dispose();
    tf.dispose([...this.tensors.values(), ...this.trained.values()]);
  }
}
