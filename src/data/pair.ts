/**
 * @file Pairs the pictures of one folder: which is an image, which its masks, under which convention. Names only, no bytes. Imports names, types.
 */
import {
  buidName,
  kindOf,
  isJunk,
  pairingDir,
  placeOf,
  roleDir,
  withoutMaskSuffix,
  type Place,
} from './names';
import type { FileRef, Problem } from './types';

export interface Picture {
  readonly file: FileRef;
  readonly place: Place;
}

export interface Pair {
  readonly image: Picture;
  readonly masks: readonly Picture[];
}

export interface FolderPairs {
  readonly pairs: readonly Pair[];
  readonly images: readonly Picture[]; // without a mask
  readonly orphanMasks: readonly Picture[];
  readonly tables: readonly FileRef[];
  readonly unsupported: readonly FileRef[];
  readonly ignored: number;
  readonly convention: string;
  readonly problems: readonly Problem[];
}

/** Keys under which a mask looks for its image, best first; and an image's own keys. */
interface Sorted {
  readonly images: Picture[];
  readonly masks: { readonly picture: Picture; readonly keys: readonly string[] }[];
  readonly index: Map<string, Picture>;
  readonly ambiguous: Set<string>;
}

/** Pairs all pictures of a folder. O(number of files). @param folderName for messages. */
export function pairFolder(files: readonly FileRef[], folderName: string): FolderPairs {
  const pictures: Picture[] = [];
  const tables: FileRef[] = [];
  const unsupported: FileRef[] = [];
  let ignored = 0;
  for (const file of files) {
    const place = placeOf(file.path);
    const kind = isJunk(file.path) ? 'other' : kindOf(place);
    if (kind === 'picture') pictures.push({ file, place });
    else if (kind === 'table') tables.push(file);
    else if (kind === 'unsupported-picture') unsupported.push(file);
    else ignored++;
  }
  const sorted = sortPictures(pictures);
  ignored += pictures.length - sorted.images.length - sorted.masks.length;
  const found = new Map<Picture, Picture[]>();
  const orphanMasks: Picture[] = [];
  const problems: Problem[] = [];
  for (const { picture, keys } of sorted.masks) {
    const key = keys.find((k) => sorted.index.has(k));
    const image = key === undefined ? undefined : sorted.index.get(key);
    if (image === undefined) orphanMasks.push(picture);
    else {
      if (sorted.ambiguous.has(key as string)) problems.push(ambiguous(picture, image, folderName));
      found.set(image, [...(found.get(image) ?? []), picture]);
    }
  }
  const pairs = sorted.images
    .filter((i) => found.has(i))
    .map((image) => ({ image, masks: byName(found.get(image) as Picture[]) }));
  return {
    pairs,
    images: sorted.images.filter((i) => !found.has(i)),
    orphanMasks,
    tables,
    unsupported,
    ignored,
    convention: conventionOf(pairs, tables),
    problems,
  };
}

function ambiguous(mask: Picture, image: Picture, folderName: string): Problem {
  return {
    kind: 'ambiguous-pair',
    severity: 'warning',
    files: [`${folderName}/${mask.file.path}`, `${folderName}/${image.file.path}`],
    sampleIds: [],
    message: 'several images fit this mask; the first was taken',
  };
}

function byName(pictures: readonly Picture[]): Picture[] {
  return pictures.slice().sort((a, b) => (a.file.path < b.file.path ? -1 : 1));
}

const join = (dir: string, stem: string): string => `${dir}\u0000${stem}`;

function sortPictures(pictures: readonly Picture[]): Sorted {
  const stems = new Set(pictures.map((p) => join(p.place.dirs.join('/'), p.place.stem)));
  const images: Picture[] = [];
  const masks: Sorted['masks'] = [];
  const index = new Map<string, Picture>();
  const ambiguous = new Set<string>();
  for (const picture of pictures) {
    const { dirs, stem } = picture.place;
    const buid = buidName(stem);
    if (buid?.role === 'derived') continue;
    const role = roleDir(dirs);
    const base = withoutMaskSuffix(stem);
    // A suffix alone makes a mask only beside the image it names ("my_label.png" may be an image).
    const besideImage = base !== null && (stems.has(join(dirs.join('/'), base)) || role?.role !== 'image');
    const isMask =
      buid === null ? role?.role === 'mask' || (besideImage && base !== null) : buid.role === 'mask';
    const dir = pairingDir(dirs, role?.at ?? null);
    if (isMask) masks.push({ picture, keys: maskKeys(dir, dirs, stem, base, buid?.base ?? null) });
    else {
      images.push(picture);
      for (const key of imageKeys(dir, stem, buid?.base ?? null)) {
        if (index.has(key)) ambiguous.add(key);
        else index.set(key, picture);
      }
    }
  }
  return { images, masks, index, ambiguous };
}

function imageKeys(dir: string, stem: string, buid: string | null): string[] {
  const keys = [join(dir, stem)];
  if (buid !== null) keys.push(join(dir, buid));
  // nnU-Net: case_0000.png is channel 0 of labelsTr/case.png.
  if (/@T[rs]/.test(dir) && /_\d{4}$/.test(stem)) keys.push(join(dir, stem.slice(0, -5)));
  // BUS-BRA: bus_0001-l.png belongs to mask_0001-l.png.
  const numbered = /^(?:bus|img|image|im)[_-]?(\d.*)$/i.exec(stem)?.[1];
  if (numbered !== undefined) keys.push(join(dir, `#${numbered}`));
  return keys;
}

function maskKeys(
  dir: string,
  dirs: readonly string[],
  stem: string,
  base: string | null,
  buid: string | null,
): string[] {
  const keys = [join(dir, stem)];
  if (buid !== null) keys.push(join(dir, buid));
  if (base !== null) keys.push(join(dir, base), join(dirs.join('/'), base));
  const rest = /^(?:mask|label|gt|seg)[_-]?(.+)$/i.exec(stem)?.[1];
  if (rest !== undefined) keys.push(join(dir, `#${rest}`), join(dir, rest));
  const numbered = /^(?:bus|img|image|im)[_-]?(\d.*)$/i.exec(stem)?.[1];
  if (numbered !== undefined) keys.push(join(dir, `#${numbered}`));
  return keys;
}

/** The name of the layout, for the folder's card. */
function conventionOf(pairs: readonly Pair[], tables: readonly FileRef[]): string {
  const first = pairs[0];
  if (first === undefined) return 'not recognised';
  const { dirs, stem } = first.image.place;
  const maskDirs = first.masks[0]?.place.dirs ?? [];
  const has = (name: string): boolean => tables.some((t) => t.path.toLowerCase().endsWith(name));
  if (has('bus_data.csv')) return 'BUS-BRA';
  if (has('info.csv') && /^[A-Z]{4}_\d+/.test(stem)) return 'BUS-UCLM';
  if (buidName(stem) !== null) return 'BUID';
  if (/^(benign|malignant|normal) \(\d+\)$/.test(stem)) return 'BUSI';
  const role = roleDir(dirs);
  if (role !== null && /^imagesT[rs]$/.test(dirs[role.at] as string)) return 'nnU-Net';
  if (dirs.some((d) => /^(training_set|val_set|test_set)$/.test(d))) return 'USFM';
  if (role !== null && /^imgs?$/.test(dirs[role.at] as string) && maskDirs.some((d) => /^labels?$/.test(d)))
    return 'TinyUSFM';
  const common = (role === null ? null : `${dirs[role.at]}/`) ?? '';
  return common === ''
    ? 'image and mask side by side'
    : `${common} with ${roleDir(maskDirs)?.role === 'mask' ? `${maskDirs[roleDir(maskDirs)?.at ?? 0]}/` : 'masks'}`;
}
