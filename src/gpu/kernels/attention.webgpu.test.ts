/** @file Attention's kernels, every form, against float64; masks, biases and relative positions; joint = separate; the same bits twice. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../ops/testSupport';
import { attentionBackward, attentionForward, type AttentionForm, type AttentionOperands } from './attention';
import { exactAttention, type Extras } from './attentionExact';
import { distance, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

type Shape = readonly [batch: number, n: number, m: number, heads: number, d: number];
// prettier-ignore
const SHAPES: readonly Shape[] = [[2, 5, 7, 3, 3], [1, 66, 67, 2, 8], [2, 9, 9, 1, 16], [1, 1, 5, 2, 32], [1, 5, 1, 2, 40], [1, 37, 35, 2, 64], [1, 19, 21, 1, 128], [1, 6, 6, 1, 13]];
const of = (...heads: number[]): Shape[] => SHAPES.filter((shape) => heads.includes(shape[4]));
/** The forms with the heads to test them on: all of a kernel is text, and compiling a long one takes a software adapter seconds. */
const FORMS: readonly { readonly form: AttentionForm; readonly shapes: readonly Shape[] }[] = [
  { form: { shared: false, rows: 1 }, shapes: of(3, 8, 16, 32, 40, 64, 128, 13) },
  { form: { shared: false, rows: 4 }, shapes: of(3, 8, 16) },
  { form: { shared: true, rows: 1 }, shapes: of(3, 8) },
  { form: { shared: true, rows: 1, split: 2 }, shapes: of(40, 13) },
  { form: { shared: true, rows: 1, split: 4 }, shapes: of(128) },
];

interface Case {
  readonly shape: Shape;
  readonly form: AttentionForm;
  readonly packed?: boolean;
  readonly extras?: Extras;
}

/** Output and every gradient, twice with the same bits, against float64. */
async function check({ shape, form, packed = false, extras = {} }: Case): Promise<void> {
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
    const grads = attentionBackward(dy, y, stats, operands, sizes, packed, Boolean(bias), form);
    const split = packed ? [...tf.split(grads[0] as tf.Tensor, 3, 2), ...grads.slice(1)] : grads;
    return [y, logsum, ...split];
  });
  expect(got.length).toBe(right.length);
  right.forEach((values, i) =>
    expect(distance(got[i] as Float32Array, values), `output ${i}`).toBeLessThan(1e-5),
  );
  tf.dispose(made);
}

describe.each(FORMS)('$form', ({ form, shapes }) => {
  it.each(shapes)('batch %i, %i queries, %i keys, %i heads of %i', (...shape) => check({ shape, form }));
});

describe.each([FORMS[1], FORMS[3]] as const)('options, $form', (tested) => {
  const form = tested?.form as AttentionForm;
  it('reads and writes a joint tensor', async () => {
    await check({ shape: [2, 11, 11, 2, 8], form, packed: true });
    await check({ shape: [1, 7, 7, 3, 5], form, packed: true });
  });

  it('masks keys, rows without any give zeros', async () => {
    await check({
      shape: [2, 7, 5, 2, 8],
      form,
      extras: { keyMask: new Float32Array([1, 0, 1, 1, 0, 0, 0, 0, 0, 0]) },
    });
    await check({
      shape: [2, 5, 5, 1, 4],
      form,
      packed: true,
      extras: { keyMask: new Int32Array([0, 0, 0, 0, 1, 1, 1, 0, 1, 1]) },
    });
  });

  it('adds a bias, per head or shared', async () => {
    const bias = (heads: number, n: number, m: number) => ({ heads, values: normals(heads * n * m, 'bias') });
    await check({ shape: [2, 6, 5, 3, 8], form, extras: { bias: bias(3, 6, 5) } });
    await check({ shape: [2, 5, 5, 3, 4], form, packed: true, extras: { bias: bias(1, 5, 5), keyMask: new Float32Array([1, 0, 1, 1, 0, 1, 1, 1, 0, 1]) } }); // prettier-ignore
  });

  it('adds a relative position by rows and columns of keys', async () => {
    const rel = (bh: number, n: number, kh: number, kw: number) => ({ kh, kw, relH: normals(bh * n * kh, 'h'), relW: normals(bh * n * kw, 'w') }); // prettier-ignore
    await check({ shape: [2, 12, 12, 2, 8], form, packed: true, extras: { rel: rel(4, 12, 3, 4) } });
    await check({ shape: [1, 70, 70, 1, 4], form, packed: true, extras: { rel: rel(1, 70, 14, 5) } });
  });
});
