/** @file Attention's kernels with masks, biases and relative positions, joint operands: against float64, the same bits twice. */
import { beforeAll, describe, it } from 'vitest';
import { useBackend } from '../ops/testSupport';
import type { AttentionForm } from './attention';
import { check } from './attentionCheck';
import { normals } from './testValues';

beforeAll(() => useBackend('webgpu'));

const FORMS: readonly AttentionForm[] = [
  { shared: false, rows: 4 },
  { shared: true, rows: 1 },
];

describe.each(FORMS)('$shared, $rows rows', (form) => {
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

  it('needs no more than 8 buffers for a joint tensor with relative positions', async () => {
    const rel = { kh: 2, kw: 3, relH: normals(24, 'h'), relW: normals(36, 'w') };
    await check({ shape: [1, 6, 6, 2, 4], form, packed: true, extras: { rel }, limit: 8 });
  });
});

/** With rows divided, each kernel takes a software adapter seconds to compile. */
describe('rows divided between two invocations', () => {
  const form = { shared: true, rows: 1, split: 2 };

  it('with a mask and a bias', async () => {
    const extras = {
      keyMask: new Float32Array([1, 0, 1, 1, 0, 0, 0, 0, 0, 0]),
      bias: { heads: 1, values: normals(25, 'bias') },
    };
    await check({ shape: [2, 5, 5, 2, 8], form, packed: true, extras });
  });

  it('with relative positions', async () => {
    const rel = { kh: 14, kw: 5, relH: normals(70 * 14, 'h'), relW: normals(70 * 5, 'w') };
    await check({ shape: [1, 70, 70, 1, 8], form, packed: true, extras: { rel } });
  });
});
