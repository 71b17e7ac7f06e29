/**
 * @file What training events do to the live view: pure, testable in Node. Imports types only.
 * Step and epoch rows live in plain arrays that grow in place; `LiveSeries.version` tells readers that they did.
 */
import type { EpochRow, RunHistory } from '../../storage/runs';
import type { StepRecord, TrainEvent } from '../../training/types';
import type { LiveSeries, TrainingState } from './types';

export type LiveView = Pick<
  TrainingState,
  | 'status'
  | 'device'
  | 'epoch'
  | 'step'
  | 'latest'
  | 'validating'
  | 'etaSeconds'
  | 'memory'
  | 'planned'
  | 'best'
  | 'endReason'
  | 'series'
  | 'panels'
  | 'log'
  | 'lastCheckpoint'
  | 'error'
  | 'recovery'
>;

const PANEL_EPOCHS = 50;
const LOG_ROWS = 1000;

/** Nothing trained yet. */
export function emptyLive(): LiveView {
  return {
    status: 'idle',
    device: null,
    epoch: 0,
    step: 0,
    latest: null,
    validating: null,
    etaSeconds: null,
    memory: null,
    planned: null,
    best: null,
    endReason: null,
    series: { version: 0, steps: [], epochs: [] },
    panels: [],
    log: [],
    lastCheckpoint: null,
    error: null,
    recovery: null,
  };
}

/** The view of a stored run, before new events arrive. */
export function liveFromHistory(history: RunHistory): LiveView {
  const latest = history.steps.at(-1) ?? null;
  const last = history.epochs.at(-1);
  return {
    ...emptyLive(),
    epoch: Math.max(last?.epoch ?? 0, latest?.epoch ?? 0),
    step: Math.max(last?.step ?? 0, latest?.step ?? 0),
    latest,
    series: { version: 1, steps: [...history.steps], epochs: [...history.epochs] },
    panels: history.panels.slice(-PANEL_EPOCHS),
    log: history.log.slice(-LOG_ROWS),
  };
}

/** Applies a batch of events in order; returns a new view (the series' arrays are the same ones, grown). */
export function applyEvents(view: LiveView, events: readonly TrainEvent[], watching: boolean): LiveView {
  let next = view;
  for (const event of events) next = { ...next, ...change(next, event) };
  if (watching && (next.status === 'running' || next.status === 'paused'))
    next = { ...next, status: 'watching' };
  return next;
}

function change(view: LiveView, event: TrainEvent): Partial<LiveView> {
  switch (event.type) {
    case 'prepared':
      return {
        status: 'running',
        device: event.device,
        planned: event.planned,
        error: null,
        recovery: null,
        endReason: null,
        lastCheckpoint: event.resumedFrom ?? view.lastCheckpoint,
        series: trim(view.series, event.resumedFrom?.step ?? 0, event.resumedFrom?.epoch ?? 0),
        step: event.resumedFrom?.step ?? 0,
        epoch: event.resumedFrom?.epoch ?? 0,
      };
    case 'stepsEnded':
      return steps(view, event.records);
    case 'epochEnded':
      return {
        series: grow(view.series, [], [{ epoch: event.epoch, step: event.step, metrics: event.metrics }]),
        epoch: event.epoch,
        step: event.step,
        etaSeconds: event.etaSeconds,
        memory: event.memory,
        validating: null,
        best: event.isBest
          ? { epoch: event.epoch, dice: event.metrics['val/dice'] ?? view.best?.dice ?? 0 }
          : view.best,
      };
    case 'panelsDrawn': {
      const others = view.panels.filter((row) => row.epoch < event.epoch);
      return { panels: [...others, { epoch: event.epoch, panels: event.panels }].slice(-PANEL_EPOCHS) };
    }
    case 'validating':
      return { validating: { done: event.done, total: event.total } };
    case 'log':
      return {
        log: [...view.log, { level: event.level, message: event.message, at: event.at }].slice(-LOG_ROWS),
      };
    case 'checkpointSaved':
      return { lastCheckpoint: event.info, error: null };
    case 'checkpointFailed':
      return { error: event.error, log: logError(view, event.error.message) };
    case 'paused':
      return { status: 'paused', validating: null };
    case 'continued':
      return { status: 'running' };
    case 'ended':
      return {
        status: 'ended',
        endReason: event.reason,
        etaSeconds: 0,
        validating: null,
        best:
          event.bestEpoch === null || event.bestDice === null
            ? view.best
            : { epoch: event.bestEpoch, dice: event.bestDice },
      };
    case 'failed':
      return {
        status: 'failed',
        error: event.error,
        validating: null,
        etaSeconds: null,
        lastCheckpoint: event.lastCheckpoint ?? view.lastCheckpoint,
        log: logError(view, event.error.message),
      };
  }
}

function logError(view: LiveView, message: string): LiveView['log'] {
  return [...view.log, { level: 'error' as const, message, at: Date.now() }].slice(-LOG_ROWS);
}

function steps(view: LiveView, records: readonly StepRecord[]): Partial<LiveView> {
  const latest = records.at(-1);
  if (!latest) return {};
  return {
    series: grow(view.series, records, []),
    latest,
    step: latest.step,
    epoch: latest.epoch,
    validating: null,
  };
}

function grow(series: LiveSeries, records: readonly StepRecord[], epochs: readonly EpochRow[]): LiveSeries {
  const stepRows = series.steps as StepRecord[];
  const epochRows = series.epochs as EpochRow[];
  for (const record of records) stepRows.push(record);
  for (const row of epochs) epochRows.push(row);
  return { version: series.version + 1, steps: stepRows, epochs: epochRows };
}

/** Drops what came after the checkpoint a run goes on from: those steps are taken again. */
export function trim(series: LiveSeries, step: number, epoch: number): LiveSeries {
  return {
    version: series.version + 1,
    steps: series.steps.filter((record) => record.step <= step),
    epochs: series.epochs.filter((row) => row.epoch <= epoch),
  };
}

/** Collects events and hands them over once per animation frame, or within 250 ms where frames do not come (hidden tabs). */
export class EventBatcher {
  private events: TrainEvent[] = [];
  private scheduled = false;

  constructor(private readonly deliver: (events: readonly TrainEvent[]) => void) {}

  push(event: TrainEvent): void {
    this.events.push(event);
    if (this.scheduled) return;
    this.scheduled = true;
    const flush = (): void => this.flush();
    if (typeof requestAnimationFrame === 'function') requestAnimationFrame(flush);
    setTimeout(flush, 250);
  }

  /** Delivers at once what is waiting. */
  flush(): void {
    this.scheduled = false;
    if (this.events.length === 0) return;
    const events = this.events;
    this.events = [];
    this.deliver(events);
  }
}
