/**
 * @file Which masks of two folders belong together, by name. Imports data names.
 */
import { buidName, isBusBra, isJunk, kindOf, placeOf, withoutMaskSuffix, type Place } from '../../data/names';

export interface MaskFile {
  readonly name: string; // path without extension, of the first file
  readonly files: readonly string[]; // more than one: instances of one image, joined by OR
}

export interface MaskPairs {
  readonly pairs: readonly { readonly name: string; readonly first: MaskFile; readonly second: MaskFile }[];
  readonly alone: readonly string[]; // files without a counterpart
}

/** "a_mask" -> "a", "mask_0001-l" and "bus_0001-l" -> "0001-l", "1 Benign Mask" -> "1 Benign". */
function reduced({ stem }: Place): string {
  const buid = buidName(stem);
  if (buid !== null) return buid.base;
  if (isBusBra(stem)) return stem.slice('bus_'.length);
  return (withoutMaskSuffix(stem) ?? stem).replace(/^(masks?|gt|seg|label|pred|prediction)[ _-]+/i, '');
}

/** The masks among the paths of a folder; an image beside its own masks (BUSI) is none, its masks are one. */
function masksOf(paths: readonly string[]): MaskFile[] {
  const pictures = paths.filter((p) => !isJunk(p) && kindOf(placeOf(p)) === 'picture').sort();
  const groups = new Map<string, { mask: boolean; files: string[] }>();
  for (const file of pictures) {
    const place = placeOf(file);
    const base = withoutMaskSuffix(place.stem);
    const key = [...place.dirs, base ?? place.stem].join('/');
    const group = groups.get(key);
    if (group === undefined || (base !== null && !group.mask))
      groups.set(key, { mask: base !== null, files: [file] });
    else if (base !== null || !group.mask) group.files.push(file);
  }
  return [...groups.values()].map(({ files }) => ({ name: withoutExtension(files[0] as string), files }));
}

function withoutExtension(file: string): string {
  const { dirs, stem } = placeOf(file);
  return [...dirs, stem].join('/');
}

/** By path, then by file name, then without the words that mean "mask"; each step only where it is unambiguous. */
export function pairMasks(first: readonly string[], second: readonly string[]): MaskPairs {
  const steps = [
    (m: MaskFile): string => m.name,
    (m: MaskFile): string => placeOf(m.files[0] as string).stem,
    (m: MaskFile): string => reduced(placeOf(m.files[0] as string)),
  ];
  let left = masksOf(first);
  let right = masksOf(second);
  const pairs: { name: string; first: MaskFile; second: MaskFile }[] = [];
  for (const key of steps) {
    const ours = unique(left, key);
    const theirs = unique(right, key);
    for (const [k, m] of ours) {
      const other = theirs.get(k);
      if (other !== undefined) pairs.push({ name: m.name, first: m, second: other });
    }
    const taken = new Set(pairs.flatMap((p) => [p.first, p.second]));
    left = left.filter((m) => !taken.has(m));
    right = right.filter((m) => !taken.has(m));
  }
  return {
    pairs: pairs.sort((a, b) => (a.name < b.name ? -1 : 1)),
    alone: [...left, ...right].flatMap((m) => m.files),
  };
}

/** By key, without the keys that several have. */
function unique(masks: readonly MaskFile[], key: (m: MaskFile) => string): Map<string, MaskFile> {
  const out = new Map<string, MaskFile>();
  const twice = new Set<string>();
  for (const m of masks) {
    const k = key(m);
    if (out.has(k)) twice.add(k);
    out.set(k, m);
  }
  for (const k of twice) out.delete(k);
  return out;
}
