/**
 * @file studio train: trains, tests the test split, leaves a run folder. Imports training, models, formats, Node.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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
import { runFiles, runFolderPath, type FolderFile } from '../../training/runFolder';
import { runTraining } from '../../training/trainer';
import type { StepRecord, TrainEvent } from '../../training/types';
import { bar, say } from '../console';
import { FileCheckpoints } from '../fileCheckpoints';
import { nodePlatform } from '../nodePlatform';
import { alignClasses, openData } from '../openData';
import { testWeights } from './test';

const VERSION = '0.1.0';

export function writeFiles(root: string, files: readonly FolderFile[]): void {
  for (const { path: relative, bytes } of files) {
    const target = path.join(root, relative);
    mkdirSync(path.dirname(target), { recursive: true });
    writeFileSync(target, bytes);
  }
}

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

export async function train(given: StudioConfig): Promise<number> {
  const startedAt = Date.now();
  const device = await startBackend(given.hardware.backend, nodePlatform, given.hardware.threads);
  say(`Device: ${device.name}. ${device.reason}`);
  const data = await openData(given);
  const config = alignClasses(given, data.labels);
  const out = config.output_dir ?? runFolderPath(config, data.dataset.name, startedAt);
  const checkpoints = new FileCheckpoints(out, config.checkpointing.keep_last);
  const resume = config.resume ? await checkpoints.newest(say) : null;
  if (config.resume && resume === null)
    throw new UserError('nothing-to-resume', `resume=true: ${out} has no checkpoint`, {
      subject: 'output_dir',
      hint: 'Leave out resume=true to start.',
    });
  const initial = resume === null ? pretrained(config) : null;
  if (resume !== null) say(`Resuming after epoch ${resume.info.epoch}, step ${resume.info.step}`);

  const control = new TrainControl();
  let interrupted = false;
  const stop = (): void => {
    if (interrupted) process.exit(130); // a second Ctrl-C does not wait
    interrupted = true;
    say('Stopping after this step; a checkpoint is kept');
    control.stop();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);

  const log: { level: string; message: string; at: number }[] = [];
  const note = (message: string): void => {
    log.push({ level: 'info', message, at: Date.now() });
    say(message);
  };
  const steps: StepRecord[] = [];
  const onEvent = (event: TrainEvent): void => report(event, config, steps, note);
  const outcome = await runTraining({
    runId: resume?.checkpoint.state.runId ?? path.basename(path.resolve(out)),
    config,
    labels: data.labels,
    split: resume?.checkpoint.split ?? data.split,
    reader: data.reader,
    device,
    initial,
    resume,
    checkpoints,
    events: { emit: onEvent },
    control,
  });

  const { state } = outcome;
  const name = path.basename(path.resolve(out));
  const split = resume?.checkpoint.split ?? data.split;
  writeFiles(
    out,
    runFiles({
      name,
      config,
      labels: data.labels,
      split,
      device,
      version: VERSION,
      startedAt,
      epochs: state.history,
      steps,
      log,
      best: state.best,
    }),
  );
  if (interrupted) {
    say(
      `Interrupted after epoch ${state.epoch}, step ${state.step}. Go on with the same command and resume=true`,
    );
    return 130;
  }
  const best = await checkpoints.best();
  if (best === null)
    throw new UserError('checkpoint-missing', 'No checkpoint could be written', { subject: out });
  const weights = checkpointWeights(best.checkpoint);
  const valDice = best.checkpoint.state.best?.dice ?? null;
  const description: WeightsDescription = { config, labels: data.labels, epoch: best.info.epoch, valDice };
  const stem = `checkpoints/${weightsName('best', description)}`;
  const safetensors = exportSafetensors(weights, description);
  writeFiles(out, [
    { path: `${stem}.safetensors`, bytes: safetensors },
    { path: `${stem}.pth`, bytes: exportPth(weights) },
    { path: 'checkpoints/best.safetensors', bytes: safetensors },
  ]);
  say(`Weights: ${path.join(out, stem)}.safetensors and .pth (${formatBytes(safetensors.length)})`);
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

/** One line per epoch; a bar meanwhile on a terminal. */
function report(
  event: TrainEvent,
  config: StudioConfig,
  steps: StepRecord[],
  note: (line: string) => void,
): void {
  const f = (v: number | undefined): string => (v === undefined || Number.isNaN(v) ? 'n/a' : v.toFixed(4));
  switch (event.type) {
    case 'prepared':
      note(
        `${config.model.name}: ${event.parameters.toLocaleString('en')} parameters (${event.trainable.toLocaleString('en')} trained), ${event.trainCases} training and ${event.valCases} validation cases`,
      );
      break;
    case 'stepsEnded': {
      steps.push(...event.records);
      const last = event.records.at(-1);
      if (last !== undefined)
        bar(
          `epoch ${last.epoch}`,
          last.batch,
          last.batches,
          `loss ${f(last.loss)}  ${last.imagesPerSecond.toFixed(1)} images/s`,
        );
      break;
    }
    case 'validating':
      bar('validating', event.done, event.total);
      break;
    case 'epochEnded': {
      const m = event.metrics;
      note(
        `epoch ${event.epoch}/${event.epochs}  train loss ${f(m['train/loss'])}  val loss ${f(m['val/loss'])}  val Dice ${f(m['val/dice'])}  val IoU ${f(m['val/iou'])}  lr ${(m['lr'] ?? 0).toExponential(2)}  ${(m['time/epoch_s'] ?? 0).toFixed(1)} s${event.isBest ? '  best' : ''}`,
      );
      break;
    }
    case 'checkpointFailed':
      note(`The checkpoint was not saved: ${event.error.message}`);
      break;
    case 'log':
      if (event.level === 'warning') note(event.message);
      break;
    case 'ended':
      note(
        `${event.reason}: best validation Dice ${f(event.bestDice ?? Number.NaN)} at epoch ${event.bestEpoch ?? '–'}`,
      );
      break;
    case 'failed':
      if (event.lastCheckpoint !== null)
        note(
          `The last checkpoint is from epoch ${event.lastCheckpoint.epoch}, step ${event.lastCheckpoint.step}; resume=true goes on from it`,
        );
      break;
    default:
      break;
  }
}
