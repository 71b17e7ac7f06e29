/**
 * @file An exported run zip, a .safetensors or a .pth becomes an 'imported' run that can be tested and trained on.
 * Imports formats, models, storage, training.
 */
import type { StudioConfig } from '../config/types';
import type { LabelSpec, Split } from '../data/types';
import { readTensorsFile } from '../formats/checkpointFile';
import type { TensorsFile } from '../formats/checkpointFile';
import { parseCsv } from '../formats/csv';
import type { TensorMap } from '../formats/tensor';
import { openZip } from '../formats/zip';
import type { ZipArchive } from '../formats/zip';
import { looksLikeZip } from '../formats/zipDirectory';
import { UserError } from '../lib/errors';
import { fitTensors } from '../models/load';
import { getModel } from '../models/registry';
import { resolveOutChannels } from '../nn/losses';
import { saveCheckpoint } from '../storage/checkpoints';
import { appendHistory, deleteRun, writeRun } from '../storage/runs';
import type { EpochRow, RunRecord } from '../storage/runs';
import { describedWeights } from '../training/exportWeights';
import type { WeightsDescription } from '../training/exportWeights';
import type { Checkpoint } from '../training/types';

interface Found {
  readonly fileName: string;
  readonly file: TensorsFile;
  readonly description: WeightsDescription | null;
  readonly split: Split;
  readonly epochs: readonly EpochRow[];
}

const NO_SPLIT: Split = {
  method: 'ratio',
  seed: 0,
  train: [],
  val: [],
  test: [],
  notes: ['no split in the file'],
};

/** Reads, checks, stores. Throws the readers' errors, 'import-empty', 'weights-unfit', 'weights-incomplete'. */
export async function importRun(file: File, fallback: StudioConfig): Promise<{ readonly runId: string }> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const found = readImport(bytes, file.name);
  const config = found.description?.config ?? fallback;
  const labels = found.description?.labels ?? binaryLabels(config);
  const tensors = completeWeights(found, config);
  const record = importedRecord(file.name, found, config, labels);
  await writeRun(record);
  try {
    await appendHistory(record.id, { epochs: found.epochs });
    await saveCheckpoint(importedCheckpoint(record, found, tensors), 1);
  } catch (error) {
    await deleteRun(record.id).catch(() => undefined); // nothing half-imported stays in the table
    throw error;
  }
  return { runId: record.id };
}

/** A run zip holds checkpoints; a .pth of torch.save is a zip too and has none. */
function readImport(bytes: Uint8Array, name: string): Found {
  if (looksLikeZip(bytes)) {
    const archive = openZip(bytes, name);
    const weights = archive.entries.filter((entry) =>
      /(^|\/)checkpoints\/[^/]+\.safetensors$/.test(entry.name),
    );
    const chosen = weights.find((entry) => /\/best_[^/]*$/.test(entry.name)) ?? weights[0];
    if (chosen) {
      const file = readTensorsFile(archive.read(chosen), `${name}/${chosen.name}`);
      return {
        fileName: name,
        file,
        description: describedWeights(file.metadata, chosen.name),
        split: splitOf(archive),
        epochs: epochsOf(archive),
      };
    }
    if (archive.entries.some((entry) => /(^|\/)config\.yaml$/.test(entry.name))) {
      throw new UserError('import-empty', `${name} holds a run without weights`, {
        subject: name,
        hint: 'Export the run again, with at least one checkpoint.',
      });
    }
  }
  const file = readTensorsFile(bytes, name);
  const description = describedWeights(file.metadata, name);
  return { fileName: name, file, description, split: NO_SPLIT, epochs: [] };
}

function entryText(archive: ZipArchive, fileName: string): string | null {
  const entry = archive.entries.find(({ name }) => name === fileName || name.endsWith(`/${fileName}`));
  return entry ? new TextDecoder().decode(archive.read(entry)) : null;
}

function splitOf(archive: ZipArchive): Split {
  const text = entryText(archive, 'splits.json');
  if (text === null) return NO_SPLIT;
  try {
    const [first] = JSON.parse(text) as [Partial<Record<'train' | 'val' | 'test', unknown>>];
    const ids = (value: unknown): string[] =>
      Array.isArray(value) ? value.filter((id) => typeof id === 'string') : [];
    return {
      method: 'ratio',
      seed: 0,
      train: ids(first.train),
      val: ids(first.val),
      test: ids(first.test),
      notes: ['as in the imported run'],
    };
  } catch (cause) {
    throw new UserError('file-corrupt', `splits.json in ${archive.name} is damaged`, {
      subject: archive.name,
      cause,
    });
  }
}

/** metrics.csv back to rows: step, epoch, then one column per metric; empty cells are left out. */
function epochsOf(archive: ZipArchive): EpochRow[] {
  const text = entryText(archive, 'metrics.csv');
  if (text === null) return [];
  const [header = [], ...rows] = parseCsv(text, 'metrics.csv');
  return rows.flatMap((row) => {
    const metrics: Record<string, number> = {};
    header.forEach((key, i) => {
      const value = row[i];
      if (i >= 2 && value !== undefined && value !== '') metrics[key] = Number(value);
    });
    const [step, epoch] = [Number(row[0]), Number(row[1])];
    return Number.isFinite(step) && Number.isFinite(epoch) ? [{ step, epoch, metrics }] : [];
  });
}

/** Every tensor of the model, or an error: an imported run must give the numbers it was exported with. */
function completeWeights(found: Found, config: StudioConfig): TensorMap {
  const model = getModel(config.model.name);
  const architecture = model.architecture(config.model, resolveOutChannels(config));
  const { tensors, report } = fitTensors(model, architecture, found.file.tensors, found.fileName);
  const absent = [...report.missing, ...report.mismatched.map((one) => one.name)];
  if (absent.length > 0) {
    throw new UserError(
      'weights-incomplete',
      `${found.fileName} lacks ${absent.length} tensors of ${config.model.name}`,
      {
        subject: absent[0] ?? found.fileName,
        hint: 'To start a training from it, choose it as pretrained weights on the Train screen.',
      },
    );
  }
  return tensors;
}

function binaryLabels(config: StudioConfig): LabelSpec {
  const names = Array.from({ length: config.model.num_classes }, (_, i) =>
    i === 0 ? 'background' : config.model.num_classes === 2 ? 'foreground' : `label ${i}`,
  );
  return { names, encoding: { kind: 'threshold', threshold: config.data.threshold } };
}

function importedRecord(fileName: string, found: Found, config: StudioConfig, labels: LabelSpec): RunRecord {
  const { description } = found;
  const now = Date.now();
  const last = found.epochs.at(-1);
  return {
    id: crypto.randomUUID(),
    name: fileName.replace(/\.(zip|safetensors|pth|pt|bin)$/i, ''),
    model: config.model.name,
    datasetId: '',
    datasetName: '',
    createdAt: now,
    updatedAt: now,
    status: 'completed',
    epoch: description?.epoch ?? last?.epoch ?? 0,
    epochs: config.training.num_epochs,
    step: last?.step ?? 0,
    best:
      description === null || description.valDice === null
        ? null
        : { epoch: description.epoch, dice: description.valDice },
    last: last?.metrics ?? null,
    config,
    labels,
    split: found.split,
    device: null,
    error: null,
    bytes: 0,
    origin: 'imported',
    initial: null,
  };
}

function importedCheckpoint(record: RunRecord, found: Found, weights: TensorMap): Checkpoint {
  const tensors: TensorMap = new Map();
  for (const [name, tensor] of weights) tensors.set(`weights.${name}`, tensor);
  return {
    kind: 'best',
    config: record.config,
    labels: record.labels,
    split: record.split,
    tensors,
    state: {
      schema: 1,
      runId: record.id,
      epoch: record.epoch,
      batchInEpoch: 0,
      step: record.step,
      epochLossSum: 0,
      epochTermSums: {},
      epochImages: 0,
      best: record.best,
      earlyStopping: { best: null, counter: 0 },
      plateau: null,
      counters: {},
      history: [...found.epochs],
      device: { backend: 'cpu', name: 'imported', software: true, reason: found.fileName },
    },
  };
}
