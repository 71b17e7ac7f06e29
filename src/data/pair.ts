/**
 * @file Pairs the pictures of one folder: which is an image, which its masks, under which convention. Names only, no bytes. Imports names, siblings, types.
 */
import {
  buidName,
  isBusBra,
  isJunk,
  kindOf,
  naturalKey,
  pairingDir,
  placeOf,
  rawStem,
  roleDir,
  uclmPatient,
  withoutMaskSuffix,
  type Picture,
} from './names';
import { pairSiblings } from './siblings';
import type { FileRef, Problem } from './types';

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

/** Keys under which a mask looks for its image, best first; and the images under each key. */
interface Sorted {
  readonly images: Picture[];
  readonly masks: { readonly picture: Picture; readonly keys: readonly string[] }[];
  readonly index: Map<string, Picture[]>;
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
  // The order of enumeration differs between browsers, handles and zips; what follows must not.
  const order = new Map(pictures.map((p) => [p, `${naturalKey(p.file.path)}\u0000${p.file.path}`]));
  pictures.sort((a, b) => ((order.get(a) as string) < (order.get(b) as string) ? -1 : 1));
  const sorted = sortPictures(pictures);
  ignored += pictures.length - sorted.images.length - sorted.masks.length;
  const found = new Map<Picture, Picture[]>();
  const give = (image: Picture, mask: Picture): void => {
    const own = found.get(image);
    if (own === undefined) found.set(image, [mask]);
    else own.push(mask);
  };
  const lost: Picture[] = [];
  const problems: Problem[] = [];
  for (const { picture, keys } of sorted.masks) {
    const key = keys.find((k) => sorted.index.has(k));
    if (key === undefined) {
      lost.push(picture);
      continue;
    }
    const { image, sure } = choose(picture, sorted.index.get(key) as Picture[]);
    if (!sure) problems.push(ambiguous(picture, image, folderName));
    give(image, picture);
  }
  const second = pairSiblings(
    sorted.images.filter((i) => !found.has(i)),
    lost,
  );
  for (const { image, mask } of second.found) give(image, mask);
  const pairs = sorted.images.flatMap((image) => {
    const masks = found.get(image);
    return masks === undefined ? [] : [{ image, masks }];
  });
  return {
    pairs,
    images: second.images,
    orphanMasks: second.masks,
    tables,
    unsupported,
    ignored,
    convention: conventionOf(pairs, tables),
    problems,
  };
}

/**
 * Which of several images a mask means: the one whose exact name begins the mask's (NFC and NFD twins, "A.png" beside "a.png").
 * Not sure when that leaves more than one, or none of several.
 */
function choose(
  mask: Picture,
  candidates: readonly Picture[],
): { readonly image: Picture; readonly sure: boolean } {
  const [first] = candidates as readonly [Picture];
  if (candidates.length === 1) return { image: first, sure: true };
  const name = rawStem(mask.file.path);
  const exact = candidates.filter((c) => name.startsWith(rawStem(c.file.path)));
  return { image: exact[0] ?? first, sure: exact.length === 1 };
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

/** Names pair whatever their case ("IMG_1.PNG" with "img_1.png"); `choose` keeps case twins apart. */
const join = (dir: string, stem: string): string => `${dir}\u0000${stem}`.toLowerCase();

function sortPictures(pictures: readonly Picture[]): Sorted {
  const stems = new Set(pictures.map((p) => join(p.place.dirs.join('/'), p.place.stem)));
  const images: Picture[] = [];
  const masks: Sorted['masks'] = [];
  const index = new Map<string, Picture[]>();
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
        const own = index.get(key);
        if (own === undefined) index.set(key, [picture]);
        else own.push(picture);
      }
    }
  }
  return { images, masks, index };
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

/** By its table, or (a partition without it) by names alone: then several patients must show, lest "SCAN_001" be taken for one. */
function isUclm(pairs: readonly Pair[], table: boolean): boolean {
  const patients = pairs.map((p) => uclmPatient(p.image.place.stem));
  if (patients.includes(null)) return false;
  return table || new Set(patients).size >= 3;
}

/** The name of the layout, for the folder's card. */
function conventionOf(pairs: readonly Pair[], tables: readonly FileRef[]): string {
  const first = pairs[0];
  if (first === undefined) return 'not recognised';
  const { dirs, stem } = first.image.place;
  const maskDirs = first.masks[0]?.place.dirs ?? [];
  const has = (name: string): boolean => tables.some((t) => t.path.toLowerCase().endsWith(name));
  if (has('bus_data.csv') || pairs.every((p) => isBusBra(p.image.place.stem))) return 'BUS-BRA';
  if (isUclm(pairs, has('info.csv'))) return 'BUS-UCLM';
  if (buidName(stem) !== null) return 'BUID';
  if (/^(benign|malignant|normal) \(\d+\)$/.test(stem)) return 'BUSI';
  const role = roleDir(dirs);
  if (role !== null && /^imagesT[rs]$/.test(dirs[role.at] as string)) return 'nnU-Net';
  if (dirs.some((d) => /^(training_set|val_set|test_set)$/.test(d))) return 'USFM';
  if (role !== null && /^imgs?$/.test(dirs[role.at] as string) && maskDirs.some((d) => /^labels?$/.test(d)))
    return 'TinyUSFM';
  if (role === null) return 'image and mask side by side';
  const maskRole = roleDir(maskDirs);
  const shown = (dir: string | undefined): string =>
    (dir ?? '').replace(/^(trainval|train|val|test)[-_]/i, '');
  return `${shown(dirs[role.at])}/ with ${maskRole === null ? 'masks' : `${shown(maskDirs[maskRole.at])}/`}`;
}
