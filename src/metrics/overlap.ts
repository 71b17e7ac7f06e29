/**
 * @file Dice and IoU of one label from pixel counts: the cheap part of the metrics, computed every epoch. Imports config types.
 * Conventions for empty masks: reference/models.md section 6.2, reference/reliability.md section 3.
 */
import type { MetricConvention } from '../config/types';

/** Pixel counts of one label. */
export interface Overlap {
  readonly tp: number;
  readonly fp: number;
  readonly fn: number;
  readonly tn: number;
}

/** Counts of `label` in two label maps of one length. */
export function countOverlap(prediction: Uint8Array, truth: Uint8Array, label: number): Overlap {
  let tp = 0;
  let fp = 0;
  let fn = 0;
  const n = truth.length;
  for (let i = 0; i < n; i++) {
    const p = prediction[i] === label;
    const t = truth[i] === label;
    if (p && t) tp++;
    else if (p) fp++;
    else if (t) fn++;
  }
  return { tp, fp, fn, tn: n - tp - fp - fn };
}

/**
 * 2TP / (2TP + FP + FN). Both masks empty: the framework's binary evaluator (medpy 0.4) says 0, its multi-class one 1, MONAI n/a (NaN);
 * only the truth empty: 0 in the framework, n/a under MONAI.
 */
export function diceOf(o: Overlap, convention: MetricConvention, binary: boolean): number {
  const truthEmpty = o.tp + o.fn === 0;
  if (convention === 'monai' && truthEmpty) return Number.NaN;
  const bottom = 2 * o.tp + o.fp + o.fn;
  if (bottom === 0) return binary ? 0 : 1;
  return (2 * o.tp) / bottom;
}

/** TP / (TP + FP + FN). Both empty: 1 in the framework, n/a under MONAI; only the truth empty: 0, n/a under MONAI. */
export function iouOf(o: Overlap, convention: MetricConvention): number {
  if (convention === 'monai' && o.tp + o.fn === 0) return Number.NaN;
  const bottom = o.tp + o.fp + o.fn;
  return bottom === 0 ? 1 : o.tp / bottom;
}

/** Mean of the defined (non-NaN) values; NaN when there is none. */
export function definedMean(values: readonly number[]): number {
  let sum = 0;
  let n = 0;
  for (const v of values) {
    if (Number.isNaN(v)) continue;
    sum += v;
    n++;
  }
  return n === 0 ? Number.NaN : sum / n;
}
