/**
 * @file Rotary positions (SAM 3: pairs of adjacent channels) of queries and keys ahead of attention, and of their gradients after it.
 * Outside the tape. May import gpu/launch, tfjs.
 *
 * One invocation turns one pair. Rotating once per element, in a dispatch of its own, costs far less than rotating each key anew for every
 * block of queries within attention; the price is one tensor of the size of q and k.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch, type Launch } from '../launch';
import type { AttentionSizes, HeadRows } from './attentionParts';

/** cos and sin, [n, d] float32: y_2i = x_2i cos_2i - x_2i+1 sin_2i; y_2i+1 = x_2i+1 cos_2i+1 + x_2i sin_2i+1. Take no gradient. */
export interface Rope {
  readonly cos: tf.Tensor;
  readonly sin: tf.Tensor;
}

const WORKGROUP = 64;

function wgsl(sources: string, back: boolean, write: string): string {
  const [first, second] = back
    ? ['a * cosines[t] + c * sines[t + 1u]', 'c * cosines[t + 1u] - a * sines[t]']
    : ['a * cosines[t] - c * sines[t]', 'c * cosines[t + 1u] + a * sines[t + 1u]'];
  return `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (id >= u.rows * u.channels) { return; }
  let keys = id >= u.rows * u.channels / 2u;
  let pair = id % (u.rows * u.channels / 2u);
  let row = pair / (u.channels / 2u);
  let channel = pair % (u.channels / 2u) * 2u;
  let t = row % u.n * u.d + channel % u.d;
  let atQ = row * u.qStride + u.qOffset + channel;
  let atK = row * u.kStride + u.kOffset + channel;
  var a: f32; var c: f32;
  ${sources}
  let first = ${first};
  let second = ${second};
  ${write}
}`;
}

function describe(
  { batch, n, heads, d }: AttentionSizes,
  rope: Rope,
  q: Omit<HeadRows, 'tensor'>,
  k: Omit<HeadRows, 'tensor'>,
): Pick<Launch, 'uniforms' | 'groups'> & { tables: Launch['inputs'] } {
  const channels = heads * d;
  return {
    tables: { cosines: { tensor: rope.cos, type: 'f32' }, sines: { tensor: rope.sin, type: 'f32' } },
    uniforms: {
      rows: ['u32', batch * n],
      n: ['u32', n],
      channels: ['u32', channels],
      d: ['u32', d],
      qOffset: ['u32', q.offset],
      qStride: ['u32', q.stride],
      kOffset: ['u32', k.offset],
      kStride: ['u32', k.stride],
    },
    groups: flatGroups(Math.ceil((batch * n * channels) / WORKGROUP)),
  };
}

/** Rotated queries and keys side by side: [batch, n, 2 heads d]. As many keys as queries; d is even. */
export function ropeForward(q: HeadRows, k: HeadRows, rope: Rope, sizes: AttentionSizes): tf.Tensor3D {
  const { tables, uniforms, groups } = describe(sizes, rope, q, k);
  const joint = q.tensor.dataId === k.tensor.dataId;
  const name = joint ? 'q' : 'k';
  const sources = `if (keys) { a = ${name}[atK]; c = ${name}[atK + 1u]; } else { a = q[atQ]; c = q[atQ + 1u]; }`;
  const [y] = launch({
    name: 'rope',
    variant: joint ? 'joint' : 'separate',
    inputs: {
      q: { tensor: q.tensor, type: 'f32' },
      ...(joint ? {} : { k: { tensor: k.tensor, type: 'f32' } }),
      ...tables,
    },
    outputs: { y: { shape: [sizes.batch, sizes.n, 2 * sizes.heads * sizes.d], type: 'f32' } },
    ...(uniforms ? { uniforms } : {}),
    groups,
    wgsl: () =>
      wgsl(
        sources,
        false,
        'let o = row * 2u * u.channels + select(0u, u.channels, keys) + channel; y[o] = first; y[o + 1u] = second;',
      ),
  });
  return y as tf.Tensor3D;
}

/** Turns the gradients of rotated queries and keys back, in place. */
export function ropeBackward(dq: HeadRows, dk: HeadRows, rope: Rope, sizes: AttentionSizes): void {
  const { tables, uniforms, groups } = describe(sizes, rope, dq, dk);
  const joint = dq.tensor.dataId === dk.tensor.dataId;
  const name = joint ? 'dq' : 'dk';
  launch({
    name: 'rope-back',
    variant: joint ? 'joint' : 'separate',
    inputs: tables,
    updates: {
      dq: { tensor: dq.tensor, type: 'f32' },
      ...(joint ? {} : { dk: { tensor: dk.tensor, type: 'f32' } }),
    },
    ...(uniforms ? { uniforms } : {}),
    groups,
    wgsl: () =>
      wgsl(
        `if (keys) { a = ${name}[atK]; c = ${name}[atK + 1u]; } else { a = dq[atQ]; c = dq[atQ + 1u]; }`,
        true,
        `if (keys) { ${name}[atK] = first; ${name}[atK + 1u] = second; } else { dq[atQ] = first; dq[atQ + 1u] = second; }`,
      ),
  });
}
