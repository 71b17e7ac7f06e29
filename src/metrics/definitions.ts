/**
 * @file What every metric is, in one sentence per convention: shown beside the number. Imports config types.
 */
import type { MetricConvention } from '../config/types';
import type { MetricName } from './caseMetrics';

export interface MetricDefinition {
  readonly title: string;
  readonly unit: '' | 'px';
  /** Larger is better. */
  readonly rising: boolean;
  readonly formula: string;
  readonly empty: Readonly<Record<MetricConvention, string>>;
}

const NA = 'n/a (left out of the mean) when the denominator is 0';

export const definitions: Readonly<Record<MetricName, MetricDefinition>> = {
  dice: {
    title: 'Dice',
    unit: '',
    rising: true,
    formula: '2 TP / (2 TP + FP + FN), per image',
    empty: {
      framework: 'both masks empty: 0 for two classes (medpy 0.4), 1 for several; one empty: 0',
      monai: 'n/a (left out of the mean) when the ground truth is empty',
    },
  },
  iou: {
    title: 'IoU',
    unit: '',
    rising: true,
    formula: 'TP / (TP + FP + FN), per image',
    empty: {
      framework: 'both masks empty: 1; one empty: 0',
      monai: 'n/a (left out of the mean) when the ground truth is empty',
    },
  },
  hd95: {
    title: 'HD95',
    unit: 'px',
    rising: false,
    formula: '95th percentile of border distances (4-neighbour borders, linear interpolation)',
    empty: {
      framework:
        'both directions pooled (medpy); two classes: both empty 0, one empty the image size; several classes: n/a',
      monai: 'the larger of the two directed percentiles; n/a when either mask is empty',
    },
  },
  assd: {
    title: 'ASSD',
    unit: 'px',
    rising: false,
    formula: 'mean of the border distances of both directions, pooled',
    empty: {
      framework: 'two classes: both empty 0, one empty the image size; several classes: n/a',
      monai: 'n/a when either mask is empty',
    },
  },
  hd: {
    title: 'HD',
    unit: 'px',
    rising: false,
    formula: 'largest border distance in either direction',
    empty: {
      framework: 'two classes: both empty 0, one empty the image size; several classes: n/a',
      monai: 'n/a when either mask is empty',
    },
  },
  sensitivity: {
    title: 'Sensitivity',
    unit: '',
    rising: true,
    formula: 'TP / (TP + FN)',
    empty: { framework: '0/0 is 0', monai: NA },
  },
  specificity: {
    title: 'Specificity',
    unit: '',
    rising: true,
    formula: 'TN / (TN + FP)',
    empty: { framework: '0/0 is 0', monai: NA },
  },
  precision: {
    title: 'Precision',
    unit: '',
    rising: true,
    formula: 'TP / (TP + FP)',
    empty: { framework: '0/0 is 0', monai: NA },
  },
  pixelAccuracy: {
    title: 'Pixel accuracy',
    unit: '',
    rising: true,
    formula: '(TP + TN) / all pixels',
    empty: { framework: 'always defined', monai: 'always defined' },
  },
};

/** "Dice: 2 TP / …; mean over images; framework convention: both masks empty …". */
export function describeMetric(metric: MetricName, convention: MetricConvention): string {
  const d = definitions[metric];
  const unit = d.unit === '' ? '' : ` Unit: ${d.unit} of the compared masks.`;
  return `${d.title}: ${d.formula}; mean ± population standard deviation over images.${unit} ${
    convention === 'framework' ? "Framework's" : "MONAI's"
  } convention: ${d.empty[convention]}.`;
}
