/**
 * @file Recording a pass of a model: twice where asked, with gradients computed in their places; and what a recording has baked in.
 * Imports gpu, tfjs-core.
 */
import * as tf from '@tensorflow/tfjs-core';
import { kernelsOn } from '../gpu/launch';
import { Recording, VirtualBuffer, type RecordedDispatch } from '../gpu/plan/recording';
import { difference } from '../gpu/plan/signature';
import type { BufferView, StudioBackend } from '../gpu/studioBackend';

export interface Recorded<T> {
  readonly dispatches: readonly RecordedDispatch[];
  readonly result: T;
}

let doubleTrace = false;

/** Records every step twice and compares, to catch values frozen into a plan; for tests and development. Returns the earlier state. */
export function setDoubleTrace(on: boolean): boolean {
  const before = doubleTrace;
  doubleTrace = on;
  return before;
}

/** The dispatches of `trace`, which runs twice under `setDoubleTrace`. Throws Error when the two differ, and as Recording.run does. */
export function recordTrace<T>(backend: StudioBackend, trace: (recording: Recording) => T): Recorded<T> {
  const once = (): Recorded<T> => {
    const recording = new Recording(backend);
    const result = recording.run(() => trace(recording));
    return { dispatches: recording.dispatches, result };
  };
  const recorded = once();
  if (!doubleTrace) return recorded;
  const again = once(); // returned: what the trace stored aside belongs to its last run
  const differs = difference(recorded.dispatches, again.dispatches);
  if (differs !== null) throw new Error(`Two recordings of the same step differ: ${differs}`);
  return again;
}

/**
 * What the program of a pass depends on besides its shape and the options of a session: kernels on or off, and the flags of
 * TensorFlow.js. A plan recorded under other conditions is not to be replayed.
 */
export class PlanConditions {
  private readonly kernels = kernelsOn();
  private readonly flags = { ...tf.env().getFlags() }; // those never asked for are absent, and decided nothing

  /** Whether a recording made now could differ from one made when this was constructed. */
  get hold(): boolean {
    const now = tf.env().getFlags();
    return kernelsOn() === this.kernels && Object.entries(this.flags).every(([key, v]) => now[key] === v);
  }
}

/**
 * Lets a gradient be computed directly in its place; false when it must be copied: it is no temporary of its own, is used for another
 * parameter too, or its kernel reads another gradient (a buffer cannot be read and written in one dispatch).
 */
export function place(
  backend: StudioBackend,
  recording: Recording,
  placed: Map<VirtualBuffer, BufferView>,
  gradient: tf.Tensor,
  view: BufferView,
): boolean {
  const { resource } = backend.record(gradient.dataId);
  if (!(resource instanceof VirtualBuffer) || resource.kind !== 'temporary') return false;
  if (placed.has(resource) || resource.size !== view.size) return false;
  for (const { bindings } of recording.dispatches) {
    const mine = bindings.filter(({ target }) => target === resource);
    if (mine.length === 0) continue;
    const writes = mine.some(({ access }) => access === 'read_write');
    const others = bindings.filter(
      ({ target }) => target instanceof VirtualBuffer && target !== resource && placed.has(target),
    );
    if (others.some(({ access }) => (access === 'read_write') !== writes)) return false;
  }
  placed.set(resource, view);
  return true;
}
