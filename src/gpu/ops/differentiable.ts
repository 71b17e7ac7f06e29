/**
 * @file One node on TensorFlow.js's tape with our own gradient. Imports tfjs-core only.
 *
 * `tf.customGrad` computes the gradients of all inputs, needed or not. The engine underneath takes one function per input and
 * calls only those on the way to a trained tensor: a frozen weight or an input image then costs nothing. This helper calls
 * that engine method (tfjs-core/src/engine.ts, runKernelFunc; private in its typings, stable since 2.0).
 */
import * as tf from '@tensorflow/tfjs-core';

/** Keeps tensors for the gradient; only what is passed here survives the forward pass. Call it at most once. */
export type Save = (tensors: tf.Tensor[]) => void;

interface Engine {
  runKernelFunc(call: {
    inputs: Record<string, tf.Tensor>;
    forwardFunc: (backend: unknown, save: Save) => tf.Tensor | tf.Tensor[];
    backwardsFunc: (dy: tf.Tensor | tf.Tensor[], saved: tf.Tensor[]) => Record<string, () => tf.Tensor>;
  }): tf.Tensor | tf.Tensor[];
}

/**
 * Saved tensors of the node whose gradient ran last. Back-propagation is sequential, so when the next node starts, these are
 * no longer needed; releasing them then (the engine would wait for the end of the pass) keeps the memory peak at that of
 * the forward pass.
 */
let finished: readonly tf.Tensor[] = [];

function start(saved: readonly tf.Tensor[]): void {
  for (const tensor of finished) tensor.dispose();
  finished = saved;
}

interface Scope {
  track: tf.Tensor[];
}
interface Scopes {
  readonly state: { readonly activeScope: Scope; readonly scopeStack: readonly Scope[] };
}

/** Hands tensors from the engine's scope around a single gradient to the scope of the whole gradient pass. */
function toPass(tensors: readonly tf.Tensor[]): readonly tf.Tensor[] {
  const { state } = tf.engine() as unknown as Scopes;
  const inner = state.activeScope;
  const outer = state.scopeStack[state.scopeStack.length - 2];
  if (outer !== undefined && outer !== inner) {
    const moved = inner.track.filter((t) => tensors.includes(t));
    inner.track = inner.track.filter((t) => !tensors.includes(t));
    outer.track.push(...moved);
  }
  return tensors;
}

/** Results of one computation, for several of the functions that `backward` returns. */
export interface Together {
  /** The k-th, handed out as a gradient. */
  (k: number): tf.Tensor;
  /** All, to be read by the gradient of another input; they stay ours. Before any is handed out, else it computes again. */
  all(): readonly tf.Tensor[];
}

/** Several gradients from one computation, which runs when the first is asked for. It must dispose of its intermediates. */
export function together(compute: () => readonly tf.Tensor[]): Together {
  let results: readonly tf.Tensor[] = [];
  const all = (): readonly tf.Tensor[] => (results = toPass(compute()));
  const ready = (k: number): tf.Tensor =>
    results[k]?.isDisposed === false ? results[k] : (all()[k] as tf.Tensor);
  const take = (k: number): tf.Tensor => {
    const result = ready(k);
    const own = tf.clone(result); // shares the data and belongs to the scope that asks
    result.dispose();
    return own;
  };
  return Object.assign(take, {
    all: () => (results.length > 0 && results.every((t) => !t.isDisposed) ? results : all()),
  });
}

/**
 * Runs `forward` as one tape node with a single output.
 * @param inputs differentiable inputs by name, float32.
 * @param forward computes the output from the inputs it closes over; intermediates are released.
 * @param backward from the output's gradient and the saved tensors, one function per input giving a tensor of its shape.
 */
export function differentiable<K extends string, T extends tf.Tensor>(
  inputs: Readonly<Record<K, tf.Tensor>>,
  forward: (save: Save) => T,
  backward: (dy: T, saved: readonly tf.Tensor[]) => Record<K, () => tf.Tensor>,
): T {
  return (tf.engine() as unknown as Engine).runKernelFunc({
    inputs: inputs as Record<string, tf.Tensor>,
    forwardFunc: (_, save) => forward(save),
    backwardsFunc: (dy, saved) => {
      start(saved);
      return backward(dy as T, saved);
    },
  }) as T;
}

/** As `differentiable`, for a node with side outputs that take no gradient (BatchNorm's batch statistics). */
export function differentiableWithAside<K extends string>(
  inputs: Readonly<Record<K, tf.Tensor>>,
  forward: (save: Save) => tf.Tensor[],
  backward: (dy: tf.Tensor, saved: readonly tf.Tensor[]) => Record<K, () => tf.Tensor>,
): tf.Tensor[] {
  return (tf.engine() as unknown as Engine).runKernelFunc({
    inputs: inputs as Record<string, tf.Tensor>,
    forwardFunc: (_, save) => forward(save),
    backwardsFunc: (dys, saved) => {
      start(saved);
      return backward((dys as tf.Tensor[])[0] as tf.Tensor, saved);
    },
  }) as tf.Tensor[];
}
