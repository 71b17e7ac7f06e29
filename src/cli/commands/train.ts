/**
 * @file studio train: trains, tests the test split, leaves a run folder. Imports training, models, formats, Node.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { StudioConfig } from '../../config/types';
import { readTensorsFile } from '../../formats/checkpointFile';
import type { TensorMap } from '../../formats/tensor';
import { startBackend } from '../../gpu/backend';
import { formatBytes } from '../../lib/bytes';
import { UserError } from '../../lib/errors';
import { fitTensors } from '../../models/load';
import { getModel } from '../../models/registry';
import { resolveOutChannels } from '../../nn/losses';
import { checkpointWeights } from '../../training/checkpoint';
import { TrainControl } from '../../training/control';
import {
  exportPth,
  exportSafetensors,
  weightsName,
  type WeightsDescription,
} from '../../training/exportWeights';
import { runFolderPath } from '../../training/runFolder';
import { runTraining, type TrainOutcome, type TrainRequest } from '../../training/trainer';
import { say } from '../console';
import { FileCheckpoints } from '../fileCheckpoints';
import { nodePlatform } from '../nodePlatform';
import { alignClasses, openData, type OpenData } from '../openData';
import { RunRecorder, setEarlierRunAside, writeFiles } from '../runRecorder';
import { testWeights } from './test';

/** Pretrained tensors of model.checkpoint, with the counts of the load report said. */
function pretrained(config: StudioConfig): TensorMap | null {
  const file = config.model.checkpoint;
  if (file === null) return null;
  if (!existsSync(file))
    throw new UserError('file-missing', `model.checkpoint=${file}: there is no such file`, { subject: file });
  const model = getModel(config.model.name);
  const { tensors } = readTensorsFile(new Uint8Array(readFileSync(file)), path.basename(file));
  const fitted = fitTensors(
    model,
    model.architecture(config.model, resolveOutChannels(config)),
    tensors,
    path.basename(file),
  );
  const r = fitted.report;
  say(
    `${r.file} (${r.recognisedAs}): ${r.loaded.length} loaded, ${r.missing.length} missing, ${r.unexpected.length} unexpected, ${r.reshaped.length} reshaped, ${r.mismatched.length} of another shape`,
  );
  for (const m of r.mismatched)
    say(`  not loaded: ${m.name}: file [${m.file.join(', ')}], model [${m.model.join(', ')}]`);
  return fitted.tensors;
}

/** The checkpoint that resume=true goes on from. Throws UserError 'nothing-to-resume'. */
async function resumePoint(config: StudioConfig): Promise<TrainRequest['resume']> {
  const out = config.output_dir;
  if (out === null)
    throw new UserError('nothing-to-resume', 'resume=true needs the output_dir of the run to go on with', {
      subject: 'output_dir',
      hint: 'Add output_dir=OUT.',
    });
  const hint = 'Leave out resume=true to start.';
  if (!FileCheckpoints.exist(out))
    throw new UserError('nothing-to-resume', `resume=true: ${out} has no checkpoint`, {
      subject: 'output_dir',
      hint,
    });
  const found = await new FileCheckpoints(out, config.checkpointing.keep_last).newest(say);
  if (found === null)
    throw new UserError('nothing-to-resume', `resume=true: no checkpoint in ${out} is whole`, {
      subject: 'output_dir',
      hint,
    });
  const before = found.checkpoint.config.model;
  const { model } = config;
  if (before.name !== model.name || before.image_size !== model.image_size)
    throw new UserError(
      'resume-differs',
      `resume=true: ${out} is a run of ${before.name} at ${before.image_size} pixels, not ${model.name} at ${model.image_size}`,
      { subject: 'model', hint: 'Give the same command as before.' },
    );
  return found;
}

/** Throws UserError 'resume-differs' when the data no longer hold a case of the checkpoint's split. */
function assertSameCases(data: OpenData, split: OpenData['split']): void {
  const known = new Set(data.dataset.samples.map((s) => s.id));
  const gone = [...split.train, ...split.val, ...split.test].filter((id) => !known.has(id));
  if (gone.length > 0)
    throw new UserError(
      'resume-differs',
      `resume=true: ${gone.length} cases of the run are gone (${gone[0]})`,
      {
        subject: gone[0] as string,
        hint: 'Give the data that the run was started with.',
      },
    );
}

/** Trains; Ctrl-C stops after the step under way, with a checkpoint, a second one at once. */
async function trainUntilStopped(request: Omit<TrainRequest, 'control'>): Promise<TrainOutcome> {
  const control = new TrainControl();
  const stop = (): void => {
    if (control.isStopRequested) process.exit(130);
    say('Stopping after this step; a checkpoint is kept');
    control.stop();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    return await runTraining({ ...request, control });
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}

/** Best weights as safetensors and .pth; returns them. The files say nothing of this machine's folders. */
async function exportBest(
  out: string,
  config: StudioConfig,
  labels: OpenData['labels'],
  checkpoints: FileCheckpoints,
): Promise<TensorMap> {
  const best = await checkpoints.best();
  if (best === null)
    throw new UserError('checkpoint-missing', 'No checkpoint could be written', { subject: out });
  const weights = checkpointWeights(best.checkpoint);
  const description: WeightsDescription = {
    config: {
      ...config,
      output_dir: null,
      resume: false,
      model: { ...config.model, checkpoint: null },
      data: { ...config.data, root: null, test_root: null },
    },
    labels,
    epoch: best.info.epoch,
    valDice: best.checkpoint.state.best?.dice ?? null,
  };
  const stem = `checkpoints/${weightsName('best', description)}`;
  const safetensors = exportSafetensors(weights, description);
  writeFiles(out, [
    { path: `${stem}.safetensors`, bytes: safetensors },
    { path: `${stem}.pth`, bytes: exportPth(weights) },
    { path: 'checkpoints/best.safetensors', bytes: safetensors },
  ]);
  say(`Weights: ${path.join(out, stem)}.safetensors and .pth (${formatBytes(safetensors.length)})`);
  return weights;
}

/** Returns the exit code: 0 when trained and tested, 130 when interrupted (a checkpoint is kept). */
export async function train(given: StudioConfig): Promise<number> {
  const startedAt = Date.now();
  const resume = given.resume ? await resumePoint(given) : null;
  const device = await startBackend(given.hardware.backend, nodePlatform, given.hardware.threads);
  say(`Device: ${device.name}. ${device.reason}`);
  const data = await openData(given, resume === null ? {} : { labels: resume.checkpoint.labels });
  const config = alignClasses(given, data.labels);
  const split = resume?.checkpoint.split ?? data.split;
  if (resume !== null) assertSameCases(data, split);
  const initial = resume === null ? pretrained(config) : null;
  const out = config.output_dir ?? runFolderPath(config, data.dataset.name, startedAt);
  const aside = resume === null ? setEarlierRunAside(out, startedAt) : null;
  if (aside !== null) say(`${out} held a run already: it was moved to ${aside}`);
  const checkpoints = new FileCheckpoints(out, config.checkpointing.keep_last);
  const { labels } = data;
  const resumed = resume?.checkpoint.state ?? null;
  const recorder = new RunRecorder({ out, config, labels, split, device, startedAt, resumed });
  if (resume !== null) recorder.note(`Resuming after epoch ${resume.info.epoch}, step ${resume.info.step}`);
  if (
    resumed !== null &&
    (resumed.device.backend !== device.backend || resumed.device.name !== device.name)
  ) {
    recorder.note(
      `The run goes on with ${device.name} after ${resumed.device.name}: not bit-identical from here`,
    );
  }
  const { reason, state } = await trainUntilStopped({
    runId: resumed?.runId ?? path.basename(path.resolve(out)),
    config,
    labels,
    split,
    reader: data.reader,
    device,
    initial,
    resume,
    checkpoints,
    events: recorder,
  });
  recorder.write();
  if (reason === 'stopped') {
    say(
      `Interrupted after epoch ${state.epoch}, step ${state.step}. Go on with the same command, output_dir=${out} and resume=true`,
    );
    return 130;
  }
  const weights = await exportBest(out, config, labels, checkpoints);
  if (split.test.length > 0)
    await testWeights({
      config,
      weights,
      data,
      ids: split.test,
      out,
      title: `test split, ${split.test.length} cases`,
    });
  say(`Run folder: ${out}`);
  return 0;
}
