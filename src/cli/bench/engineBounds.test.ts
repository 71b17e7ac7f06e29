/** @file The verdicts and the table of `npm run bench -- engine`, from figures made up. */
import { expect, test } from 'vitest';
import { boundsOf, tableOf } from './engineBounds.mjs';

const workload = (id: string) => ({ id, title: id, flops: 6e9 });
const verdicts = (bounds: readonly { readonly ok: boolean | null }[]) => bounds.map(({ ok }) => ok);

test('AdamW is held to its dispatches and to the copy', () => {
  const within = { dispatches: 5, turnMs: 1.5, copyMs: 1 };
  expect(verdicts(boundsOf(workload('adamw'), 'node', within, {}))).toEqual([true, true]);
  const beyond = { dispatches: 6, turnMs: 1.6, copyMs: 1 };
  expect(verdicts(boundsOf(workload('adamw'), 'node', beyond, {}))).toEqual([false, false]);
  expect(verdicts(boundsOf(workload('adamw-clip'), 'node', within, {}))).toEqual([true]);
});

test('attention is held to three times its operands, plans to their largest live set', () => {
  const attention = { ...workload('attention-4096'), attentionBytes: 100 };
  const ours = { peakBytes: 301, plannedBytes: 110, liveBytes: 100 };
  expect(verdicts(boundsOf(attention, 'node', ours, {}))).toEqual([false, true]);
});

test('a whole step is compared with stock; what was not measured is neither kept nor missed', () => {
  const ours = { stepMs: 10, dispatches: 600, encodeMs: 1.5, plannedBytes: 0, liveBytes: 0 };
  const stock = { firstStepMs: 59, dispatches: 3600 };
  expect(verdicts(boundsOf(workload('tinyusfm-b8'), 'chromium', ours, stock))).toEqual([false, true, false]);
  expect(verdicts(boundsOf(workload('tinyusfm-b8'), 'node', ours, {}))).toEqual([null, null]);
});

test('the table has a line per workload and says what is missing', () => {
  const row = {
    workload: workload('block'),
    ours: { stepMs: 3 },
    stock: {},
    bounds: [],
    notes: ['stock left out'],
  };
  const [head, line, note] = tableOf([row]).split('\n');
  expect(head).toMatch(/^workload +ours ms +stock ms/);
  expect(line).toMatch(/^block +3\.00 +- .* 2000\.00$/);
  expect(note).toBe('block: stock left out');
});
