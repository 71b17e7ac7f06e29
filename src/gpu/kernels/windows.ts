/**
 * @file Cutting an image into windows and joining them again (SAM's window attention), one gather each. Outside the tape; the operations
 * are in ops/windows.ts. May import gpu/launch, tfjs.
 *
 * An invocation makes one output element (four channels where c allows), neighbours lie side by side in the output and, within a row of
 * channels, in the source. Either gather is the other's gradient: padding takes none, cropped elements give zero. The same code serves
 * software adapters: it uses no workgroup memory and copies each element once.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch } from '../launch';

const WORKGROUP = 64;
const lanesOf = (channels: number): number => (channels % 4 === 0 ? 4 : 1);
const zero = (channels: number): string => (lanesOf(channels) === 4 ? 'vec4<f32>(0.0)' : '0.0');

interface Gather {
  readonly name: string;
  readonly x: tf.Tensor;
  readonly shape: readonly number[];
  readonly image: readonly [number, number, number]; // height, width, channels
  readonly window: number;
  readonly value: string; // WGSL of output element i, channel group e of pixel or place `at`
}

function gather({ name, x, shape, image: [height, width, channels], window, value }: Gather): tf.Tensor {
  const lanes = lanesOf(channels);
  const type = lanes === 4 ? 'vec4<f32>' : 'f32';
  const count = shape.reduce((a, n) => a * n, 1) / lanes;
  return launch({
    name,
    variant: type,
    inputs: { x: { tensor: x, type } },
    outputs: { y: { shape, type } },
    uniforms: {
      count: ['u32', count],
      height: ['u32', height],
      width: ['u32', width],
      channels: ['u32', channels / lanes],
      window: ['u32', window],
      across: ['u32', Math.ceil(width / window)],
      down: ['u32', Math.ceil(height / window)],
    },
    groups: flatGroups(Math.ceil(count / WORKGROUP)),
    wgsl: () => `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (i >= u.count) { return; }
  let e = i % u.channels;
  let at = i / u.channels;
  ${value}
}`,
  })[0] as tf.Tensor;
}

/** [b, h, w, c] -> [b windows, window window, c], windows in rows; zeros beyond the right and lower edge. */
export function cutWindows(x: tf.Tensor4D, window: number): tf.Tensor3D {
  const [b, height, width, channels] = x.shape;
  const windows = b * Math.ceil(height / window) * Math.ceil(width / window);
  const y = gather({
    name: 'windows-cut',
    x,
    shape: [windows, window * window, channels],
    image: [height, width, channels],
    window,
    value: `let place = at % (u.window * u.window);
  let w = at / (u.window * u.window);
  let row = (w / u.across) % u.down * u.window + place / u.window;
  let column = w % u.across * u.window + place % u.window;
  let inside = row < u.height && column < u.width;
  let b = w / (u.across * u.down);
  let source = ((b * u.height + min(row, u.height - 1u)) * u.width + min(column, u.width - 1u)) * u.channels + e;
  y[i] = select(${zero(channels)}, x[source], inside);`,
  });
  return y as tf.Tensor3D;
}

/** The inverse: [b windows, window window, c] -> [b, h, w, c]; what lies beyond the edges is dropped. */
export function joinWindows(
  x: tf.Tensor3D,
  [b, height, width]: readonly [number, number, number],
  window: number,
): tf.Tensor4D {
  const channels = x.shape[2];
  const y = gather({
    name: 'windows-join',
    x,
    shape: [b, height, width, channels],
    image: [height, width, channels],
    window,
    value: `let row = at / u.width % u.height;
  let column = at % u.width;
  let w = (at / (u.width * u.height) * u.down + row / u.window) * u.across + column / u.window;
  let place = row % u.window * u.window + column % u.window;
  y[i] = x[(w * u.window * u.window + place) * u.channels + e];`,
  });
  return y as tf.Tensor4D;
}
