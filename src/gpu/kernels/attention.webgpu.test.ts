/** @file Attention's kernels, both forms, and the operations on them: against float64, joint = separate operands, the same bits twice. */
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../ops/testSupport';
import { attentionBackward, attentionForward, type AttentionForm } from './attention';
import { exactAttention } from './attentionExact';
import { distance, normals, twice } from './testValues';

beforeAll(() => useBackend('webgpu'));

const FORMS: readonly AttentionForm[] = [{ shared: false, rows: 1 }, { shared: false, rows: 2 }, { shared: false, rows: 4 }, { shared: true, rows: 1 }]; // prettier-ignore
const SHAPES = [[2, 5, 7, 3, 3], [1, 66, 67, 2, 8], [2, 9, 9, 1, 16], [1, 1, 5, 2, 32], [1, 5, 1, 2, 40], [1, 37, 35, 2, 64], [1, 19, 21, 1, 128], [1, 6, 6, 1, 127]] as const; // prettier-ignore

describe.each(FORMS)('shared $shared, $rows rows', (form) => {
  // The text of a kernel grows with rows x channels: several rows are for small heads.
  const most = form.rows > 1 ? 16 : form.shared ? 64 : 128;
  it.each(SHAPES.filter((shape) => shape[4] <= most))(
    'batch %i, %i queries, %i keys, %i heads of %i',
    async (batch, n, m, heads, d) => {
      const c = heads * d;
      const sizes = { batch, n, m, heads, d, scale: 1 / Math.sqrt(d) };
      const [qs, ks, vs, dys] = [normals(batch * n * c, 'q'), normals(batch * m * c, 'k'), normals(batch * m * c, 'v'), normals(batch * n * c, 'dy')] as const; // prettier-ignore
      const [q, k, v, dy] = [tf.tensor3d(qs, [batch, n, c]), tf.tensor3d(ks, [batch, m, c]), tf.tensor3d(vs, [batch, m, c]), tf.tensor3d(dys, [batch, n, c])]; // prettier-ignore
      const rows = (tensor: tf.Tensor) => ({ tensor, offset: 0, stride: c });
      const operands = { q: rows(q), k: rows(k), v: rows(v) };
      const got = await twice(() => {
        const { y, logsum } = attentionForward(operands, sizes, form);
        return [y, logsum, ...attentionBackward(dy, y, logsum, operands, sizes, false, form)];
      });
      const right = exactAttention(sizes, qs, ks, vs, dys);
      right.forEach((values, i) =>
        expect(distance(got[i] as Float32Array, values), `output ${i}`).toBeLessThan(1e-5),
      );
      tf.dispose([q, k, v, dy]);
    },
  );
});
