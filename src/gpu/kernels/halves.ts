/**
 * @file Packed halves back to float32, one dispatch: for what cannot read them itself. May import gpu/launch, tfjs.
 * An invocation turns one 32-bit word into two numbers; the arithmetic is one instruction, so nothing is tiled. The products that read
 * halves as they are: kernels/matmul.ts, `halfB`.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch } from '../launch';

const WORKGROUP = 64;

/** @param packed int32 [ceil(size / 2)], as `packHalf` makes it. @param shape of what it stands for. */
export function unpackHalf(packed: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return launch({
    name: 'unpack-half',
    inputs: { x: { tensor: packed, type: 'u32' } },
    outputs: { y: { shape, type: 'f32' } },
    uniforms: { size: ['u32', size], words: ['u32', packed.size] },
    groups: flatGroups(Math.ceil(packed.size / WORKGROUP)),
    wgsl: () => `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (i >= u.words) { return; }
  let both = unpack2x16float(x[i]);
  y[2u * i] = both.x;
  if (2u * i + 1u < u.size) { y[2u * i + 1u] = both.y; }
}`,
  })[0] as tf.Tensor;
}
