/**
 * @file Looks into one sample's files: sizes, values, what is wrong. Imports decode, formats, lib. Never throws for a bad file: that is a finding.
 */
import { toRGB } from '../formats/image';
import type { RasterImage } from '../formats/image.types';
import { sha256 } from '../lib/bytes';
import { UserError } from '../lib/errors';
import { decodeFile, isColored, maskGrey, maskValues, type ReadFile } from './decode';
import type { Problem, ProblemKind, Sample, SampleFacts, Severity } from './types';

const MAX_VALUES = 64;
/** More distinct grey values than a label map has, most of them between the two ends: a soft (antialiased, JPEG) mask. */
const SOFT_VALUES = 16;

interface Joined {
  readonly histogram: Map<string, number>;
  readonly foreground: Uint8Array; // 0 / 1
  readonly soft: boolean;
  /** Pixels to which two mask files give different values. */
  readonly overlap: number;
}

/** Decodes a sample and reports; problems of severity 'error' mean it cannot be used. */
export async function inspectSample(sample: Sample, read: ReadFile): Promise<SampleFacts> {
  const problems: Problem[] = [];
  const note = (kind: ProblemKind, severity: Severity, path: string, message: string): void => {
    problems.push({
      kind,
      severity,
      files: [`${sample.folderName}/${path}`],
      sampleIds: [sample.id],
      message,
    });
  };
  const image = await tryDecode(
    sample,
    sample.image.path,
    () => decodeFile(sample.image, sample.folderName, read),
    note,
  );
  if (image?.exifOrientation !== undefined) {
    note(
      'exif-orientation',
      'warning',
      sample.image.path,
      `the file asks to be turned (EXIF orientation ${image.exifOrientation}); pixels are used as stored, as Pillow does`,
    );
  }
  const masks: RasterImage[] = [];
  for (const file of sample.masks) {
    const mask = await tryDecode(sample, file.path, () => decodeFile(file, sample.folderName, read), note);
    if (mask === null) continue;
    masks.push(mask);
    if (mask.format === 'jpeg') note('lossy-mask', 'info', file.path, 'a JPEG mask: its edges are not exact');
    if (image !== null && (mask.width !== image.width || mask.height !== image.height)) {
      note(
        'size-mismatch',
        'error',
        file.path,
        `image ${image.width} x ${image.height}, mask ${mask.width} x ${mask.height}`,
      );
    }
  }
  const joined = joinMasks(masks);
  const pixels = joined.foreground.length;
  const set = joined.foreground.reduce((n, v) => n + v, 0);
  const maskPath = sample.masks[0]?.path ?? sample.image.path;
  if (pixels > 0 && set === 0) {
    const expected = sample.className === 'normal';
    note(
      'empty-mask',
      expected ? 'info' : 'warning',
      maskPath,
      expected ? 'no foreground, as expected of a normal image' : 'the mask has no foreground',
    );
  }
  if (pixels > 0 && set === pixels) note('full-mask', 'warning', maskPath, 'every pixel is foreground');
  if (joined.overlap > 0)
    note(
      'overlapping-labels',
      'warning',
      maskPath,
      `${joined.overlap} pixels have different values in different mask files; the first file counts`,
    );
  if (joined.soft)
    note(
      'soft-mask',
      'warning',
      maskPath,
      `${joined.histogram.size} grey values: soft edges; a threshold decides`,
    );
  return {
    id: sample.id,
    width: image?.width ?? 0,
    height: image?.height ?? 0,
    mode: image?.mode ?? '?',
    maskSizes: masks.map((m) => [m.width, m.height] as const),
    maskValues: [...joined.histogram].sort((a, b) => b[1] - a[1]).slice(0, MAX_VALUES),
    foreground: pixels === 0 ? 0 : set / pixels,
    soft: joined.soft,
    imageHash: image === null ? '' : await sha256(toRGB(image)),
    maskHash: pixels === 0 ? '' : await sha256(joined.foreground),
    problems,
  };
}

async function tryDecode(
  sample: Sample,
  path: string,
  decode: () => Promise<RasterImage>,
  note: (kind: ProblemKind, severity: Severity, path: string, message: string) => void,
): Promise<RasterImage | null> {
  try {
    return await decode();
  } catch (error) {
    if (!(error instanceof UserError)) throw new Error(`${sample.folderName}/${path}`, { cause: error });
    const kind: ProblemKind =
      error.code === 'image-too-large'
        ? 'too-large'
        : error.code === 'image-unsupported'
          ? 'unsupported-format'
          : 'unreadable';
    note(kind, 'error', path, error.message);
    return null;
  }
}

/** Histogram over all mask files (grey value, or "r,g,b" when any has colour) and their union. */
function joinMasks(masks: readonly RasterImage[]): Joined {
  const histogram = new Map<string, number>();
  const first = masks[0];
  if (first === undefined) return { histogram, foreground: new Uint8Array(0), soft: false, overlap: 0 };
  const same = masks.filter((m) => m.width === first.width && m.height === first.height);
  const colored = same.some(isColored) && same.every((m) => m.mode !== 'P');
  const counts = new Uint32Array(256);
  for (const mask of same) {
    if (colored) countColors(toRGB(mask), histogram);
    else for (const v of maskValues(mask)) counts[v] = (counts[v] as number) + 1;
  }
  counts.forEach((n, v) => {
    if (n > 0) histogram.set(String(v), n);
  });
  const soft = !colored && histogram.size > SOFT_VALUES && same.every((m) => m.mode !== 'P');
  // The edges of a JPEG mask ring: a grey of 3 is no lesion.
  const threshold = soft || same.some((m) => m.format === 'jpeg') ? 127 : 0;
  const foreground = new Uint8Array(first.width * first.height);
  const seen = new Int32Array(same.length > 1 ? foreground.length : 0);
  let overlap = 0;
  for (const mask of same) {
    const grey = mask.mode === 'P' ? maskValues(mask) : maskGrey(mask);
    for (let i = 0; i < foreground.length; i++) {
      const v = grey[i] as number;
      if (v <= threshold) continue;
      foreground[i] = 1;
      if (seen.length === 0 || threshold > 0) continue;
      if (seen[i] === 0) seen[i] = v;
      else if (seen[i] !== v) overlap++;
    }
  }
  return { histogram, foreground, soft, overlap };
}

function countColors(rgb: Uint8Array, into: Map<string, number>): void {
  const packed = new Map<number, number>();
  for (let i = 0; i < rgb.length; i += 3) {
    const key = ((rgb[i] as number) << 16) | ((rgb[i + 1] as number) << 8) | (rgb[i + 2] as number);
    packed.set(key, (packed.get(key) ?? 0) + 1);
  }
  for (const [key, n] of packed) {
    if (into.size >= 4096) return;
    const name = `${key >> 16},${(key >> 8) & 255},${key & 255}`;
    into.set(name, (into.get(name) ?? 0) + n);
  }
}
