/**
 * @file One update of all parameters in one dispatch: AdamW, Adam and SGD over flat buffers, the gradient's norm, gradient
 * accumulation and copies in place. May import gpu/launch, tfjs.
 *
 * Layout: every trained parameter lies in one flat float32 tensor, each starting at a multiple of BLOCK = 64 elements (256 bytes, what
 * WebGPU asks of a binding's offset); gradient and moments have the same layout, zero in the gaps. `blockGroup` gives each block
 * its parameter group. The arithmetic and its order are torch's (torch/optim/adamw.py, adam.py, sgd.py; twin: nn/optimizers.ts).
 *
 * Nothing that changes from step to step is a uniform: rate and bias corrections lie in `scalars`, the clip coefficient in `clip`, both
 * read on the device, so that a recorded step may be replayed.
 *
 * Tiles: eight invocations share a block, each takes two vec4 eight apart: runs of 128 bytes coalesce on a GPU, and the settings are read
 * once for two. On SwiftShader, where every load is a gather and the settings are a third of them, that is 1.1 times the time of a copy
 * of the same bytes (one vec4 each: 1.5 times; four or more unrolled: 1.6, they spill).
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch, studioBackend } from '../launch';
import type { StudioBackend } from '../studioBackend';

/** Elements per block; parameters start at multiples of it. */
export const BLOCK = 64;
const WORKGROUP = 64;

/** What AdamW, Adam and SGD share. All flat tensors have `total` elements. */
interface Step {
  /** [total] float32, updated in place. */
  readonly p: tf.TensorInfo;
  /** [total] float32, the summed gradient. */
  readonly g: tf.TensorInfo;
  /** [total / 64] int32, the group of each block. */
  readonly blockGroup: tf.TensorInfo;
  /** [2 * G] float32: (lrScale, weightDecay) per group. */
  readonly groups: tf.TensorInfo;
  /** [8] float32, see `stepScalars`. */
  readonly scalars: tf.TensorInfo;
  /** [2] float32: norm and coefficient (`gradientNorm`). A norm that is not finite leaves everything untouched. */
  readonly clip: tf.TensorInfo;
  /** Elements, a multiple of 64. */
  readonly total: number;
}

export interface AdamStep extends Step {
  /** [total] float32, first and second moment, updated in place. */
  readonly m: tf.TensorInfo;
  readonly v: tf.TensorInfo;
  /** adamw: decay p *= 1 - lr wd before the update; adam: wd p is added to the gradient. */
  readonly variant: 'adamw' | 'adam';
  readonly betas: readonly [number, number];
  readonly eps: number;
}

export interface SgdStep extends Step {
  /** [total] float32, updated in place; takes the gradient as it is at the first step (torch, without dampening). */
  readonly momentumBuffer: tf.TensorInfo;
  readonly momentum: number;
}

/**
 * The host's values of one step: [lr, 1 - beta1^t, sqrt(1 - beta2^t), 1 at the first step else 0, 0, 0, 0, 0], t = stepsDone + 1.
 * @param lr the schedule's rate. @param stepsDone optimiser steps before this one.
 */
export function stepScalars(
  lr: number,
  stepsDone: number,
  betas: readonly [number, number],
): Float32Array<ArrayBuffer> {
  const t = stepsDone + 1;
  const first = stepsDone === 0 ? 1 : 0;
  return Float32Array.of(lr, 1 - betas[0] ** t, Math.sqrt(1 - betas[1] ** t), first, 0, 0, 0, 0);
}

/** Pieces of at most one binding (128 MiB by default), in elements. */
function ranges(total: number): { start: number; count: number }[] {
  const limit = (studioBackend() as StudioBackend).device.limits.maxStorageBufferBindingSize;
  const most = Math.floor(limit / 4 / BLOCK) * BLOCK;
  const pieces: { start: number; count: number }[] = [];
  for (let start = 0; start < total; start += most) {
    pieces.push({ start, count: Math.min(most, total - start) });
  }
  return pieces;
}

/** Runs `use` on the same range of several flat tensors. */
function onRange(
  tensors: readonly tf.TensorInfo[],
  range: { start: number; count: number },
  total: number,
  use: (parts: readonly tf.TensorInfo[]) => void,
): void {
  if (range.count === total) {
    use(tensors);
    return;
  }
  const backend = studioBackend() as StudioBackend;
  const parts = tensors.map((tensor) => {
    const { buffer, offset } = backend.viewOf(tensor);
    return backend.viewTensor({ buffer, offset: offset + range.start * 4, size: range.count * 4 }, [
      range.count,
    ]);
  });
  use(parts);
  for (const part of parts) part.dispose();
}

const HEAD = `${FLAT_GROUP}
// By its bits: compilers may assume that floats are finite.
fn isFinite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let at = flatGroup(group, count) * ${WORKGROUP}u + lane;
  let block = at / 8u;
  if (block >= u.blocks || !isFinite(clip[0].x)) { return; }
  let own = groups[blockGroup[u.firstBlock + block]]; // lrScale, weight decay
  let s = scalars[0];
  let scale = clip[0].y;
  let lr = s.x * own.x;`;

/** The same for both of an invocation's vec4, unrolled: a loop costs more than it holds. */
const twice = (body: string): string =>
  ['', ' + 8u']
    .map(
      (next) => `
  {
    let i = block * ${BLOCK / 4}u + at % 8u${next};${body}
  }`,
    )
    .join('');

const ADAM = (variant: 'adamw' | 'adam'): string => `${HEAD}
  let kept = 1.0 - lr * own.y;
  let rate = lr / s.y;
  ${twice(`
    let w = p[i];
    let grad = g[i] * scale${variant === 'adam' ? ' + w * own.y' : ''};
    let m1 = m[i] * u.beta1 + grad * u.rest1;
    let v1 = v[i] * u.beta2 + grad * grad * u.rest2;
    m[i] = m1;
    v[i] = v1;
    p[i] = ${variant === 'adamw' ? 'w * kept' : 'w'} - (m1 / (sqrt(v1) / s.z + u.eps)) * rate;`)}
}`;

const SGD = `${HEAD}
  ${twice(`
    let w = p[i];
    let grad = g[i] * scale + w * own.y;
    let next = select(b[i] * u.momentum + grad, grad, s.w != 0.0);
    b[i] = next;
    p[i] = w - next * lr;`)}
}`;

function settingsInputs(step: Step): Record<string, { tensor: tf.TensorInfo; type: string }> {
  return {
    blockGroup: { tensor: step.blockGroup, type: 'i32' },
    groups: { tensor: step.groups, type: 'vec2<f32>' },
    scalars: { tensor: step.scalars, type: 'vec4<f32>' },
    clip: { tensor: step.clip, type: 'vec2<f32>' },
  };
}

/** One step of AdamW or Adam, in place on p, m, v. */
export function adamwStep(step: AdamStep): void {
  const { p, m, v, g, variant, betas, eps, total } = step;
  for (const range of ranges(total)) {
    onRange([p, m, v, g], range, total, (parts) => {
      const [pp, mm, vv, gg] = parts as [tf.TensorInfo, tf.TensorInfo, tf.TensorInfo, tf.TensorInfo];
      launch({
        name: 'adam',
        variant,
        inputs: { g: { tensor: gg, type: 'vec4<f32>' }, ...settingsInputs(step) },
        updates: {
          p: { tensor: pp, type: 'vec4<f32>' },
          m: { tensor: mm, type: 'vec4<f32>' },
          v: { tensor: vv, type: 'vec4<f32>' },
        },
        uniforms: {
          blocks: ['u32', range.count / BLOCK],
          firstBlock: ['u32', range.start / BLOCK],
          beta1: ['f32', betas[0]],
          rest1: ['f32', 1 - betas[0]],
          beta2: ['f32', betas[1]],
          rest2: ['f32', 1 - betas[1]],
          eps: ['f32', eps],
        },
        groups: flatGroups(Math.ceil(((range.count / BLOCK) * 8) / WORKGROUP)),
        wgsl: () => ADAM(variant),
      });
    });
  }
}

/** One step of SGD with momentum, in place on p and the momentum buffer. */
export function sgdStep(step: SgdStep): void {
  const { p, momentumBuffer, g, momentum, total } = step;
  for (const range of ranges(total)) {
    onRange([p, momentumBuffer, g], range, total, (parts) => {
      const [pp, bb, gg] = parts as [tf.TensorInfo, tf.TensorInfo, tf.TensorInfo];
      launch({
        name: 'sgd',
        inputs: { g: { tensor: gg, type: 'vec4<f32>' }, ...settingsInputs(step) },
        updates: { p: { tensor: pp, type: 'vec4<f32>' }, b: { tensor: bb, type: 'vec4<f32>' } },
        uniforms: {
          blocks: ['u32', range.count / BLOCK],
          firstBlock: ['u32', range.start / BLOCK],
          momentum: ['f32', momentum],
        },
        groups: flatGroups(Math.ceil(((range.count / BLOCK) * 8) / WORKGROUP)),
        wgsl: () => SGD,
      });
    });
  }
}

/** Partial sums of the norm at most, per binding range. */
const PARTIALS = 16_384;

/**
 * Each workgroup sums one contiguous chunk; its invocations interleave, sums of 16 are summed again (error about 30 roundings at
 * 6 M elements instead of 100).
 */
const NORM_PARTIALS = `
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var sum = vec4<f32>(0.0);
  let end = min(u.size, (group.x + 1u) * u.chunk);
  for (var i = group.x * u.chunk + lane; i < end; i += ${16 * WORKGROUP}u) {
    var part = vec4<f32>(0.0);
    for (var j = i; j < min(end, i + ${16 * WORKGROUP}u); j += ${WORKGROUP}u) { let x = g[j]; part += x * x; }
    sum += part;
  }
  partials[u.at + group.x * ${WORKGROUP}u + lane] = (sum.x + sum.y) + (sum.z + sum.w);
}`;

/** One workgroup: 64 strided sums, then a tree. */
const NORM_FINISH = `
var<workgroup> tree: array<f32, ${WORKGROUP}>;
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < u.size; i += ${16 * WORKGROUP}u) {
    var part = 0.0;
    for (var j = i; j < min(u.size, i + ${16 * WORKGROUP}u); j += ${WORKGROUP}u) { part += partials[j]; }
    sum += part;
  }
  tree[lane] = sum;
  workgroupBarrier();
  for (var half = ${WORKGROUP / 2}u; half > 0u; half /= 2u) {
    if (lane < half) { tree[lane] += tree[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) {
    let norm = sqrt(tree[0]);
    // torch's clip_grad_norm_; a negative maximum means none
    clip[0] = vec2<f32>(norm, select(min(1.0, u.maxNorm / (norm + 1e-6)), 1.0, u.maxNorm < 0.0));
  }
}`;

/**
 * sqrt(sum g^2) and min(1, maxNorm / (norm + 1e-6)) (1 where maxNorm is null), into `clip` [2] in place. Two dispatches, fixed order.
 * @param g [total] float32, total a multiple of 4.
 */
export function gradientNorm(step: {
  readonly g: tf.TensorInfo;
  readonly total: number;
  readonly maxNorm: number | null;
  readonly clip: tf.TensorInfo;
}): void {
  const { g, total, maxNorm, clip } = step;
  const pieces = ranges(total).map((range) => {
    const quads = range.count / 4;
    const chunk = Math.max(WORKGROUP, Math.ceil(quads / (PARTIALS / WORKGROUP)));
    return { range, quads, chunk, groups: Math.ceil(quads / chunk) };
  });
  const size = pieces.reduce((sum, piece) => sum + piece.groups * WORKGROUP, 0);
  let partials: tf.Tensor | null = null;
  let at = 0;
  for (const { range, quads, chunk, groups } of pieces) {
    onRange([g], range, total, ([part]) => {
      const [made] = launch({
        name: 'norm-partials',
        inputs: { g: { tensor: part as tf.TensorInfo, type: 'vec4<f32>' } },
        ...(partials === null
          ? { outputs: { partials: { shape: [size], type: 'f32' } } }
          : { updates: { partials: { tensor: partials, type: 'f32' } } }),
        uniforms: { size: ['u32', quads], chunk: ['u32', chunk], at: ['u32', at] },
        groups: [groups, 1, 1],
        wgsl: () => NORM_PARTIALS,
      });
      partials ??= made as tf.Tensor;
    });
    at += groups * WORKGROUP;
  }
  launch({
    name: 'norm-finish',
    inputs: { partials: { tensor: partials as unknown as tf.Tensor, type: 'f32' } },
    updates: { clip: { tensor: clip, type: 'vec2<f32>' } },
    uniforms: { size: ['u32', size], maxNorm: ['f32', maxNorm ?? -1] },
    groups: [1, 1, 1],
    wgsl: () => NORM_FINISH,
  });
  (partials as unknown as tf.Tensor).dispose();
}

const elementwise = (body: string): string => `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = flatGroup(group, count) * ${WORKGROUP}u + lane;
  if (i < u.size) { ${body} }
}`;

/**
 * sum = (first ? 0 : sum) + g * share, in place.
 * @param sum, g [total] float32, total a multiple of 64. @param share [2] float32 on the device: share, then 1 for first, else 0.
 */
export function accumulate(step: {
  readonly sum: tf.TensorInfo;
  readonly g: tf.TensorInfo;
  readonly share: tf.TensorInfo;
  readonly total: number;
}): void {
  const { sum, g, share, total } = step;
  for (const range of ranges(total)) {
    onRange([sum, g], range, total, (parts) => {
      const [ss, gg] = parts as [tf.TensorInfo, tf.TensorInfo];
      launch({
        name: 'accumulate',
        inputs: { g: { tensor: gg, type: 'vec4<f32>' }, share: { tensor: share, type: 'vec2<f32>' } },
        updates: { sum: { tensor: ss, type: 'vec4<f32>' } },
        uniforms: { size: ['u32', range.count / 4] },
        groups: flatGroups(Math.ceil(range.count / 4 / WORKGROUP)),
        wgsl: () =>
          elementwise('sum[i] = select(sum[i], vec4<f32>(0.0), share[0].y != 0.0) + g[i] * share[0].x;'),
      });
    });
  }
}

/** Copies the bits of `source` into `target` in place; float32 or int32 of equal size, any shape, at most one binding. */
export function copyInto(target: tf.TensorInfo, source: tf.TensorInfo): void {
  const size = source.shape.reduce((a, b) => a * b, 1);
  if (size !== target.shape.reduce((a, b) => a * b, 1)) {
    throw new Error(`copyInto: [${source.shape}] does not fit into [${target.shape}]`);
  }
  if (size === 0) return;
  const quads = size % 4 === 0;
  const type = quads ? 'vec4<u32>' : 'u32';
  const items = quads ? size / 4 : size;
  launch({
    name: 'copy-into',
    inputs: { x: { tensor: source, type } },
    updates: { y: { tensor: target, type } },
    uniforms: { size: ['u32', items] },
    groups: flatGroups(Math.ceil(items / WORKGROUP)),
    wgsl: () => elementwise('y[i] = x[i];'),
  });
}
