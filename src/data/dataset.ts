/**
 * @file Folders to a data set: samples, classes, patients, folds, and the problems names alone show. Imports lib, pair, tables.
 */
import { fnv1a32, fmix32 } from '../lib/random';
import { UserError } from '../lib/errors';
import { classOf, patientOf, placeOf, splitOf } from './names';
import { pairFolder, type FolderPairs, type Picture } from './pair';
import { readTable, type TableFacts } from './tables';
import type { Dataset, FileRef, Folder, FoldTable, Problem, Sample, SplitName } from './types';

/** More files than any study has; a wrong folder (the home directory) is refused, not scanned for an hour. */
const MAX_FILES = 200_000;

/** One data set of all folders. Throws UserError 'too-many-files', 'no-samples' (naming what was seen). */
export async function buildDataset(folders: readonly Folder[]): Promise<Dataset> {
  const samples: Sample[] = [];
  const problems: Problem[] = [];
  const foldTables: FoldTable[] = [];
  const cards: Dataset['folders'][number][] = [];
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
    const facts = await readTables(folder, pairs.tables, problems);
    const own = samplesOf(folder, pairs, facts);
    samples.push(...own);
    problems.push(...pairs.problems, ...nameProblems(folder, pairs));
    foldTables.push(...foldsOf(own, facts));
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
    problems,
    ignoredFiles: ignored,
  };
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

async function readTables(
  folder: Folder,
  tables: readonly FileRef[],
  problems: Problem[],
): Promise<TableFacts[]> {
  const out: TableFacts[] = [];
  for (const file of tables.filter((t) => t.path.toLowerCase().endsWith('.csv')).slice(0, 50)) {
    try {
      const facts = readTable(await folder.read(file.path), file.path);
      if (facts !== null) out.push(facts);
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
  return out;
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
    const path = [...dirs, stem].join('/');
    let id = `${folder.name.normalize('NFC')}/${path}`;
    if (taken.has(id)) id = `${id}.${image.place.extension}`;
    taken.add(id);
    return {
      id,
      folder: folder.id,
      folderName: folder.name,
      image: image.file,
      masks: masks.map((m) => m.file),
      className: classFrom(stem) ?? classOf(image.place),
      group: groupFrom(stem) ?? (uclm ? (stem.split('_')[0] as string) : patientOf(stem)),
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
