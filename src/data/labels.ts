/**
 * @file How masks are to be read: from what inspection found, or as the config says. Imports config types, decode, lib.
 */
import type { DataConfig } from '../config/types';
import { UserError } from '../lib/errors';
import { MIN_CHROMA } from './decode';
import type { Dataset, LabelSpec, SampleFacts } from './types';

export interface InferredLabels {
  readonly labels: LabelSpec;
  /** One sentence: why this reading. */
  readonly reason: string;
}

/** BUS-UCLM's colours. */
const KNOWN_COLORS: Readonly<Record<string, string>> = { '0,255,0': 'benign', '255,0,0': 'malignant' };
/** More different colours than this are no label colours (JPEG, a photograph). */
const MAX_COLORS = 32;
/** Up to this many grey values may be labels spread over 0..255; more are soft edges. */
const MAX_GREY_LABELS = 8;
const BINARY = ['background', 'lesion'];

/**
 * The label set of a data set. `auto`: colours when masks have colour, values when they look like label maps (few small integers),
 * else foreground above the threshold.
 * @throws UserError 'labels-unclear' when the asked reading does not fit the masks.
 */
export function inferLabels(
  dataset: Pick<Dataset, 'classNames' | 'samples' | 'labelNames'>,
  facts: ReadonlyMap<string, SampleFacts>,
  config: Pick<DataConfig, 'label_mode' | 'threshold'>,
): InferredLabels {
  const totals = new Map<string, number>();
  for (const f of facts.values()) for (const [v, n] of f.maskValues) totals.set(v, (totals.get(v) ?? 0) + n);
  const values = [...totals.keys()];
  const colored = values.some((v) => v.includes(','));
  const names = dataset.labelNames;
  const named = names !== undefined && !colored && values.every((v) => Object.hasOwn(names, v));
  if (named && (config.label_mode === 'auto' || config.label_mode === 'values')) return listed(names);
  const mode = config.label_mode === 'auto' ? automatic(values, colored) : config.label_mode;
  switch (mode) {
    case 'binary':
      return binary(values, colored, config);
    case 'colors':
      return colors(values);
    case 'values':
      return indices(values, colored);
    case 'class':
      return classes(dataset, config.threshold);
  }
}

function automatic(values: readonly string[], colored: boolean): 'binary' | 'values' | 'colors' {
  const chromatic = values.filter(isChromatic);
  if (colored && chromatic.length > 0 && chromatic.length <= MAX_COLORS) return 'colors';
  if (colored) return 'binary';
  const numbers = values.map(Number).filter((v) => v !== 0);
  // 0, 1, 2, ... are label indices; 0 / 1 and 0 / 255 are one label.
  const labelMap = numbers.length >= 2 && numbers.length <= 32 && numbers.every((v) => v <= 64);
  return labelMap ? 'values' : 'binary';
}

/** Names and values as the data set's own list has them, those that no mask here holds too: the model's classes do not depend on the sample. */
function listed(names: Readonly<Record<string, string>>): InferredLabels {
  const values = Object.keys(names).sort((a, b) => Number(a) - Number(b));
  return {
    labels: {
      names: values.map((v) => names[v] as string),
      encoding: { kind: 'values', values: Object.fromEntries(values.map((v, i) => [v, i])) },
    },
    reason: `dataset.json names the mask values: ${values.map((v) => `${v} ${names[v]}`).join(', ')}.`,
  };
}

function isChromatic(value: string): boolean {
  const parts = value.split(',').map(Number);
  return parts.length === 3 && Math.max(...parts) - Math.min(...parts) > MIN_CHROMA;
}

function binary(
  values: readonly string[],
  colored: boolean,
  config: Pick<DataConfig, 'label_mode' | 'threshold'>,
): InferredLabels {
  const chromatic = values.filter(isChromatic);
  if (chromatic.length > 0 && chromatic.length <= MAX_COLORS) {
    // A pure red has a luma of 76: the usual threshold would read it as background, a pure green (150) not.
    return {
      labels: { names: BINARY, encoding: { kind: 'threshold', threshold: 0 } },
      reason: `The masks are coloured (${chromatic.sort().join('; ')}): every pixel that is not black is foreground.`,
    };
  }
  const numbers = colored ? [] : values.map(Number);
  const largest = numbers.length === 0 ? 255 : Math.max(...numbers);
  // Masks stored as 0 / 1 never exceed the usual threshold: anything above 0 is foreground.
  const low = !colored && largest > 0 && largest <= 64 && largest <= config.threshold;
  const threshold = low ? 0 : config.threshold;
  const found =
    numbers.length <= 4 ? `values ${numbers.sort((a, b) => a - b).join(', ')}` : `${values.length} values`;
  return {
    labels: { names: BINARY, encoding: { kind: 'threshold', threshold } },
    reason:
      (low
        ? `The masks hold ${found}: every pixel above 0 is foreground.`
        : `The masks hold ${found}: pixels above ${threshold} are foreground.`) + mergeHint(numbers, config),
  };
}

/** A few grey values, unasked: soft edges of a coarse mask, or labels (128 and 255, as in REFUGE). Only the user knows. */
function mergeHint(numbers: readonly number[], config: Pick<DataConfig, 'label_mode'>): string {
  const set = numbers.filter((v) => v !== 0).length;
  if (config.label_mode !== 'auto' || set < 2 || set > MAX_GREY_LABELS) return '';
  return ' If each value is a label of its own, set data.label_mode=values.';
}

function colors(values: readonly string[]): InferredLabels {
  const found = values.filter(isChromatic).sort();
  if (found.length === 0 || found.length > MAX_COLORS) {
    throw new UserError(
      'labels-unclear',
      `data.label_mode=colors: the masks have ${found.length} colours, expected 1 to ${MAX_COLORS}`,
      {
        subject: 'data.label_mode',
        hint: 'Use data.label_mode=binary.',
      },
    );
  }
  const known = Object.keys(KNOWN_COLORS).filter((c) => found.includes(c));
  const ordered = [...known, ...found.filter((c) => !known.includes(c))];
  const encoding: Record<string, number> = { '0,0,0': 0 };
  ordered.forEach((c, i) => {
    encoding[c] = i + 1;
  });
  const names = ['background', ...ordered.map((c) => KNOWN_COLORS[c] ?? `colour ${c}`)];
  return {
    labels: { names, encoding: { kind: 'colors', colors: encoding } },
    reason: `The masks are coloured: ${ordered.map((c, i) => `${c} is ${names[i + 1]}`).join('; ')}.`,
  };
}

function indices(values: readonly string[], colored: boolean): InferredLabels {
  const numbers = values
    .map(Number)
    .filter((v) => v !== 0)
    .sort((a, b) => a - b);
  if (colored || numbers.length === 0 || numbers.length > 64) {
    throw new UserError(
      'labels-unclear',
      `data.label_mode=values: the masks have ${colored ? 'colours' : `${numbers.length} values besides 0`}, expected 1 to 64`,
      {
        subject: 'data.label_mode',
        hint: colored ? 'Use data.label_mode=colors.' : 'Use data.label_mode=binary with a data.threshold.',
      },
    );
  }
  const encoding: Record<string, number> = { '0': 0 };
  numbers.forEach((v, i) => {
    encoding[String(v)] = i + 1;
  });
  return {
    labels: {
      names: ['background', ...numbers.map((v) => `label ${v}`)],
      encoding: { kind: 'values', values: encoding },
    },
    reason: `The masks are label maps with the values 0, ${numbers.join(', ')}.`,
  };
}

function classes(dataset: Pick<Dataset, 'classNames'>, threshold: number): InferredLabels {
  const names = dataset.classNames.filter((c) => c !== 'normal');
  if (names.length === 0) {
    throw new UserError(
      'labels-unclear',
      'data.label_mode=class: no class is known from folders, names or tables',
      {
        subject: 'data.label_mode',
        hint: 'Use data.label_mode=binary.',
      },
    );
  }
  return {
    labels: { names: ['background', ...names], encoding: { kind: 'class', threshold, classes: names } },
    reason: `Foreground gets the class of its image: ${names.map((n, i) => `${i + 1} ${n}`).join(', ')}.`,
  };
}
