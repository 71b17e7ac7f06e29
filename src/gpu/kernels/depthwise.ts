/**
 * @file Depthwise convolution, odd k, stride 1, same size, channels last: forward, input gradient, weight and bias gradients.
 * Outside the tape. May import gpu/launch, tfjs.
 *
 * Forward: an invocation owns four channels (one where they are not a multiple of 4) and a strip of 8 pixels along x, holds its k x k
 * weights in registers and reads each input row of the strip once. The input gradient is the same with the kernel turned round.
 * Weight gradient: an invocation owns four channels and some image rows and slides a k x k window along each, so a pixel costs k + 1
 * reads for k x k + 1 sums; partial sums over row blocks are added in a fixed order.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, launch } from '../launch';

const WORKGROUP = 64;
const STRIP = 8;
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

const head = (body: string): string => `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (id >= u.size) { return; }
  ${body}
}`;

/** Weight of tap t for the item's channels; weights lie as (c, 1, k, k). */
const weight = (T: string, taps: number, t: string): string =>
  T === 'f32'
    ? `w[c * ${taps}u + ${t}]`
    : `vec4<f32>(${range(4)
        .map((e) => `w[(4u * c + ${e}u) * ${taps}u + ${t}]`)
        .join(', ')})`;

function stripWgsl(T: string, k: number, turned: boolean, bias: boolean): string {
  const taps = k * k;
  const pad = (k - 1) / 2;
  const columns = range(STRIP + k - 1);
  const load = columns.map((j) => {
    const x = `x0 + ${j} - ${pad}`;
    return `let v${j} = select(${T}(0.0), x[u32(max(line + ${x}, 0)) * u.items + c], ${x} >= 0 && ${x} < i32(u.width));`;
  });
  const rows = range(k).map(
    (ky) => `{ let sy = y + ${ky} - ${pad};
    if (sy >= 0 && sy < i32(u.height)) {
      let line = (b * i32(u.height) + sy) * i32(u.width);
      ${load.join(' ')}
      ${range(STRIP)
        .flatMap((j) => range(k).map((kx) => `s${j} += v${j + kx} * w${ky * k + kx};`))
        .join(' ')}
    } }`,
  );
  return head(`let c = id % u.items;
  let strip = id / u.items;
  let x0 = i32(strip % u.strips) * ${STRIP};
  let y = i32((strip / u.strips) % u.height);
  let b = i32(strip / (u.strips * u.height));
  ${range(taps)
    .map((t) => `let w${t} = ${weight(T, taps, `${turned ? taps - 1 - t : t}u`)};`)
    .join(' ')}
  ${range(STRIP)
    .map((j) => `var s${j} = ${bias ? 'bias[c]' : `${T}(0.0)`};`)
    .join(' ')}
  ${rows.join('\n  ')}
  let o = (b * i32(u.height) + y) * i32(u.width) + x0;
  ${range(STRIP)
    .map((j) => `if (x0 + ${j} < i32(u.width)) { y_[u32(o + ${j}) * u.items + c] = s${j}; }`)
    .join(' ')}`);
}

function strip(
  name: string,
  x: tf.Tensor4D,
  w: tf.Tensor,
  bias: tf.Tensor | null,
  turned: boolean,
): tf.Tensor4D {
  const [b, height, width, channels] = x.shape;
  const k = w.shape[2] as number;
  const T = channels % 4 === 0 ? 'vec4<f32>' : 'f32';
  const items = T === 'f32' ? channels : channels / 4;
  const strips = Math.ceil(width / STRIP);
  const size = b * height * strips * items;
  const [y] = launch({
    name,
    variant: `k${k}`,
    inputs: {
      x: { tensor: x, type: T },
      w: { tensor: w, type: 'f32' },
      ...(bias === null ? {} : { bias: { tensor: bias, type: T } }),
    },
    outputs: { y_: { shape: x.shape, type: T } },
    uniforms: {
      size: ['u32', size],
      items: ['u32', items],
      strips: ['u32', strips],
      height: ['u32', height],
      width: ['u32', width],
    },
    groups: flatGroups(Math.ceil(size / WORKGROUP)),
    wgsl: () => stripWgsl(T, k, turned, bias !== null),
  });
  return y as tf.Tensor4D;
}

/** x [b, h, w, c], weights (c, 1, k, k), bias (c) -> [b, h, w, c]. */
export function depthwiseForward(x: tf.Tensor4D, w: tf.Tensor, bias: tf.Tensor): tf.Tensor4D {
  return strip('depthwise', x, w, bias, false);
}

/** dy [b, h, w, c] -> dx [b, h, w, c]. */
export function depthwiseInputGradient(dy: tf.Tensor4D, w: tf.Tensor): tf.Tensor4D {
  return strip('depthwise-dx', dy, w, null, true);
}

function sumsWgsl(T: string, k: number): string {
  const taps = k * k;
  const pad = (k - 1) / 2;
  const read = (ky: number, x: string): string =>
    `select(${T}(0.0), x[u32(max((line + ${ky} - ${pad}) * i32(u.width) + ${x}, 0)) * u.items + c], in${ky} && ${x} < i32(u.width))`;
  // Window columns 0..k-1 hold x - pad ... x + pad of each row.
  const start = range(k).flatMap((ky) =>
    range(k).map(
      (kx) =>
        `var v${ky}_${kx} = ${kx > pad ? read(ky, String(kx - pad - 1)) : kx === pad && pad === 0 ? read(ky, '0') : `${T}(0.0)`};`,
    ),
  );
  // Before the first pixel the window is one to the left.
  const shift = range(k).flatMap((ky) => [
    ...range(k - 1).map((kx) => `v${ky}_${kx} = v${ky}_${kx + 1};`),
    `v${ky}_${k - 1} = ${read(ky, `px + ${pad}`)};`,
  ]);
  return head(`let c = id % u.items;
  let part = id / u.items;
  ${range(taps + 1)
    .map((t) => `var s${t} = ${T}(0.0);`)
    .join(' ')}
  let end = min(u.rows, (part + 1u) * u.each);
  for (var row = part * u.each; row < end; row++) {
    let y = i32(row % u.height);
    let line = i32(row);
    ${range(k)
      .map((ky) => `let in${ky} = y + ${ky} - ${pad} >= 0 && y + ${ky} - ${pad} < i32(u.height);`)
      .join(' ')}
    ${start.join(' ')}
    for (var px = 0; px < i32(u.width); px++) {
      ${shift.join(' ')}
      let g = dy[(row * u.width + u32(px)) * u.items + c];
      ${range(k)
        .flatMap((ky) => range(k).map((kx) => `s${ky * k + kx} += v${ky}_${kx} * g;`))
        .join(' ')}
      s${taps} += g;
    }
  }
  ${range(taps + 1)
    .map((t) => `sums[(part * ${taps + 1}u + ${t}u) * u.items + c] = s${t};`)
    .join(' ')}`);
}

/** Invocations worth having before parts become longer; each part adds (k k + 1) c values to sum up. */
const ENOUGH = 2048;

/**
 * Weight (c, 1, k, k) and bias (c) gradients.
 * @param dy [b, h, w, c] @param x [b, h, w, c]
 */
export function depthwiseWeightGradients(
  dy: tf.Tensor4D,
  x: tf.Tensor4D,
  k: number,
): { dw: tf.Tensor4D; db: tf.Tensor1D } {
  const [b, height, width, channels] = x.shape;
  const T = channels % 4 === 0 ? 'vec4<f32>' : 'f32';
  const items = T === 'f32' ? channels : channels / 4;
  const rows = b * height;
  const each = Math.max(1, Math.ceil(rows / Math.max(1, Math.min(rows, Math.ceil(ENOUGH / items)))));
  const parts = Math.ceil(rows / each);
  const taps = k * k;
  const [sums] = launch({
    name: 'depthwise-dw',
    variant: `k${k}`,
    inputs: { x: { tensor: x, type: T }, dy: { tensor: dy, type: T } },
    outputs: { sums: { shape: [parts, taps + 1, channels], type: T } },
    uniforms: {
      size: ['u32', parts * items],
      items: ['u32', items],
      rows: ['u32', rows],
      each: ['u32', each],
      height: ['u32', height],
      width: ['u32', width],
    },
    groups: flatGroups(Math.ceil((parts * items) / WORKGROUP)),
    wgsl: () => sumsWgsl(T, k),
  });
  const [dw, db] = launch({
    name: 'depthwise-dw-parts',
    variant: `k${k}`,
    inputs: { sums: { tensor: sums as tf.Tensor, type: 'f32' } },
    outputs: { dw: { shape: [channels, 1, k, k], type: 'f32' }, db: { shape: [channels], type: 'f32' } },
    uniforms: { size: ['u32', channels * (taps + 1)], parts: ['u32', parts], channels: ['u32', channels] },
    groups: flatGroups(Math.ceil((channels * (taps + 1)) / WORKGROUP)),
    wgsl: () =>
      head(`var sum = sums[id];
  for (var part = 1u; part < u.parts; part++) { sum += sums[part * u.size + id]; }
  let c = id % u.channels; let t = id / u.channels;
  if (t < ${taps}u) { dw[c * ${taps}u + t] = sum; } else { db[c] = sum; }`),
  });
  (sums as tf.Tensor).dispose();
  return { dw: dw as tf.Tensor4D, db: db as tf.Tensor1D };
}
