/** @file Attention's kernels, every form, values and gradients against float64; the same bits twice. */
import { beforeAll, describe, it } from 'vitest';
import { useBackend } from '../ops/testSupport';
import { check, type Shape } from './attentionCheck';
import type { AttentionForm } from './attention';

beforeAll(() => useBackend('webgpu'));

// prettier-ignore
const SHAPES: readonly Shape[] = [[2, 5, 7, 3, 3], [1, 66, 67, 2, 8], [2, 9, 9, 1, 16], [1, 1, 5, 2, 32], [1, 5, 1, 2, 40], [1, 37, 35, 2, 64], [1, 19, 21, 1, 128], [1, 6, 6, 1, 13]];
const of = (...heads: number[]): Shape[] => SHAPES.filter((shape) => heads.includes(shape[4]));
/** The forms with the heads to test them on: all of a kernel is text, and compiling a long one takes a software adapter seconds. */
const FORMS: readonly { readonly form: AttentionForm; readonly shapes: readonly Shape[] }[] = [
  { form: { shared: false, rows: 1 }, shapes: of(3, 8, 16, 32, 13) },
  { form: { shared: false, rows: 4 }, shapes: of(3, 8) },
  { form: { shared: true, rows: 1 }, shapes: of(8) },
  { form: { shared: true, rows: 1, split: 2 }, shapes: of(40) },
  { form: { shared: true, rows: 1, split: 4 }, shapes: of(128) },
];

describe.each(FORMS)('$form', ({ form, shapes }) => {
  it.each(shapes)('batch %i, %i queries, %i keys, %i heads of %i', (...shape) => check({ shape, form }));
});

describe('the form of the adapter', () => {
  it.each(of(16, 40, 64, 128))('batch %i, %i queries, %i keys, %i heads of %i', (...shape) =>
    check({ shape }),
  );
});
