/**
 * @file What a training says, kept: lines on the terminal, and the run folder rewritten after every epoch, so that a killed
 * process leaves its curves. Imports training, Node.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { StudioConfig } from '../config/types';
import type { LabelSpec, Split } from '../data/types';
import type { DeviceInfo } from '../gpu/device';
import { describeMemoryPlan } from '../training/memoryParts';
import { runFiles, type FolderFile, type RunDescription } from '../training/runFolder';
import type { StepRecord, TrainEvent, TrainState } from '../training/types';
import { bar, say } from './console';

const VERSION = '0.1.0';

/** What a run leaves in its folder; an earlier run's is moved, not mixed. */
const RUN_ENTRIES = [
  'config.yaml',
  'metrics.csv',
  'training.log',
  'environment.json',
  'splits.json',
  'tensorboard',
  'README.md',
  'checkpoints',
  'cases.csv',
  'summary.json',
  'predictions',
];

/** Writes files below `root`, each complete or not at all (a temporary name, then a rename). */
export function writeFiles(root: string, files: readonly FolderFile[]): void {
  for (const { path: relative, bytes } of files) {
    const target = path.join(root, relative);
    mkdirSync(path.dirname(target), { recursive: true });
    writeFileSync(`${target}.partial`, bytes);
    renameSync(`${target}.partial`, target);
  }
}

/** A fresh start in a folder that holds a run: that run goes to earlier/<time>, nothing is lost or mixed. Returns where, or null. */
export function setEarlierRunAside(out: string, now: number): string | null {
  if (!existsSync(path.join(out, 'checkpoints')) && !existsSync(path.join(out, 'metrics.csv'))) return null;
  const aside = path.join(out, 'earlier', new Date(now).toISOString().replaceAll(':', '-'));
  mkdirSync(aside, { recursive: true });
  for (const name of RUN_ENTRIES) {
    const from = path.join(out, name);
    if (existsSync(from)) renameSync(from, path.join(aside, name));
  }
  return aside;
}

export interface RecordedRun {
  readonly out: string;
  readonly config: StudioConfig;
  readonly labels: LabelSpec;
  readonly split: Split;
  readonly device: DeviceInfo;
  readonly startedAt: number; // ms since 1970
  readonly resumed: TrainState | null;
}

const shown = (v: number | undefined): string => (v === undefined || Number.isNaN(v) ? 'n/a' : v.toFixed(4));

export class RunRecorder {
  private epochs: RunDescription['epochs'];
  private best: RunDescription['best'];
  private readonly steps: StepRecord[] = [];
  private readonly log: { level: string; message: string; at: number }[] = [];
  /** training.log of the part before a resume. */
  private readonly earlierLog: Uint8Array;

  constructor(private readonly run: RecordedRun) {
    this.epochs = run.resumed?.history ?? [];
    this.best = run.resumed?.best ?? null;
    const file = path.join(run.out, 'training.log');
    this.earlierLog =
      run.resumed !== null && existsSync(file) ? new Uint8Array(readFileSync(file)) : new Uint8Array();
  }

  /** Says a line and keeps it for training.log. */
  note(message: string, level: 'info' | 'warning' = 'info'): void {
    this.log.push({ level, message, at: Date.now() });
    say(message);
  }

  /** The run folder as of now. */
  write(): void {
    const { out, resumed, ...run } = this.run;
    const describe = (epochs: RunDescription['epochs']): FolderFile[] =>
      runFiles({
        ...run,
        name: path.basename(path.resolve(out)),
        version: VERSION,
        epochs,
        steps: this.steps,
        log: this.log,
        best: this.best,
      });
    const isEvents = (f: FolderFile): boolean => f.path.startsWith('tensorboard/');
    // TensorBoard merges the event files of a folder: a resumed part writes only its own epochs.
    const own = this.epochs.filter((e) => e.epoch > (resumed?.epoch ?? 0));
    const files = [
      ...describe(this.epochs).filter((f) => !isEvents(f)),
      ...describe(own).filter((f) => isEvents(f)),
    ];
    writeFiles(
      out,
      files.map((f) =>
        f.path === 'training.log' ? { ...f, bytes: Buffer.concat([this.earlierLog, f.bytes]) } : f,
      ),
    );
  }

  /** One line per epoch; a bar meanwhile on a terminal. */
  emit(event: TrainEvent): void {
    switch (event.type) {
      case 'prepared':
        this.note(
          `${this.run.config.model.name}: ${event.parameters.toLocaleString('en')} parameters (${event.trainable.toLocaleString('en')} trained), ${event.trainCases} training and ${event.valCases} validation cases`,
        );
        if (event.planned !== null) this.note(describeMemoryPlan(event.planned));
        break;
      case 'stepsEnded':
        this.steps.push(...event.records);
        this.showSteps(event.records.at(-1));
        break;
      case 'validating':
        bar('validating', event.done, event.total);
        break;
      case 'epochEnded':
        this.endEpoch(event);
        break;
      case 'checkpointFailed':
        this.note(`The checkpoint was not saved: ${event.error.message}`, 'warning');
        break;
      case 'log':
        if (event.level === 'warning') this.note(event.message, 'warning');
        break;
      case 'ended':
        this.note(
          `${event.reason}: best validation Dice ${shown(event.bestDice ?? Number.NaN)} at epoch ${event.bestEpoch ?? '–'}`,
        );
        break;
      case 'failed':
        this.fail(event);
        break;
      default:
        break;
    }
  }

  private showSteps(last: StepRecord | undefined): void {
    if (last === undefined) return;
    const speed = `loss ${shown(last.loss)}  ${last.imagesPerSecond.toFixed(1)} images/s`;
    bar(`epoch ${last.epoch}`, last.batch, last.batches, speed);
  }

  private endEpoch(event: Extract<TrainEvent, { type: 'epochEnded' }>): void {
    const { epoch, step, metrics: m } = event;
    this.epochs = [...this.epochs, { epoch, step, metrics: m }];
    if (event.isBest) this.best = { epoch, dice: m['val/dice'] ?? Number.NaN };
    this.note(
      `epoch ${epoch}/${event.epochs}  train loss ${shown(m['train/loss'])}  val loss ${shown(m['val/loss'])}  val Dice ${shown(m['val/dice'])}  val IoU ${shown(m['val/iou'])}  lr ${(m['lr'] ?? 0).toExponential(2)}  ${(m['time/epoch_s'] ?? 0).toFixed(1)} s${event.isBest ? '  best' : ''}`,
    );
    // The curves matter less than the training: the next epoch tries again.
    try {
      this.write();
    } catch (error) {
      this.note(`The run folder could not be written: ${(error as Error).message}`, 'warning');
    }
  }

  private fail(event: Extract<TrainEvent, { type: 'failed' }>): void {
    this.log.push({ level: 'error', message: event.error.message, at: Date.now() });
    const last = event.lastCheckpoint;
    if (last !== null)
      this.note(
        `The last checkpoint is from epoch ${last.epoch}, step ${last.step}; resume=true goes on from it`,
      );
    this.write();
  }
}
