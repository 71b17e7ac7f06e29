/**
 * @file Recompute (gradient checkpointing, arXiv 1604.06174): a block keeps only its input; its activations are computed again for its
 * gradient. About a third more arithmetic for a memory peak of one block. Imports gpu, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import { differentiable, together } from '../gpu/ops/differentiable';
import type { LayerContext } from './layers';

/** What recompute needs of the pass. */
export interface RecomputeContext extends LayerContext {
  /** Names of the parameters that train, when blocks are to be recomputed. */
  readonly recompute?: ReadonlySet<string>;
  readonly capture?: (name: string, value: tf.Tensor) => void;
}

interface GradientEngine {
  gradients(
    f: () => tf.Tensor,
    xs: tf.Tensor[],
    dy: tf.Tensor,
    allowNoGradients: boolean,
  ): { value: tf.Tensor; grads: (tf.Tensor | undefined)[] };
  readonly state: { activeTape: unknown };
}

/**
 * Gradients inside a gradient. tfjs would give up its tape at the end of the inner pass, which the outer one still needs
 * (reference/engine.md, B9).
 */
function innerGradients(f: () => tf.Tensor, xs: tf.Tensor[], dy: tf.Tensor): tf.Tensor[] {
  const engine = tf.engine() as unknown as GradientEngine;
  const outer = engine.state.activeTape;
  try {
    const { value, grads } = engine.gradients(f, xs, dy, true);
    value.dispose();
    return grads.map((grad, i) => grad ?? tf.zerosLike(xs[i] as tf.Tensor));
  } finally {
    engine.state.activeTape = outer;
  }
}

/**
 * block(ctx, x), recomputed in the backward pass where the context asks for it. Random masks are drawn from the same keys again, so the
 * result is the same to the bit.
 * @param block must take its parameters from the context it is given, and change nothing else.
 */
export function recompute<C extends RecomputeContext, T extends tf.Tensor>(
  ctx: C,
  block: (ctx: C, x: T) => T,
  x: T,
): T {
  const { recompute: trained } = ctx;
  if (!ctx.training) return block(ctx, x);
  // A clone costs nothing and collects the block's own uses of x before those outside (a neck): gradients are added up in the order
  // in which a recomputed block adds them, so that both give the same bits.
  if (trained === undefined) return block(ctx, tf.clone(x));
  // The engine reads the inputs after the forward pass, which finds out what they are.
  const inputs: Record<string, tf.Tensor> = { x };
  const names: string[] = [];
  const watching: C = {
    ...ctx,
    param: (name: string) => {
      const value = ctx.param(name);
      if (trained.has(name) && !(`p.${name}` in inputs)) {
        inputs[`p.${name}`] = value;
        names.push(name);
      }
      return value;
    },
  };
  // Running statistics and features are the first pass's.
  const { capture: _, ...silent } = ctx;
  const again = {
    ...silent,
    updateBuffer: (__: string, value: tf.Tensor) => value.dispose(),
  } as unknown as C;
  return differentiable(
    inputs,
    (save) => {
      save([x]);
      return block(watching, x);
    },
    (dy, [kept]) => {
      const x0 = kept as T;
      const all = together(() =>
        innerGradients(() => block(again, x0), [x0, ...names.map((name) => ctx.param(name))], dy),
      );
      return Object.fromEntries([
        ['x', () => all(0)],
        ...names.map((name, i) => [`p.${name}`, () => all(i + 1)] as const),
      ]);
    },
  );
}
