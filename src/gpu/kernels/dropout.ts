/**
 * @file x times a random mask that is computed where it is needed, from a key on the device. May import gpu/launch, tfjs.
 * Outside the tape; the operation is in ops/dropout.ts.
 *
 * The mask is `dropoutMask` of nn/masks.ts bit for bit: value i takes 16 bits of fmix32(key + (i / 2 + 1) * 0x9e3779b9), the low ones for
 * even i. Integer arithmetic only, so every adapter draws the same units. One vec4 per item costs two hashes.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { launch } from '../launch';
import { forItems, itemGroups, itemsEach, type Broadcast } from './elementwise';

const HASH = `
fn fmix32(x: u32) -> u32 {
  var h = x;
  h ^= h >> 16u; h *= 0x85ebca6bu; h ^= h >> 13u; h *= 0xc2b2ae35u; h ^= h >> 16u;
  return h;
}
// The two mask values that share hash number pair.
fn two(pair: u32) -> vec2<f32> {
  let h = fmix32(bitcast<u32>(key[0]) + (pair + 1u) * 0x9e3779b9u);
  return select(vec2<f32>(0.0), vec2<f32>(u.scale), vec2<u32>(h & 0xffffu, h >> 16u) < vec2<u32>(u.threshold));
}
fn one(i: u32) -> f32 { let both = two(i / 2u); return select(both.x, both.y, (i & 1u) == 1u); }
`;

/** Item i of x to its mask, by where the mask repeats. */
const MASKS = {
  quads: 'vec4<f32>(two(m * 2u), two(m * 2u + 1u))', // inner % 4 == 0
  splat: 'vec4<f32>(one(i / u.repeated))', // inner == 1, repeated % 4 == 0
  single: 'one(m)',
} as const;

// m is the mask's item
const body = (mask: keyof typeof MASKS): string =>
  `let m = (i / u.block) * u.inner + i % u.inner; y[i] = x[i] * ${MASKS[mask]};`;

/**
 * x * mask, shape of x; the gradient is the same product with dy.
 * @param key [1] int32. @param keep probability of staying, in (0, 1]. @param along how the mask broadcasts to x's shape.
 */
export function maskedByKey(
  x: tf.Tensor,
  key: tf.TensorInfo,
  keep: number,
  along: Broadcast,
  each = itemsEach(),
): tf.Tensor {
  const { repeated, inner } = along;
  const mask = inner % 4 === 0 ? 'quads' : inner === 1 && repeated % 4 === 0 ? 'splat' : 'single';
  const per = mask === 'single' ? 1 : 4;
  const T = per === 4 ? 'vec4<f32>' : 'f32';
  const innerItems = mask === 'quads' ? inner / 4 : inner;
  const repeatedItems = mask === 'splat' ? repeated / 4 : repeated;
  return launch({
    name: 'dropout',
    variant: `${mask} each${each}`,
    inputs: { x: { tensor: x, type: T }, key: { tensor: key, type: 'i32' } },
    outputs: { y: { shape: x.shape, type: T } },
    uniforms: {
      size: ['u32', x.size / per],
      inner: ['u32', innerItems],
      repeated: ['u32', repeatedItems],
      block: ['u32', innerItems * repeatedItems],
      threshold: ['u32', Math.round(keep * 65536)],
      scale: ['f32', 1 / keep],
    },
    groups: itemGroups(x.size / per, each),
    wgsl: () => forItems(each, T, HASH, body(mask)),
  })[0] as tf.Tensor;
}
