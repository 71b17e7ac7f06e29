/** @file For tests only: attention's kernels against float64. May import tfjs, vitest. */
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { attentionBackward, attentionForward, type AttentionForm, type AttentionOperands } from './attention';
import { exactAttention, type Extras } from './attentionExact';
import { distance, normals, twice } from './testValues';

export type Shape = readonly [batch: number, n: number, m: number, heads: number, d: number];

export interface Case {
  readonly shape: Shape;
  /** Unless given, that of the adapter. */
  readonly form?: AttentionForm;
  /** Buffers a kernel may bind; the adapter's unless given. */
  readonly limit?: number;
  readonly packed?: boolean;
  readonly extras?: Extras;
}

/** Output and every gradient, twice with the same bits, against float64. */
export async function check({ shape, form, limit, packed = false, extras = {} }: Case): Promise<void> {
  const [batch, n, m, heads, d] = shape;
  const c = heads * d;
  const sizes = { batch, n, m, heads, d, scale: 1 / Math.sqrt(d) };
  const [qs, ks, vs, dys] = [normals(batch * n * c, 'q'), normals(batch * m * c, 'k'), normals(batch * m * c, 'v'), normals(batch * n * c, 'dy')] as const; // prettier-ignore
  const right = exactAttention(sizes, qs, ks, vs, dys, extras);
  const dy = tf.tensor3d(dys, [batch, n, c]);
  const made: tf.Tensor[] = [dy];
  const keep = <T extends tf.Tensor>(tensor: T): T => (made.push(tensor), tensor);
  const separate = (values: Float32Array, rows: number) => ({ tensor: keep(tf.tensor3d(values, [batch, rows, c])), offset: 0, stride: c }); // prettier-ignore
  const joint = (): AttentionOperands => {
    const tensor = keep(
      tf.tidy(() =>
        tf.concat(
          [qs, ks, vs].map((x) => tf.tensor3d(x, [batch, n, c])),
          2,
        ),
      ),
    );
    return { q: { tensor, offset: 0, stride: 3 * c }, k: { tensor, offset: c, stride: 3 * c }, v: { tensor, offset: 2 * c, stride: 3 * c } }; // prettier-ignore
  };
  const { keyMask, bias, rel } = extras;
  const operands: AttentionOperands = {
    ...(packed ? joint() : { q: separate(qs, n), k: separate(ks, m), v: separate(vs, m) }),
    keyMask: keyMask
      ? keep(tf.tensor2d(keyMask, [batch, m], keyMask instanceof Int32Array ? 'int32' : 'float32'))
      : null,
    bias: bias ? keep(tf.tensor3d(bias.values, [bias.heads, n, m])) : null,
    relativePosition: rel
      ? {
          kh: rel.kh,
          kw: rel.kw,
          relH: keep(tf.tensor3d(rel.relH, [batch * heads, n, rel.kh])),
          relW: keep(tf.tensor3d(rel.relW, [batch * heads, n, rel.kw])),
        }
      : null,
  };
  const got = await twice(() => {
    const { y, stats } = attentionForward(operands, sizes, form);
    const logsum = tf.squeeze(tf.slice(stats, [0, 0, 0, 0], [-1, -1, -1, 1]), [3]);
    const grads = attentionBackward(dy, y, stats, operands, sizes, packed, Boolean(bias), form, limit);
    const split = packed ? [...tf.split(grads[0] as tf.Tensor, 3, 2), ...grads.slice(1)] : grads;
    return [y, logsum, ...split];
  });
  expect(got.length).toBe(right.length);
  right.forEach((values, i) =>
    expect(distance(got[i] as Float32Array, values), `output ${i}`).toBeLessThan(1e-5),
  );
  tf.dispose(made);
}
