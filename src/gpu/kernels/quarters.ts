/**
 * @file Pixels to blocks of 2 x 2 and back: the data movement of a transposed convolution with kernel = stride = 2, one dispatch each.
 * Outside the tape; the operation is in ops/convTranspose.ts. May import gpu/launch, tfjs.
 *
 * The product x W gives a pixel's four results of a channel side by side, [pixel][channel][2 x 2], as torch's weights lie (in, out, 2, 2);
 * the image wants channels side by side. An invocation takes four channels of a pixel, reads four vec4 (one per channel), exchanges
 * rows and columns in registers and writes four vec4 (one per output pixel), so both sides move 16 bytes at a time; one channel
 * where four do not divide them. No workgroup memory and each value once: the same code serves software adapters. The bias is
 * added on the way.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch, type Launch } from '../launch';

const WORKGROUP = 64;
const FOUR = [0, 1, 2, 3] as const;

/** The element type of channels-last images, and its items per pixel. */
const itemsOf = (channels: number): { T: string; items: number } =>
  channels % 4 === 0 ? { T: 'vec4<f32>', items: channels / 4 } : { T: 'f32', items: channels };

/** WGSL of `main`: `c` the item of the pixel, `pixel`, `at(t)` the place of tap t = 2 i + j in the image. */
const frame = (body: string): string => `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (id >= u.size) { return; }
  let c = id % u.items;
  let pixel = id / u.items;
  let corner = (4u * (pixel / u.width) * u.width + 2u * (pixel % u.width)) * u.items + c;
  ${FOUR.map((t) => `let at${t} = corner + ${t >> 1}u * 2u * u.width * u.items + ${t & 1}u * u.items;`).join('\n  ')}
  ${body}
}`;

const uniforms = (pixels: number, width: number, items: number): NonNullable<Launch['uniforms']> => ({
  size: ['u32', pixels * items],
  items: ['u32', items],
  width: ['u32', width],
});

function spreadWgsl(T: string, bias: boolean): string {
  const quads = T !== 'f32';
  const read = quads ? FOUR.map((e) => `let r${e} = rows[4u * id + ${e}u];`).join(' ') : 'let r0 = rows[id];';
  const value = (t: number): string =>
    `${quads ? `vec4<f32>(${FOUR.map((e) => `r${e}[${t}]`).join(', ')})` : `r0[${t}]`}${bias ? ' + bias[c]' : ''}`;
  return frame(`${read}\n  ${FOUR.map((t) => `y[at${t}] = ${value(t)};`).join(' ')}`);
}

function collectWgsl(T: string): string {
  const read = FOUR.map((t) => `let v${t} = y[at${t}];`).join(' ');
  const row = (e: string): string => `vec4<f32>(${FOUR.map((t) => `v${t}${e}`).join(', ')})`;
  const write =
    T === 'f32'
      ? `rows[id] = ${row('')};`
      : FOUR.map((e) => `rows[4u * id + ${e}u] = ${row(`[${e}]`)};`).join(' ');
  return frame(`${read}\n  ${write}`);
}

/**
 * Spreads each pixel's four results over a block of 2 x 2 pixels.
 * @param rows [b h w, c 2 2] @param image [b, h, w] @param bias (c), added, or null.
 * @returns [b, 2 h, 2 w, c]
 */
export function spreadQuarters(
  rows: tf.Tensor,
  [b, h, w]: readonly [number, number, number],
  bias: tf.Tensor | null,
): tf.Tensor4D {
  const channels = rows.size / (b * h * w * 4);
  const { T, items } = itemsOf(channels);
  return launch({
    name: 'quarters-spread',
    variant: bias === null ? '' : 'bias',
    inputs: {
      rows: { tensor: rows, type: 'vec4<f32>' },
      ...(bias === null ? {} : { bias: { tensor: bias, type: T } }),
    },
    outputs: { y: { shape: [b, 2 * h, 2 * w, channels], type: T } },
    uniforms: uniforms(b * h * w, w, items),
    groups: flatGroups(Math.ceil((b * h * w * items) / WORKGROUP)),
    wgsl: () => spreadWgsl(T, bias !== null),
  })[0] as tf.Tensor4D;
}

/** The inverse, without bias: y [b, 2 h, 2 w, c] -> [b h w, c 2 2]. */
export function collectQuarters(y: tf.Tensor4D): tf.Tensor2D {
  const [b, height, width, channels] = y.shape;
  const [h, w] = [height / 2, width / 2];
  const { T, items } = itemsOf(channels);
  return launch({
    name: 'quarters-collect',
    inputs: { y: { tensor: y, type: T } },
    outputs: { rows: { shape: [b * h * w, 4 * channels], type: 'vec4<f32>' } },
    uniforms: uniforms(b * h * w, w, items),
    groups: flatGroups(Math.ceil((b * h * w * items) / WORKGROUP)),
    wgsl: () => collectWgsl(T),
  })[0] as tf.Tensor2D;
}
