/**
 * @file What file and folder names say: junk, picture or table, mask or image, split, class. Imports types.
 * The conventions are those users bring (reference/models.md section 5.1, reference/peers.md section 1.6).
 */
import type { FileRef, SplitName } from './types';

const PICTURES = new Set(['png', 'jpg', 'jpeg', 'bmp', 'tif', 'tiff']);
const OTHER_PICTURES = new Set(['dcm', 'nii', 'gif', 'webp', 'mha', 'nrrd', 'svg', 'heic', 'avif']);
const MASK_DIRS =
  /^(masks?|labels?|gts?|ground[ _-]?truths?|annotations?|seg|segs|segmentations?|labelsT[rs]|labelsVal|(trainval|train|val|test)[-_](masks?|labels?))$/i;
const IMAGE_DIRS =
  /^(images?|imgs?|originals?|pictures?|imagesT[rs]|imagesVal|(trainval|train|val|test)[-_](images?|imgs?))$/i;
const MASK_SUFFIX =
  /^(.*\S)[ _-](masks?|gt|seg|segmentation|label|labels|annotation|groundtruth)(?:[ _-]?\d+)?$/i;

const BUS_BRA = /^bus_(\d+)-[lrs]$/i;

/** "ALWI_000": BUS-UCLM's four letters per patient. */
const BUS_UCLM = /^([A-Z]{4})_\d+$/;

export function isBusBra(stem: string): boolean {
  return BUS_BRA.test(stem);
}

/** BUS-UCLM's patient, or null when the name is not built like that. */
export function uclmPatient(stem: string): string | null {
  return BUS_UCLM.exec(stem)?.[1] ?? null;
}

/** A file's place in its folder, names in NFC (macOS hands over NFD). */
export interface Place {
  readonly dirs: readonly string[];
  readonly stem: string;
  readonly extension: string; // lower case, no dot
}

/** A picture file and its place. */
export interface Picture {
  readonly file: FileRef;
  readonly place: Place;
}

export function placeOf(path: string): Place {
  const parts = path.normalize('NFC').split('/');
  const file = parts.pop() as string;
  const dot = file.lastIndexOf('.');
  return {
    dirs: parts.filter((p) => p !== ''),
    stem: dot <= 0 ? file : file.slice(0, dot),
    extension: dot <= 0 ? '' : file.slice(dot + 1).toLowerCase(),
  };
}

/** The name without folder and extension as the file system has it: tells NFC from NFD twins. */
export function rawStem(path: string): string {
  const file = path.slice(path.lastIndexOf('/') + 1);
  const dot = file.lastIndexOf('.');
  return dot <= 0 ? file : file.slice(0, dot);
}

/** Sorts "benign (2)" before "benign (10)", the same in every browser (no locale). */
export function naturalKey(path: string): string {
  return path.normalize('NFC').replace(/\d+/g, (digits) => digits.padStart(12, '0'));
}

/** A directory that speaks of masks somewhere in its name: "ISIC_GroundTruth", "lesion contours". Weak: only beside a sibling. */
export function isMaskish(dir: string): boolean {
  return /(^|[^a-z])(masks?|labels?|gts?|ground[ _-]?truths?|annotations?|segmentations?|contours?)([^a-z]|$)/i.test(
    dir,
  );
}

/** Files that operating systems and tools leave behind. */
export function isJunk(path: string): boolean {
  return path
    .split('/')
    .some(
      (p) =>
        p === '__MACOSX' ||
        p === '.git' ||
        p === '@eaDir' ||
        p.startsWith('.') ||
        /^(thumbs\.db|desktop\.ini|icon\r)$/i.test(p),
    );
}

export type FileKind = 'picture' | 'table' | 'unsupported-picture' | 'other';

export function kindOf(place: Place): FileKind {
  if (PICTURES.has(place.extension)) return 'picture';
  if (place.extension === 'csv' || place.extension === 'json') return 'table';
  return OTHER_PICTURES.has(place.extension) ? 'unsupported-picture' : 'other';
}

/** Index of the last directory that says "masks" or "images", and which. A number below it (masks/0) belongs to it. */
export function roleDir(
  dirs: readonly string[],
): { readonly role: 'image' | 'mask'; readonly at: number } | null {
  for (let at = dirs.length - 1; at >= 0; at--) {
    const dir = dirs[at] as string;
    if (MASK_DIRS.test(dir)) return { role: 'mask', at };
    if (IMAGE_DIRS.test(dir)) return { role: 'image', at };
  }
  return null;
}

/** Directories with the role replaced by '@': equal for an image and its mask. "trainval-mask" keeps "trainval". */
export function pairingDir(dirs: readonly string[], at: number | null): string {
  if (at === null) return dirs.join('/');
  const out: string[] = [];
  dirs.forEach((dir, i) => {
    if (i === at)
      out.push(
        `@${/^(trainval|train|val|test)[-_]/i.exec(dir)?.[1]?.toLowerCase() ?? /T[rs]$|Val$/.exec(dir)?.[0] ?? ''}`,
      );
    else if (!(i === at + 1 && /^\d+$/.test(dir))) out.push(dir);
  });
  return out.join('/');
}

/** "benign (1)_mask_1" -> "benign (1)"; null when the name does not end like a mask's. */
export function withoutMaskSuffix(stem: string): string | null {
  return MASK_SUFFIX.exec(stem)?.[1] ?? null;
}

/** BUID: "1 Benign Image" -> {"1 Benign", "image"}. A third picture, "... Lesion", is the image times the mask: derived. */
export function buidName(
  stem: string,
): { readonly base: string; readonly role: 'image' | 'mask' | 'derived' } | null {
  const match = /^(\d+ (?:benign|malignant)) (image|mask|lesion)$/i.exec(stem);
  if (match === null) return null;
  const word = (match[2] as string).toLowerCase();
  return { base: match[1] as string, role: word === 'lesion' ? 'derived' : (word as 'image' | 'mask') };
}

/** The split a path's directories name: TinyUSFM's train/val/test, USFM's training_set/..., nnU-Net's imagesTr/Ts, TN3K's trainval-image. */
export function splitOf(dirs: readonly string[]): SplitName | null {
  for (const dir of dirs) {
    const d = dir.toLowerCase();
    if (
      /^(train|training|training_set|trainset|trainval[-_].*|imagestr|labelstr|train[-_](images?|masks?|labels?|imgs?))$/.test(
        d,
      )
    )
      return 'train';
    if (
      /^(val|valid|validation|val_set|validation_set|imagesval|labelsval|val[-_](images?|masks?|labels?|imgs?))$/.test(
        d,
      )
    )
      return 'val';
    if (/^(test|testing|test_set|testset|imagests|labelsts|test[-_](images?|masks?|labels?|imgs?))$/.test(d))
      return 'test';
  }
  return null;
}

/** benign, malignant or normal from a directory or the beginning or end of the name. */
export function classOf(place: Place): string | null {
  for (const text of [...place.dirs.slice().reverse(), place.stem]) {
    const match = /(?:^|[^a-z])(benign|malignant|normal)(?![a-z])/i.exec(text);
    if (match !== null) return (match[1] as string).toLowerCase();
  }
  return null;
}

/** A patient number written into the name: BUS-BRA's "bus_0012-l" (case 12), "_p012_", "patient 12", "case_0012". */
export function patientOf(stem: string): string | null {
  const busBra = BUS_BRA.exec(stem)?.[1];
  if (busBra !== undefined) return String(Number(busBra));
  return /(?:^|[_ -])(?:p|pat|patient|case|subject)[_ -]?(\d{2,})(?=[_ .-]|$)/i.exec(stem)?.[1] ?? null;
}
