/**
 * @file Attention without the N x N matrix: forward, and backward with recompute (FlashAttention-2, arXiv 2307.08691). Outside the
 * tape; the operations are in ops/attention.ts, the WGSL in attentionWgsl.ts and attentionParts.ts. May import gpu/launch, tfjs.
 *
 * Heads lie side by side in rows of q, k and v, which may be parts of wider rows (a joint query-key-value product), so nothing is split or
 * transposed. Forward: an invocation owns query rows, holds them and their sums in registers, and walks over the keys four at a time with a
 * running maximum. It keeps the output and the row's log-sum-exp L. Backward: p = exp(s - L) is computed again; one kernel per query row
 * gives dq and D = sum(dy y), another per key row gives dk and dv. No atomics: the order of every sum is fixed. Scratch: L and D.
 *
 * Software adapters read keys and values straight from memory, several query rows per invocation (each load then serves several
 * products). GPUs share a tile of them in workgroup memory: 64 invocations, at most 16 KiB; heads of more than 32 channels are divided among
 * 2 or 4 invocations, which exchange their shares of the products through workgroup memory, so that none holds more than 32 channels of an operand.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { flatGroups, launch, studioBackend, type Launch } from '../launch';
import {
  attentionForm,
  bindingsOf,
  groupsOf,
  planOf,
  uniformsOf,
  variantOf,
  WORKGROUP,
  type AttentionForm,
  type AttentionOperands,
  type AttentionSizes,
  type Plan,
} from './attentionParts';
import { biasWgsl, forwardWgsl, keyWgsl, queryWgsl, rowDotWgsl } from './attentionWgsl';

export type {
  AttentionForm,
  AttentionOperands,
  AttentionSizes,
  HeadRows,
  RelativePosition,
} from './attentionParts';

/** Widest head of these kernels. */
export const MAX_HEAD = 128;

const bindings = (...sets: (Launch['inputs'] | undefined)[]): number =>
  sets.reduce((sum, set) => sum + Object.keys(set ?? {}).length, 0);

/** Storage buffers that a kernel may bind here; 8 at least. */
function maxBindings(): number {
  return studioBackend()?.device.limits.maxStorageBuffersPerShaderStage ?? 8;
}

/** Whether the kernels can take these operands: head size, and not more buffers (masks, biases, rotated q and k apart from v) than the adapter binds. */
export function attentionFits(
  sizes: AttentionSizes,
  operands: AttentionOperands,
  packed: boolean,
  rope = false,
): boolean {
  const plan = planOf(sizes, operands, attentionForm(sizes.d));
  const common = bindings(bindingsOf(plan, operands)) + 2 + (rope && packed ? 1 : 0); // dy, stats
  const byQuery = common + (operands.relativePosition ? 3 : 1);
  const byKey = common + (packed ? 1 : 2);
  return sizes.d <= MAX_HEAD && Math.max(byQuery, byKey) <= maxBindings();
}

/**
 * softmax(q k^T scale + additions) v.
 * @returns y [batch, n, heads d], and per row its log-sum-exp and a place for the backward pass, [batch, heads, n, 2].
 */
export function attentionForward(
  operands: AttentionOperands,
  sizes: AttentionSizes,
  form: AttentionForm = attentionForm(sizes.d),
): { y: tf.Tensor3D; stats: tf.Tensor } {
  const { batch, n, m, heads, d } = sizes;
  if (d < 1 || d > MAX_HEAD || n < 1 || m < 1) {
    throw new Error(`attention: ${n} queries, ${m} keys, heads of ${d} channels; heads may have 1 to 128`);
  }
  const plan = planOf(sizes, operands, form);
  const { q, k, v } = operands;
  const [y, stats] = launch({
    name: 'attention',
    variant: variantOf(plan),
    inputs: bindingsOf(plan, operands),
    outputs: {
      y: { shape: [batch, n, heads * d], type: plan.T },
      stats: { shape: [batch, heads, n, 2], type: 'vec2<f32>' },
    },
    uniforms: uniformsOf(sizes, operands, { q, k, v }),
    groups: groupsOf(plan, sizes, n),
    wgsl: () => forwardWgsl(plan),
  });
  return { y: y as tf.Tensor3D, stats: stats as tf.Tensor };
}

/** The row sums D = sum(dy y) into stats, as a dispatch of its own. */
function rowDots(dy: tf.Tensor, y: tf.Tensor, stats: tf.Tensor, sizes: AttentionSizes, plan: Plan): void {
  const { batch, n, heads } = sizes;
  launch({
    name: 'attention-dot',
    variant: `d${plan.d} w${plan.width}`,
    inputs: { dy: { tensor: dy, type: plan.T }, y: { tensor: y, type: plan.T } },
    updates: { stats: { tensor: stats, type: 'vec2<f32>' } },
    uniforms: { batch: ['u32', batch], n: ['u32', n], heads: ['u32', heads] },
    groups: flatGroups(Math.ceil((batch * heads * n) / WORKGROUP)),
    wgsl: () => rowDotWgsl(plan),
  });
}

/**
 * Gradients of `attentionForward` in two dispatches, or three where the first has no binding left for y; one more for that of the bias.
 * Writes D into `stats`.
 * @param packed true where q, k, v are parts of one tensor [batch, n, 3 heads d]: one gradient of that shape comes back, else dq, dk, dv.
 * @param needsBias whether the gradient of the bias is wanted.
 * @param limit storage buffers that a kernel may bind.
 * @returns the gradient(s); then those of relH and relW, if any; then that of the bias, if wanted.
 */
export function attentionBackward(
  dy: tf.Tensor,
  y: tf.Tensor,
  stats: tf.Tensor,
  operands: AttentionOperands,
  sizes: AttentionSizes,
  packed: boolean,
  needsBias = false,
  form: AttentionForm = attentionForm(sizes.d),
  limit = maxBindings(),
): tf.Tensor[] {
  const { q, k, v, bias, relativePosition: rel } = operands;
  const { batch, n, m, heads, d } = sizes;
  const c = heads * d;
  const plan = planOf(sizes, operands, form);
  const variant = variantOf(plan);
  const inputs: Launch['inputs'] = { ...bindingsOf(plan, operands), dy: { tensor: dy, type: plan.T } };
  const statistics = { tensor: stats, type: 'vec2<f32>' };
  const width = packed ? 3 * c : c;
  const place = (offset: number) => ({ offset: packed ? offset : 0, stride: width });
  const outputs: NonNullable<Launch['outputs']> = {
    dq: { shape: [batch, n, width], type: plan.T },
    ...(rel
      ? { dRelH: { shape: rel.relH.shape, type: 'f32' }, dRelW: { shape: rel.relW.shape, type: 'f32' } }
      : {}),
  };
  const ready = bindings(inputs, outputs as never) + 2 > limit;
  if (ready) rowDots(dy, y, stats, sizes, plan);
  const [dq, ...dRel] = launch({
    name: 'attention-dq',
    variant: `${variant}${ready ? ' ready' : ''}`,
    inputs: ready ? { ...inputs, stats: statistics } : { ...inputs, y: { tensor: y, type: plan.T } },
    outputs,
    ...(ready ? {} : { updates: { stats: statistics } }),
    uniforms: uniformsOf(sizes, operands, { q, k, v, dq: place(0) }),
    groups: groupsOf(plan, sizes, n),
    wgsl: () => queryWgsl(plan, ready),
  }) as [tf.Tensor, ...tf.Tensor[]];
  const shape = [batch, m, c];
  const made = launch({
    name: 'attention-dkv',
    variant: `${variant}${packed ? ' packed' : ''}`,
    inputs: { ...inputs, stats: statistics },
    ...(packed
      ? { updates: { dqkv: { tensor: dq, type: plan.T } } }
      : { outputs: { dk: { shape, type: plan.T }, dv: { shape, type: plan.T } } }),
    uniforms: uniformsOf(sizes, operands, { q, k, v, dk: place(c), dv: place(2 * c) }),
    groups: groupsOf(plan, sizes, m),
    wgsl: () => keyWgsl(plan, packed),
  });
  const dBias =
    bias && needsBias
      ? launch({
          name: 'attention-dbias',
          variant,
          inputs: { ...inputs, stats: statistics },
          outputs: { dBias: { shape: bias.shape, type: 'f32' } },
          uniforms: uniformsOf(sizes, operands, { q, k, v }),
          groups: flatGroups(Math.ceil(bias.size / WORKGROUP)),
          wgsl: () => biasWgsl(plan),
        })
      : [];
  return [dq, ...made, ...dRel, ...dBias];
}
