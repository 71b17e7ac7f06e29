/**
 * @file Bilinear resize with half-pixel centres and its exact gradient, one dispatch each. Outside the tape. May import gpu/launch, tfjs.
 *
 * Forward: four reads per output item. Gradient: a gather, in which each input pixel finds the outputs that read it from the scale and
 * weighs them with the same formula as the forward pass; nothing is scattered, so the sum's order is fixed. An invocation takes
 * several channel items of its pixel: the weights are computed once for them.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch } from '../launch';

const WORKGROUP = 64;
/** Channel items (vec4 where channels allow) per invocation, at most. */
const ITEMS = 8;

interface Layout {
  readonly T: string;
  readonly items: number; // of a pixel
  readonly each: number; // per invocation
  readonly turns: number; // invocations per pixel
}

function layout(channels: number): Layout {
  const width = channels % 4 === 0 ? 4 : 1;
  const items = channels / width;
  const each = Math.min(ITEMS, items);
  return { T: width === 4 ? 'vec4<f32>' : 'f32', items, each, turns: Math.ceil(items / each) };
}

/** torch's area_pixel_compute_source_index: at, low, high and the weight of high. */
const SOURCE = `
struct Source { low: i32, high: i32, t: f32 }
fn source(o: i32, scale: f32, size: i32) -> Source {
  let x = max(0.0, (f32(o) + 0.5) * scale - 0.5);
  let low = min(i32(floor(x)), size - 1);
  return Source(low, min(low + 1, size - 1), x - f32(low));
}
fn weight(s: Source, i: i32) -> f32 { return select(0.0, 1.0 - s.t, s.low == i) + select(0.0, s.t, s.high == i); }
`;

const START = (each: number): string => `${FLAT_GROUP}${SOURCE}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (id >= u.size) { return; }
  let pixel = id / u.turns;
  let first = (id % u.turns) * ${each}u;
  let last = min(first + ${each}u, u.items);`;

const FORWARD = ({ each }: Layout): string => `${START(each)}
  let y = source(i32((pixel / u.outWidth) % u.outHeight), u.scaleY, i32(u.height));
  let x = source(i32(pixel % u.outWidth), u.scaleX, i32(u.width));
  let image = (pixel / (u.outWidth * u.outHeight)) * u.height;
  let top = (image + u32(y.low)) * u.width;
  let bottom = (image + u32(y.high)) * u.width;
  for (var c = first; c < last; c++) {
    let a = source_[(top + u32(x.low)) * u.items + c]; let b = source_[(top + u32(x.high)) * u.items + c];
    let d = source_[(bottom + u32(x.low)) * u.items + c]; let e = source_[(bottom + u32(x.high)) * u.items + c];
    let upper = a + (b - a) * x.t;
    let lower = d + (e - d) * x.t;
    result[pixel * u.items + c] = upper + (lower - upper) * y.t;
  }
}`;

const GRADIENT = ({ T, each }: Layout): string => {
  const range = Array.from({ length: each }, (_, i) => i);
  return `${START(each)}
  let iy = i32((pixel / u.width) % u.height);
  let ix = i32(pixel % u.width);
  let image = (pixel / (u.width * u.height)) * u.outHeight;
  // Outputs whose source lies within one input pixel; one more on either side covers rounding, borders clamp.
  let y0 = select(max(0, i32(floor((f32(iy) - 0.5) / u.scaleY - 0.5)) - 1), 0, iy == 0);
  let y1 = select(min(i32(u.outHeight) - 1, i32(ceil((f32(iy) + 1.5) / u.scaleY - 0.5)) + 1), i32(u.outHeight) - 1, iy == i32(u.height) - 1);
  let x0 = select(max(0, i32(floor((f32(ix) - 0.5) / u.scaleX - 0.5)) - 1), 0, ix == 0);
  let x1 = select(min(i32(u.outWidth) - 1, i32(ceil((f32(ix) + 1.5) / u.scaleX - 0.5)) + 1), i32(u.outWidth) - 1, ix == i32(u.width) - 1);
  ${range.map((i) => `var sum${i} = ${T}(0.0);`).join(' ')}
  for (var oy = y0; oy <= y1; oy++) {
    let wy = weight(source(oy, u.scaleY, i32(u.height)), iy);
    if (wy == 0.0) { continue; }
    for (var ox = x0; ox <= x1; ox++) {
      let w = wy * weight(source(ox, u.scaleX, i32(u.width)), ix);
      if (w == 0.0) { continue; }
      let at = ((image + u32(oy)) * u.outWidth + u32(ox)) * u.items + first;
      ${range.map((i) => (i === 0 ? `sum0 += w * source_[at];` : `if (first + ${i}u < last) { sum${i} += w * source_[at + ${i}u]; }`)).join(' ')}
    }
  }
  let at = pixel * u.items + first;
  ${range.map((i) => `if (first + ${i}u < last) { result[at + ${i}u] = sum${i}; }`).join(' ')}
}`;
};

type Size = readonly [batch: number, height: number, width: number, channels: number];

function run(
  name: string,
  from: tf.Tensor,
  input: Size,
  output: readonly [number, number],
  shape: readonly number[],
  wgsl: (l: Layout) => string,
): tf.Tensor4D {
  const [, height, width, channels] = input;
  const [outHeight, outWidth] = output;
  const l = layout(channels);
  const pixels = (shape[0] as number) * (shape[1] as number) * (shape[2] as number);
  const [result] = launch({
    name,
    variant: String(l.each),
    inputs: { source_: { tensor: from, type: l.T } },
    outputs: { result: { shape, type: l.T } },
    uniforms: {
      size: ['u32', pixels * l.turns],
      turns: ['u32', l.turns],
      items: ['u32', l.items],
      height: ['u32', height],
      width: ['u32', width],
      outHeight: ['u32', outHeight],
      outWidth: ['u32', outWidth],
      scaleY: ['f32', height / outHeight],
      scaleX: ['f32', width / outWidth],
    },
    groups: flatGroups(Math.ceil((pixels * l.turns) / WORKGROUP)),
    wgsl: () => wgsl(l),
  });
  return result as tf.Tensor4D;
}

/** x [b, h, w, c] -> [b, height, width, c]. */
export function resizeForward(x: tf.Tensor4D, height: number, width: number): tf.Tensor4D {
  const [b, , , c] = x.shape;
  return run('resize', x, x.shape, [height, width], [b, height, width, c], FORWARD);
}

/** The gradient of `resizeForward`: dy [b, height, width, c] -> `input`. */
export function resizeGradient(dy: tf.Tensor4D, input: Size): tf.Tensor4D {
  return run('resize-gradient', dy, input, [dy.shape[1], dy.shape[2]], input, GRADIENT);
}
