/**
 * @file Folders to a data set: samples, classes, patients, folds, and the problems names alone show. Imports lib, pair, tables.
 */
import { fnv1a32, fmix32 } from '../lib/random';
import { UserError } from '../lib/errors';
import { classOf, patientOf, placeOf, splitOf, uclmPatient, type Picture } from './names';
import { pairFolder, type FolderPairs } from './pair';
import { readLabelNames, readNumberedFold, readTable, type TableFacts } from './tables';
import type { Dataset, FileRef, Folder, FoldTable, Problem, Sample, SplitName } from './types';

/** More files than any study has; a wrong folder (the home directory) is refused, not scanned for an hour. */
const MAX_FILES = 200_000;

/** Larger tables (annotation dumps) say nothing that is read here. */
const MAX_TABLE_BYTES = 32e6;
const MAX_TABLES = 50;

const NUMBERED_FOLD = /fold(\d+)\.json$/i;

interface NumberedFold {
  readonly file: string;
  readonly fold: number;
  readonly byNumber: ReadonlyMap<number, SplitName>;
}

/** What a folder's csv and json files say. */
interface Tables {
  readonly facts: readonly TableFacts[];
  readonly labelNames: ReadonlyMap<string, string> | null;
  /** By fold number, ascending; TN3K. */
  readonly numbered: readonly NumberedFold[];
}

/** One data set of all folders. Throws UserError 'too-many-files', 'no-samples' (naming what was seen). */
export async function buildDataset(given: readonly Folder[]): Promise<Dataset> {
  const folders = withUniqueNames(given);
  const samples: Sample[] = [];
  const problems: Problem[] = [];
  const foldTables: FoldTable[] = [];
  const cards: Dataset['folders'][number][] = [];
  const labelNames: (ReadonlyMap<string, string> | null)[] = [];
  let ignored = 0;
  for (const folder of folders) {
    if (folder.files.length > MAX_FILES) {
      throw new UserError(
        'too-many-files',
        `"${folder.name}" has ${folder.files.length} files; at most ${MAX_FILES} are read`,
        { subject: folder.name },
      );
    }
    const pairs = pairFolder(folder.files, folder.name);
    const tables = await readTables(folder, pairs.tables, problems);
    const own = samplesOf(folder, pairs, tables.facts);
    samples.push(...own);
    problems.push(...pairs.problems, ...nameProblems(folder, pairs), ...caseTwins(folder, own));
    foldTables.push(...foldsOf(own, tables.facts), ...numberedFolds(own, tables.numbered));
    if (own.length > 0) labelNames.push(tables.labelNames);
    ignored += pairs.ignored;
    cards.push({
      id: folder.id,
      name: folder.name,
      testOnly: folder.testOnly,
      fileCount: folder.files.length,
      convention: pairs.convention,
    });
  }
  return {
    id: datasetId(folders),
    name: folders.map((f) => f.name).join(' + '),
    folders: cards,
    samples,
    classNames: [...new Set(samples.flatMap((s) => (s.className === null ? [] : [s.className])))].sort(),
    foldTables,
    ...agreed(labelNames),
    problems,
    ignoredFiles: ignored,
  };
}

/** Sample ids begin with the folder's name: two folders called "images" become "images" and "images (2)". */
function withUniqueNames(folders: readonly Folder[]): Folder[] {
  const taken = new Set<string>();
  return folders.map((folder) => {
    let name = folder.name;
    for (let n = 2; taken.has(name.normalize('NFC')); n++) name = `${folder.name} (${n})`;
    taken.add(name.normalize('NFC'));
    const { id, testOnly, files } = folder;
    return { id, name, testOnly, files, read: (path) => folder.read(path) };
  });
}

/** 64 bits over names, paths, sizes and dates: the same folders give the same id. */
function datasetId(folders: readonly Folder[]): string {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  for (const folder of folders) {
    for (const f of folder.files) {
      const h = fnv1a32(`${folder.name}/${f.path.normalize('NFC')}:${f.size}:${f.modified}`);
      // Order of enumeration differs between browsers: sums do not care.
      a = (a + fmix32(h)) >>> 0;
      b = (b + fmix32(h ^ 0x5bd1e995)) >>> 0;
    }
  }
  return a.toString(16).padStart(8, '0') + b.toString(16).padStart(8, '0');
}

/** Label names hold for the whole data set: used when every folder brings the same. */
function agreed(names: readonly (ReadonlyMap<string, string> | null)[]): Pick<Dataset, 'labelNames'> {
  const texts = new Set(names.map((n) => (n === null ? '' : JSON.stringify([...n].sort()))));
  const [first] = names;
  return texts.size === 1 && first ? { labelNames: Object.fromEntries(first) } : {};
}

async function readTables(folder: Folder, files: readonly FileRef[], problems: Problem[]): Promise<Tables> {
  const facts: TableFacts[] = [];
  let labelNames: Tables['labelNames'] = null;
  const numbered: NumberedFold[] = [];
  const wanted = files.filter(
    (f) => /\.csv$|(^|\/)dataset\.json$/i.test(f.path) || NUMBERED_FOLD.test(f.path),
  );
  for (const file of wanted.slice(0, MAX_TABLES)) {
    if (file.size > MAX_TABLE_BYTES) continue;
    try {
      const bytes = await folder.read(file.path);
      const fold = NUMBERED_FOLD.exec(file.path)?.[1];
      if (fold !== undefined) {
        const byNumber = readNumberedFold(bytes, file.path);
        if (byNumber !== null) numbered.push({ file: file.path, fold: Number(fold), byNumber });
      } else if (/\.json$/i.test(file.path)) labelNames ??= readLabelNames(bytes, file.path);
      else {
        const table = readTable(bytes, file.path);
        if (table !== null) facts.push(table);
      }
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      problems.push({
        kind: 'unreadable',
        severity: 'warning',
        files: [`${folder.name}/${file.path}`],
        sampleIds: [],
        message: `table not used: ${error.message}`,
      });
    }
  }
  return { facts, labelNames, numbered: numbered.sort((a, b) => a.fold - b.fold) };
}

/** A csv is believed only where it names most images: a stray table must not relabel a folder. */
function lookup(
  facts: readonly TableFacts[],
  images: readonly Picture[],
  pick: (f: TableFacts) => Map<string, string>,
): (stem: string) => string | null {
  for (const f of facts) {
    const map = pick(f);
    const named = images.reduce((n, p) => n + (map.has(p.place.stem) ? 1 : 0), 0);
    if (named > 0 && named * 2 >= images.length) return (stem) => map.get(stem) ?? null;
  }
  return () => null;
}

function samplesOf(folder: Folder, pairs: FolderPairs, facts: readonly TableFacts[]): Sample[] {
  const images = pairs.pairs.map((p) => p.image);
  const classFrom = lookup(facts, images, (f) => f.classes);
  const groupFrom = lookup(facts, images, (f) => f.groups);
  const uclm = pairs.convention === 'BUS-UCLM';
  const taken = new Set<string>();
  return pairs.pairs.map(({ image, masks }) => {
    const { dirs, stem } = image.place;
    const plain = [folder.name.normalize('NFC'), ...dirs, stem].join('/');
    let id = plain;
    // "a.png" beside "a.jpg", NFC beside NFD: the extension, then a number tells them apart.
    for (let n = 1; taken.has(id); n++) id = `${plain}.${image.place.extension}${n === 1 ? '' : ` (${n})`}`;
    taken.add(id);
    return {
      id,
      folder: folder.id,
      folderName: folder.name,
      image: image.file,
      masks: masks.map((m) => m.file),
      className: classFrom(stem) ?? classOf(image.place),
      group: groupFrom(stem) ?? (uclm ? uclmPatient(stem) : patientOf(stem)),
      ownSplit: splitOf(dirs),
      testOnly: folder.testOnly,
    };
  });
}

function foldsOf(samples: readonly Sample[], facts: readonly TableFacts[]): FoldTable[] {
  return facts.flatMap(({ folds }) => {
    if (folds === null) return [];
    const assignment: Record<string, readonly (SplitName | null)[]> = {};
    for (const s of samples) {
      const row = folds.byStem.get(placeOf(s.image.path).stem);
      if (row !== undefined) assignment[s.id] = row;
    }
    return Object.keys(assignment).length === 0 ? [] : [{ file: folds.file, folds: folds.count, assignment }];
  });
}

/** TN3K: one file per fold over the numbers in trainval-image; its test pictures are test in every fold. */
function numberedFolds(samples: readonly Sample[], folds: Tables['numbered']): FoldTable[] {
  const assignment: Record<string, readonly (SplitName | null)[]> = {};
  let named = 0;
  for (const s of samples) {
    const { stem } = placeOf(s.image.path);
    const own = s.ownSplit;
    if (own === 'test') assignment[s.id] = folds.map(() => 'test');
    else if (own === 'train' && /^\d+$/.test(stem)) {
      const row = folds.map(({ byNumber }) => byNumber.get(Number(stem)) ?? null);
      if (row.some((r) => r !== null)) named++;
      assignment[s.id] = row;
    }
  }
  if (named === 0) return [];
  const file = (folds[0] as NumberedFold).file.split('/').at(-1) as string;
  return [{ file: file.replace(NUMBERED_FOLD, 'fold*.json'), folds: folds.length, assignment }];
}

/** Ids that differ in upper and lower case alone: Windows and macOS would keep one of their predictions. */
function caseTwins(folder: Folder, samples: readonly Sample[]): Problem[] {
  const seen = new Map<string, Sample>();
  const out: Problem[] = [];
  for (const sample of samples) {
    const folded = sample.id.toLowerCase();
    const other = seen.get(folded);
    if (other === undefined) seen.set(folded, sample);
    else
      out.push({
        kind: 'case-collision',
        severity: 'warning',
        files: [`${folder.name}/${other.image.path}`, `${folder.name}/${sample.image.path}`],
        sampleIds: [other.id, sample.id],
        message: 'the names differ in upper and lower case alone; an export may overwrite one with the other',
      });
  }
  return out;
}

function nameProblems(folder: Folder, pairs: FolderPairs): Problem[] {
  const label = (f: FileRef): string => `${folder.name}/${f.path}`;
  const out: Problem[] = [];
  for (const p of pairs.images) {
    out.push({
      kind: 'image-without-mask',
      severity: 'warning',
      files: [label(p.file)],
      sampleIds: [],
      message: 'no mask was found; the image is not used',
    });
  }
  for (const p of pairs.orphanMasks) {
    out.push({
      kind: 'mask-without-image',
      severity: 'warning',
      files: [label(p.file)],
      sampleIds: [],
      message: 'no image was found; the mask is not used',
    });
  }
  for (const f of pairs.unsupported) {
    out.push({
      kind: 'unsupported-format',
      severity: 'warning',
      files: [label(f)],
      sampleIds: [],
      message: 'this format is not read; PNG, JPEG, BMP and TIFF are',
    });
  }
  return out;
}
