/**
 * @file What a user takes home: the run folder, weights, predictions, the case table. Runs in the file worker; no TensorFlow.js.
 * Imports training (run folder, weight files), storage.
 */
import { version } from '../../package.json';
import { UserError } from '../lib/errors';
import { checkpointTitle, listCheckpoints } from '../storage/checkpointRows';
import { loadCheckpoint } from '../storage/checkpoints';
import { listEvaluations, readEvaluation, readHistory, readRun } from '../storage/runs';
import type { RunRecord } from '../storage/runs';
import { checkpointWeights } from '../training/checkpoint';
import { exportPth, exportSafetensors, weightsName } from '../training/exportWeights';
import { casesCsv, predictionFiles, runFiles, runFolderPath, testFiles } from '../training/runFolder';
import type { FolderFile } from '../training/runFolder';
import type { CheckpointInfo } from '../training/types';
import { deliver } from './output';
import type { OutputFile } from './output';
import type { Exported, PayloadOf, FileRequests } from './protocol';

/** Text compresses well, weights and pictures do not. */
function output({ path, bytes }: FolderFile): OutputFile {
  return { path, data: bytes, compress: /\.(csv|json|yaml|log|md)$/.test(path) };
}

async function requireRun(id: string): Promise<RunRecord> {
  const run = await readRun(id);
  if (run) return run;
  throw new UserError('run-missing', 'This run is no longer in this browser', { subject: id });
}

/** The run folder as a zip, or below a directory under the framework's path. */
export async function exportRun(
  { runId, directory }: PayloadOf<FileRequests, 'exportRun'>,
  say: (message: string) => void,
): Promise<Exported> {
  const run = await requireRun(runId);
  const path = runFolderPath(run.config, run.datasetName || run.name, run.createdAt);
  const name = path.split('/').slice(1).join('_');
  return deliver(name, directory, runContents(run, say));
}

async function* runContents(run: RunRecord, say: (message: string) => void): AsyncGenerator<OutputFile> {
  const history = await readHistory(run.id);
  const { name, config, labels, split, device, best } = run;
  const { steps, epochs, log } = history;
  say('Tables and logs');
  const description = {
    name,
    config,
    labels,
    split,
    device,
    best,
    version,
    startedAt: run.createdAt,
    steps,
    epochs,
    log,
  };
  for (const file of runFiles(description)) yield output(file);
  const seen = new Set<string>();
  for (const info of await listCheckpoints(run.id)) {
    const stem = weightsStem(info);
    if (seen.has(stem)) continue; // newest first
    seen.add(stem);
    say(checkpointTitle(info));
    for (const format of ['safetensors', 'pth'] as const) {
      yield { path: `checkpoints/${stem}.${format}`, data: await weightsBytes(info.id, format) };
    }
  }
  const test = (await listEvaluations()).find((row) => row.runId === run.id);
  const result = test ? await readEvaluation(test.id) : null;
  if (!result) return;
  say(result.title);
  const { convention, resolution, threshold } = result;
  const used = { ...config, evaluation: { ...config.evaluation, convention, resolution, threshold } };
  for (const file of testFiles({ ...result, config: used, summary: result.summary })) yield output(file);
}

function weightsStem(info: CheckpointInfo): string {
  return weightsName(info.kind, { epoch: info.epoch, valDice: info.valDice });
}

async function weightsBytes(checkpointId: string, format: 'safetensors' | 'pth'): Promise<Uint8Array> {
  const { checkpoint, info } = await loadCheckpoint(checkpointId);
  const weights = checkpointWeights(checkpoint);
  if (format === 'pth') return exportPth(weights);
  const { config, labels } = checkpoint;
  return exportSafetensors(weights, { config, labels, epoch: info.epoch, valDice: info.valDice });
}

export async function exportWeights({
  checkpointId,
  format,
}: PayloadOf<FileRequests, 'exportWeights'>): Promise<Exported> {
  const info = (await listCheckpoints()).find((row) => row.id === checkpointId);
  const data = await weightsBytes(checkpointId, format); // says so when it is missing or damaged
  const stem = info ? weightsStem(info) : checkpointId;
  return { name: `${stem}.${format}`, blob: new Blob([data as Uint8Array<ArrayBuffer>]) };
}

export async function exportPredictions({
  evaluationId,
  threshold,
  directory,
}: PayloadOf<FileRequests, 'exportPredictions'>): Promise<Exported> {
  const result = await readEvaluation(evaluationId);
  if (!result) throw new UserError('evaluation-missing', 'This test result is no longer in this browser');
  const files = predictionFiles(result.cases, threshold).map(({ path, bytes }) => ({
    path: path.replace(/^predictions\//, ''),
    data: bytes,
  }));
  return deliver('predictions', directory, files);
}

export async function exportCases({ cases }: PayloadOf<FileRequests, 'exportCases'>): Promise<Exported> {
  const data = casesCsv(cases) as Uint8Array<ArrayBuffer>;
  return { name: 'cases.csv', blob: new Blob([data], { type: 'text/csv' }) };
}
