/**
 * @file A folder of ultrasound-like images with exact masks, generated from a seed: the studio can be tried with no data, and tests
 * have data that may be shipped. Imports formats (PNG writing), phantomScene, phantomSpeckle, lib.
 */
import { writePng } from '../formats/png';
import { Random } from '../lib/random';
import { UserError } from '../lib/errors';
import { embed, lesionOf, maskOf, tissue } from './phantomScene';
import { insonify } from './phantomSpeckle';
import type { FileRef, Folder } from './types';

export interface PhantomOptions {
  readonly id?: string;
  readonly name?: string;
  readonly testOnly?: boolean;
  readonly count: number;
  readonly size: number; // pixels, square
  readonly seed: number;
}

interface Plan {
  readonly kind: 'benign' | 'malignant' | 'normal';
  readonly patient: number;
  readonly index: number;
}

/** About 8 % without a lesion, a third malignant; every fourth patient has two images. */
function plan(options: PhantomOptions): Plan[] {
  const random = new Random('phantom-plan', options.seed);
  const out: Plan[] = [];
  for (let patient = 1; out.length < options.count; patient++) {
    const u = random.uniform();
    const kind = u < 0.08 ? 'normal' : u < 0.4 ? 'malignant' : 'benign';
    const images = random.bool(0.25) ? 2 : 1;
    for (let i = 0; i < images && out.length < options.count; i++)
      out.push({ kind, patient, index: out.length });
  }
  return out;
}

function stem(p: Plan): string {
  return `phantom_${String(p.index + 1).padStart(4, '0')}_p${String(p.patient).padStart(3, '0')}_${p.kind}`;
}

/** A folder like any other: `images/*.png` and `masks/*.png`, synthesised when read. Same options, same bytes. */
export function phantomFolder(options: PhantomOptions): Folder {
  const id = options.id ?? `phantom-${options.count}-${options.size}-${options.seed}`;
  const plans = new Map(plan(options).map((p) => [stem(p), p]));
  const files: FileRef[] = [];
  for (const kind of ['images', 'masks']) {
    for (const name of plans.keys())
      files.push({
        folder: id,
        path: `${kind}/${name}.png`,
        size: options.size ** 2,
        modified: options.seed,
      });
  }
  return {
    id,
    name: options.name ?? 'Phantom',
    testOnly: options.testOnly ?? false,
    files,
    read: async (path) => {
      const match = /^(images|masks)\/(.+)\.png$/.exec(path);
      const found = match === null ? undefined : plans.get(match[2] as string);
      if (match === null || found === undefined)
        throw new UserError('file-unreadable', `The phantom set has no file "${path}"`, { subject: path });
      const { size } = options;
      const key = [options.seed, found.patient, found.index] as const;
      const data =
        match[1] === 'images'
          ? phantomImage(size, found.kind, key).image
          : phantomMask(size, found.kind, key);
      return writePng({ width: size, height: size, mode: 'L', data });
    },
  };
}

/** One image and its mask (0 / 255), size x size. */
export function phantomImage(
  size: number,
  kind: Plan['kind'],
  key: readonly [seed: number, patient: number, index: number],
): { image: Uint8Array; mask: Uint8Array } {
  const random = new Random('phantom', ...key);
  const lesion = kind === 'normal' ? null : lesionOf(kind, random);
  const mask = maskOf(lesion, size);
  // A patient's images share their tissue.
  const echo = tissue(size, new Random('phantom-tissue', key[0], key[1]));
  if (lesion !== null) embed(echo, mask, lesion, size, random);
  return { image: insonify(echo, size, random), mask };
}

/** The mask alone, equal to `phantomImage`'s, without the work of the picture. */
function phantomMask(
  size: number,
  kind: Plan['kind'],
  key: readonly [seed: number, patient: number, index: number],
): Uint8Array {
  return maskOf(kind === 'normal' ? null : lesionOf(kind, new Random('phantom', ...key)), size);
}
