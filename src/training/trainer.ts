/**
 * @file The training loop: epochs of optimiser steps, validation, checkpoints, early stopping. Imports data, nn, gpu health.
 * Its position is a handful of numbers (TrainState), and everything random is a function of them, so a run resumed from any
 * checkpoint, in mid-epoch too, computes the same bits as one that was never interrupted.
 */
import type { StudioConfig } from '../config/types';
import type { LabelSpec, SampleReader, Split } from '../data/types';
import type { TensorMap } from '../formats/tensor';
import { assertDeviceHealthy, deviceHealth, isOutOfMemory, settleDevice } from '../gpu/health';
import type { DeviceInfo } from '../gpu/device';
import { memoryUse, trimMemory } from '../gpu/memory';
import { yieldToEventLoop } from '../lib/async';
import { toPlainError, UserError } from '../lib/errors';
import { learningRate } from '../nn/schedules';
import { BatchSource, type TrainBatch } from './batches';
import { checkpointMoments, checkpointWeights } from './checkpoint';
import { assertUsableWeights } from './guards';
import { fittingBatchSize } from './dryRun';
import { describeMemoryPlan, type MemoryPlan } from './memoryParts';
import { planMemory } from './memoryPlan';
import { StepReporter } from './reporter';
import { TrainingSession, type StepNumbers } from './session';
import { closeEpoch, resumedState, startState } from './state';
import type { TrainControl } from './control';
import type { Checkpoint, CheckpointInfo, CheckpointSink, EventSink, TrainState } from './types';
import { validate } from './validate';

export interface TrainRequest {
  readonly runId: string;
  readonly config: StudioConfig;
  readonly labels: LabelSpec;
  readonly split: Split;
  readonly reader: SampleReader;
  readonly device: DeviceInfo;
  /** Pretrained tensors under the model's names (models/load.ts); ignored when resuming. */
  readonly initial: TensorMap | null;
  readonly resume: { readonly checkpoint: Checkpoint; readonly info: CheckpointInfo } | null;
  readonly checkpoints: CheckpointSink;
  readonly events: EventSink;
  readonly control: TrainControl;
  /** Milliseconds; only for reports. */
  readonly now?: () => number;
}

export interface TrainOutcome {
  readonly reason: 'completed' | 'early-stopped' | 'stopped';
  readonly state: TrainState;
}

/** Turns of the event loop given to a device loss to show itself after an error. */
const LOSS_YIELDS = 50;

/**
 * Trains until the epochs are done, early stopping strikes, or the control stops it. Emits 'failed' and rejects on errors:
 * 'no-training-cases', 'loss-not-finite' (names the batch), 'gpu-out-of-memory' (says what fits), 'gpu-lost'.
 */
export async function runTraining(request: TrainRequest): Promise<TrainOutcome> {
  let run: Run | null = null;
  try {
    const { config, split } = request;
    // Before anything is made: tensors that the device cannot bind are told without trying.
    const planned = planMemory(config, { train: split.train.length, validation: split.val.length });
    run = new Run(request);
    return await run.run(planned);
  } catch (error) {
    const explained = await explain(error, request, run);
    request.events.emit({
      type: 'failed',
      error: toPlainError(explained),
      lastCheckpoint: run?.lastCheckpoint ?? request.resume?.info ?? null,
    });
    throw explained;
  } finally {
    run?.dispose();
    trimMemory(); // tfjs keeps freed buffers for ever; the next run may need others
  }
}

/** A lost device explains whatever failed; out of memory: frees the run and finds the batch size that fits. */
async function explain(error: unknown, request: TrainRequest, run: Run | null): Promise<unknown> {
  const lost = await deviceLoss(error);
  if (lost !== null) return lost;
  if (!isOutOfMemory(error)) return error;
  run?.dispose();
  trimMemory();
  const asked = request.config.training.batch_size;
  const fits = await fittingBatchSize(request.config, Math.floor(asked / 2)).catch(() => 0);
  return new UserError(
    'gpu-out-of-memory',
    `Not enough memory for training.batch_size=${asked} at ${request.config.model.image_size} pixels`,
    {
      subject: 'training.batch_size',
      hint:
        fits > 0
          ? `training.batch_size=${fits} fits; training.accumulation_steps=${Math.ceil(asked / fits)} keeps the effective batch.`
          : 'Not even one image fits: use a smaller model or model.image_size.',
      cause: error,
    },
  );
}

/** The read-back that failed is often told before the loss is: lets the events of the device arrive. */
async function deviceLoss(cause: unknown): Promise<UserError | null> {
  for (let i = 0; i < LOSS_YIELDS && deviceHealth().lost === null; i++) await yieldToEventLoop();
  const { lost } = deviceHealth();
  if (lost === null) return null;
  return new UserError('gpu-lost', `The GPU device was lost (${lost.reason}): ${lost.message}`, {
    hint: 'Training continues from the last checkpoint once the GPU is back.',
    cause,
  });
}

class Run {
  lastCheckpoint: CheckpointInfo | null;
  private readonly session: TrainingSession;
  private readonly batches: BatchSource;
  private readonly reporter: StepReporter;
  private readonly now: () => number;
  private readonly panelIds: ReadonlySet<string>;
  private state: TrainState;
  private epochStarted = 0;
  private epochSeconds: number[] = [];
  private savedStep = -1;
  private lastBatch: readonly string[] = [];
  private disposed = false;

  constructor(private readonly request: TrainRequest) {
    const { config, split, resume } = request;
    if (split.train.length === 0) {
      throw new UserError('no-training-cases', 'The training split is empty', { subject: 'data.split' });
    }
    if (request.labels.names.length > config.model.num_classes) {
      throw new UserError(
        'labels-differ',
        `The masks have ${request.labels.names.length} labels (${request.labels.names.join(', ')}), the model predicts ${config.model.num_classes}`,
        { subject: 'model.num_classes', hint: `Use model.num_classes=${request.labels.names.length}.` },
      );
    }
    this.now = request.now ?? (() => performance.now());
    this.lastCheckpoint = resume?.info ?? null;
    this.session = new TrainingSession(
      config,
      resume === null ? request.initial : checkpointWeights(resume.checkpoint),
    );
    try {
      if (resume !== null) this.session.optimizer.load(checkpointMoments(resume.checkpoint));
    } catch (error) {
      this.session.dispose();
      throw error;
    }
    this.batches = new BatchSource(config, split.train, request.reader);
    this.panelIds = new Set(evenlySpaced(split.val, config.evaluation.panel_cases));
    this.state =
      resume === null
        ? startState(request.runId, config, request.device)
        : resumedState(resume.checkpoint, request.runId, config, request.device);
    this.savedStep = resume === null ? -1 : this.state.step;
    this.reporter = new StepReporter(request.events, this.now);
  }

  async run(planned: MemoryPlan | null): Promise<TrainOutcome> {
    const { config, events, split } = this.request;
    events.emit({
      type: 'prepared',
      device: this.request.device,
      parameters: this.session.store.elementCounts().parameters,
      trainable: this.session.trainableElements,
      trainCases: split.train.length,
      valCases: split.val.length,
      planned,
      resumedFrom: this.request.resume?.info ?? null,
    });
    this.log(`${this.request.device.name}: ${this.request.device.reason}`);
    if (planned !== null) this.log(describeMemoryPlan(planned));
    while (this.state.epoch < config.training.num_epochs) {
      if (this.isEarlyStopped()) return this.end('early-stopped');
      const finished = await this.epoch();
      if (!finished) return this.end('stopped');
    }
    return this.end(this.isEarlyStopped() ? 'early-stopped' : 'completed');
  }

  /** One epoch from where the state says; false when stopped before its end. */
  private async epoch(): Promise<boolean> {
    const { config, control } = this.request;
    const epoch = this.state.epoch; // 0-based
    const groups = this.batches.groups(epoch);
    const perStep = config.training.accumulation_steps;
    this.epochStarted = this.now();
    // Up: the last group of an epoch may be short, and a run stopped in its validation stands after it.
    const firstGroup = Math.ceil(this.state.batchInEpoch / perStep);
    let next = groups.length > firstGroup ? this.batches.load(epoch, groups[firstGroup] ?? []) : null;
    for (let g = firstGroup; g < groups.length; g++) {
      if (!(await this.obeyControl(control))) return false;
      const batch = await (next ?? this.batches.load(epoch, groups[g] ?? []));
      const following = groups[g + 1];
      next = following === undefined ? null : this.batches.load(epoch, following);
      next?.catch(() => undefined); // surfaces when awaited
      await this.step(batch, g, groups.length);
      const every = config.checkpointing.every_steps;
      if (every !== null && this.state.step % every === 0 && g + 1 < groups.length) await this.save('last');
    }
    this.reporter.flush();
    if (!(await this.obeyControl(control))) return false;
    return this.endEpoch();
  }

  /** Waits out a pause (with a checkpoint); false when to stop. */
  private async obeyControl(control: TrainControl): Promise<boolean> {
    if (control.isPauseRequested && !control.isStopRequested) {
      this.reporter.flush();
      await this.save('interrupt');
      this.request.events.emit({ type: 'paused', step: this.state.step });
      await control.whilePaused();
      if (!control.isStopRequested) this.request.events.emit({ type: 'continued', step: this.state.step });
      this.reporter.restart();
    }
    if (!control.isStopRequested) return true;
    this.reporter.flush();
    await this.save('interrupt');
    return false;
  }

  /** Of the step after `stepsDone` in the running epoch. */
  private learningRate(stepsDone: number, stepsPerEpoch: number): number {
    const { epoch, plateau } = this.state;
    return learningRate(this.request.config, { epoch, step: Math.max(0, stepsDone), stepsPerEpoch }, plateau);
  }

  private async step(batch: TrainBatch, group: number, groups: number): Promise<void> {
    const { config } = this.request;
    const { state } = this;
    const lr = this.learningRate(state.step, groups);
    // Keys of random masks: distinct for every micro-batch of the run.
    const passKey = state.step * config.training.accumulation_steps;
    this.lastBatch = batch.ids;
    const numbers = await this.session.step(batch.parts, lr, state.step, passKey);
    this.assertFinite(numbers);
    assertDeviceHealthy();
    const termSums = { ...state.epochTermSums };
    for (const [name, value] of Object.entries(numbers.terms)) {
      termSums[name] = (termSums[name] ?? 0) + value * batch.ids.length;
    }
    const done = Math.min((group + 1) * config.training.accumulation_steps, this.batches.batchesPerEpoch);
    this.state = {
      ...state,
      step: state.step + 1,
      batchInEpoch: done,
      epochLossSum: state.epochLossSum + numbers.loss * batch.ids.length,
      epochTermSums: termSums,
      epochImages: state.epochImages + batch.ids.length,
    };
    this.reporter.record({
      step: this.state.step,
      epoch: state.epoch + 1,
      batch: group + 1,
      batches: groups,
      images: batch.ids.length,
      lr,
      ...numbers,
    });
    await yieldToEventLoop();
  }

  /** Checked on the host: WGSL may assume that there is no NaN (reference/reliability.md section 0, finding 7). */
  private assertFinite({ loss, gradNorm }: StepNumbers): void {
    if (Number.isFinite(loss) && Number.isFinite(gradNorm)) return;
    assertDeviceHealthy(); // a lost device explains it better
    const what = Number.isFinite(loss) ? `gradient norm is ${gradNorm}` : `loss is ${loss}`;
    throw new UserError('loss-not-finite', `The ${what} ${this.where(1)}`, {
      subject: this.lastBatch.join(', '),
      hint: 'The last checkpoint is intact. Lower training.base_lr, set training.gradient_clip, or look at the images named.',
    });
  }

  /** "at step 12 (epoch 3); batch: ...": the step `ahead` of those done. */
  private where(ahead = 0): string {
    const { step, epoch, batchInEpoch } = this.state;
    const current = ahead === 0 && batchInEpoch === 0 ? epoch : epoch + 1; // just closed, or under way
    return `at step ${step + ahead} (epoch ${current}); batch: ${this.lastBatch.join(', ')}`;
  }

  private async endEpoch(): Promise<boolean> {
    const { config, control, events, split, reader } = this.request;
    const result = await validate({
      session: this.session,
      reader,
      ids: split.val,
      panelIds: this.panelIds,
      onProgress: (done) => events.emit({ type: 'validating', done, total: split.val.length }),
      isStopped: () => control.isStopRequested,
    });
    if (result === null) {
      // Stopped during validation: the checkpoint stands after the last step; resuming repeats the validation.
      await this.save('interrupt');
      return false;
    }
    await settleDevice();
    const seconds = (this.now() - this.epochStarted) / 1000;
    this.epochSeconds.push(seconds);
    const lr = this.learningRate(this.state.step - 1, this.batches.groups(this.state.epoch).length);
    const { state, metrics, isBest } = closeEpoch(this.state, result, {
      config,
      labels: this.request.labels,
      lr,
      seconds,
    });
    this.state = state;
    this.reporter.restart();
    events.emit({
      type: 'epochEnded',
      epoch: this.state.epoch,
      epochs: config.training.num_epochs,
      step: this.state.step,
      metrics,
      isBest,
      etaSeconds: this.eta(),
      memory: memoryUse(),
    });
    events.emit({ type: 'panelsDrawn', epoch: this.state.epoch, panels: result.panels });
    const last = this.state.epoch >= config.training.num_epochs || this.isEarlyStopped();
    if (isBest) await this.save('best');
    else if (last || this.state.epoch % config.checkpointing.every_epochs === 0) await this.save('last');
    return true;
  }

  private isEarlyStopped(): boolean {
    const { early_stopping: s } = this.request.config;
    return s.enabled && this.request.split.val.length > 0 && this.state.earlyStopping.counter >= s.patience;
  }

  /** Saves; a failure to store is told and training goes on, unusable weights end the run. */
  private async save(kind: Checkpoint['kind']): Promise<void> {
    if (kind === 'interrupt' && this.savedStep === this.state.step && this.state.batchInEpoch === 0) return;
    await settleDevice();
    const tensors = await this.session.toTensorMap();
    assertDeviceHealthy();
    assertUsableWeights(tensors, this.where());
    const { config, labels, split, events } = this.request;
    const state: TrainState = { ...this.state, counters: this.session.store.counters };
    try {
      const info = await this.request.checkpoints.save({ kind, state, config, labels, split, tensors });
      this.lastCheckpoint = info;
      this.savedStep = this.state.step;
      events.emit({ type: 'checkpointSaved', info });
    } catch (error) {
      events.emit({ type: 'checkpointFailed', error: toPlainError(error) });
    }
  }

  private eta(): number {
    const recent = this.epochSeconds.slice(-5);
    const mean = recent.reduce((a, b) => a + b, 0) / Math.max(1, recent.length);
    return mean * (this.request.config.training.num_epochs - this.state.epoch);
  }

  private end(reason: TrainOutcome['reason']): TrainOutcome {
    const { best, epoch } = this.state;
    this.reporter.flush();
    this.request.events.emit({
      type: 'ended',
      reason,
      bestEpoch: best?.epoch ?? null,
      bestDice: best?.dice ?? null,
      epoch,
    });
    return { reason, state: this.state };
  }

  private log(message: string): void {
    this.request.events.emit({ type: 'log', level: 'info', message, at: Date.now() });
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.session.dispose();
  }
}

/** `count` items spread over the list, the same ones every time. */
function evenlySpaced<T>(items: readonly T[], count: number): T[] {
  const n = Math.min(count, items.length);
  return Array.from({ length: n }, (_, i) => items[Math.floor((i * items.length) / n)] as T);
}
