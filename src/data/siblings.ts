/**
 * @file Second look at pictures that the naming conventions left unpaired: image and mask folders beside each other whose names say
 * little ("US/" with "masks/", pictures above "masks/", "Data/" with "GroundTruth/"), and one folder per case. Imports names.
 */
import { isMaskish, rawStem, roleDir, withoutMaskSuffix, type Picture } from './names';

export interface SiblingPairs {
  readonly found: readonly { readonly image: Picture; readonly mask: Picture }[];
  readonly images: readonly Picture[]; // still without a mask
  readonly masks: readonly Picture[]; // still without an image
}

const key = (dirs: readonly string[], stem: string): string => `${dirs.join('/')}\u0000${stem}`.toLowerCase();

/** dirs with element `at` replaced by '*', a number below it (masks/0) left out. */
function starred(dirs: readonly string[], at: number): string[] {
  const tail = dirs.slice(at + 1);
  if (tail.length === 1 && /^\d+$/.test(tail[0] as string)) tail.pop();
  return [...dirs.slice(0, at), '*', ...tail];
}

/** Where a picture's folder says "mask": by role, or weakly by its last directory's name; null elsewhere. */
function maskAt(dirs: readonly string[]): number | null {
  const role = roleDir(dirs);
  if (role?.role === 'mask') return role.at;
  const last = dirs.length - 1;
  return role === null && last >= 0 && isMaskish(dirs[last] as string) ? last : null;
}

/** Images by "their directory" and by "their directory with one element open". */
function indexOf(images: readonly Picture[]): Map<string, Picture[]> {
  const index = new Map<string, Picture[]>();
  const add = (k: string, image: Picture): void => {
    const own = index.get(k);
    if (own === undefined) index.set(k, [image]);
    else own.push(image);
  };
  for (const image of images) {
    const { dirs, stem } = image.place;
    add(key(dirs, stem), image);
    for (let at = 0; at < dirs.length; at++) add(key(starred(dirs, at), stem), image);
    // One folder per case (DSB 2018): abc/images/abc.png owns all of abc/masks/.
    const role = roleDir(dirs);
    if (role !== null && role.at === dirs.length - 1 && dirs[role.at - 1] === stem)
      add(key([...dirs.slice(0, -1), '*'], '*'), image);
  }
  return index;
}

/** Pairs where exactly one image fits a mask; the rest stays as it was. O(pictures times depth). */
export function pairSiblings(images: readonly Picture[], masks: readonly Picture[]): SiblingPairs {
  const maskish = images.filter((p) => roleDir(p.place.dirs) === null && maskAt(p.place.dirs) !== null);
  if (images.length === 0 || masks.length + maskish.length === 0) return { found: [], images, masks };
  const weak = new Set(maskish);
  const index = indexOf(images.filter((i) => !weak.has(i)));
  const found: { image: Picture; mask: Picture }[] = [];
  for (const mask of [...masks, ...maskish]) {
    const image = imageOf(mask, index);
    if (image !== null) found.push({ image, mask });
  }
  const used = new Set(found.flatMap((f) => [f.image, f.mask]));
  return {
    found,
    images: images.filter((i) => !used.has(i)),
    masks: masks.filter((m) => !used.has(m)),
  };
}

function imageOf(mask: Picture, index: ReadonlyMap<string, Picture[]>): Picture | null {
  const { dirs, stem } = mask.place;
  const at = maskAt(dirs);
  if (at === null) return null;
  const strength = roleDir(dirs);
  const beside = starred(dirs, at);
  const above = beside.filter((d) => d !== '*');
  for (const name of [stem, withoutMaskSuffix(stem), '*']) {
    if (name === null) continue;
    for (const dir of [above, beside]) {
      // Where both folders say what they are, the conventions have decided: "test-mask" is not "trainval-image"'s.
      const fitting = (index.get(key(dir, name)) ?? []).filter(
        (f) => name === '*' || strength === null || roleDir(f.place.dirs) === null,
      );
      const exact = fitting.filter((f) => rawStem(f.file.path) === rawStem(mask.file.path));
      if (exact.length === 1) return exact[0] as Picture;
      if (fitting.length === 1) return fitting[0] as Picture;
    }
  }
  return null;
}
