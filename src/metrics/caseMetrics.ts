/**
 * @file All metrics of one case and label under a stated convention. Typed arrays in, numbers out; NaN means "not defined here".
 * Conventions: reference/models.md section 6.2, reference/reliability.md section 3. `framework` is what the Python framework reports
 * (medpy 0.4 and its own evaluator); `monai` follows MONAI (ignore_empty, HD95 as the larger directed percentile).
 */
import type { MetricConvention } from '../config/types';
import { countOverlap, diceOf, iouOf, type Overlap } from './overlap';
import { percentile, surfaceDistances, type Spacing } from './surface';

export const metricNames = [
  'dice',
  'iou',
  'hd95',
  'assd',
  'hd',
  'sensitivity',
  'specificity',
  'precision',
  'pixelAccuracy',
] as const;
export type MetricName = (typeof metricNames)[number];

export interface CaseMetrics extends Record<MetricName, number>, Overlap {
  readonly areaPrediction: number; // pixels
  readonly areaTruth: number;
}

export interface MetricOptions {
  readonly convention: MetricConvention;
  /** Two labels in all: the framework's binary evaluator has other rules for empty masks than its multi-class one. */
  readonly binary: boolean;
  /** Pixel size; distances are in its unit, in pixels by default. */
  readonly spacing?: Spacing;
}

type Distances = Pick<CaseMetrics, 'hd95' | 'assd' | 'hd'>;

/** Metrics of `label` in two label maps [height, width]. */
export function caseMetrics(
  prediction: Uint8Array,
  truth: Uint8Array,
  width: number,
  height: number,
  label: number,
  options: MetricOptions,
): CaseMetrics {
  if (prediction.length !== width * height || truth.length !== width * height) {
    throw new Error(
      `caseMetrics: ${prediction.length} and ${truth.length} pixels, expected ${width} x ${height}`,
    );
  }
  const overlap = countOverlap(prediction, truth, label);
  const { tp, fp, fn, tn } = overlap;
  const { convention, binary } = options;
  return {
    ...overlap,
    dice: diceOf(overlap, convention, binary),
    iou: iouOf(overlap, convention),
    ...distances(prediction, truth, width, height, label, overlap, options),
    sensitivity: ratio(tp, tp + fn, convention),
    specificity: ratio(tn, tn + fp, convention),
    precision: ratio(tp, tp + fp, convention),
    pixelAccuracy: (tp + tn) / (tp + fp + fn + tn),
    areaPrediction: tp + fp,
    areaTruth: tp + fn,
  };
}

/** 0/0 is 0 in medpy and so in the framework, n/a under MONAI. */
function ratio(top: number, bottom: number, convention: MetricConvention): number {
  if (bottom > 0) return top / bottom;
  return convention === 'monai' ? Number.NaN : 0;
}

function distances(
  prediction: Uint8Array,
  truth: Uint8Array,
  width: number,
  height: number,
  label: number,
  o: Overlap,
  options: MetricOptions,
): Distances {
  const emptyPrediction = o.tp + o.fp === 0;
  const emptyTruth = o.tp + o.fn === 0;
  if (emptyPrediction || emptyTruth)
    return emptyDistances(emptyPrediction && emptyTruth, Math.max(width, height), options);
  const p = prediction.map((v) => (v === label ? 1 : 0));
  const t = truth.map((v) => (v === label ? 1 : 0));
  const { predictionToTruth: a, truthToPrediction: b } = surfaceDistances(
    p,
    t,
    width,
    height,
    options.spacing,
  );
  const pooled = new Float64Array(a.length + b.length);
  pooled.set(a);
  pooled.set(b, a.length);
  const hd95 =
    options.convention === 'monai' ? Math.max(percentile(a, 95), percentile(b, 95)) : percentile(pooled, 95);
  const sum = pooled.reduce((x, y) => x + y, 0);
  return { hd95, assd: sum / pooled.length, hd: pooled.reduce((x, y) => Math.max(x, y), 0) };
}

/**
 * The framework's binary evaluator: both empty 0, one empty the image size (in pixels, whatever the spacing); its multi-class one and
 * MONAI: n/a. ASSD and HD follow the same rule here (medpy raises an error).
 */
function emptyDistances(both: boolean, imageSize: number, options: MetricOptions): Distances {
  const value = options.convention === 'monai' || !options.binary ? Number.NaN : both ? 0 : imageSize;
  return { hd95: value, assd: value, hd: value };
}
