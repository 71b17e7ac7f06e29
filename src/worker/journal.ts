/**
 * @file Writes a run's events to storage from the worker, so that a killed page loses nothing, and shows them to other tabs.
 * Imports lib and storage. Writes are queued one after the other and never awaited by training; the run's end waits for them.
 */
import { toPlainError } from '../lib/errors';
import { appendHistory, patchRun, truncateHistory } from '../storage/runs';
import type { EpochRow, HistoryRows, LogRow, PanelRow, RunRecord } from '../storage/runs';
import type { EventSink, StepRecord, TrainEvent } from '../training/types';
import { CHANNEL } from './channel';
import type { TabMessage } from './protocol';

const FLUSH_MS = 1000;

/** What an event changes in the run's record; null when nothing. */
export function recordPatch(event: TrainEvent): ((run: RunRecord) => Partial<RunRecord>) | null {
  switch (event.type) {
    case 'prepared':
      return () => ({ status: 'running', device: event.device, error: null });
    case 'epochEnded':
      return (run) => ({
        epoch: event.epoch,
        epochs: event.epochs,
        step: event.step,
        last: event.metrics,
        best: event.isBest
          ? { epoch: event.epoch, dice: event.metrics['val/dice'] ?? run.best?.dice ?? 0 }
          : run.best,
      });
    case 'checkpointSaved':
      return (run) => ({ step: Math.max(run.step, event.info.step) });
    case 'paused':
      return () => ({ status: 'paused', step: event.step });
    case 'continued':
      return () => ({ status: 'running' });
    case 'ended':
      return (run) => ({
        status: event.reason,
        epoch: event.epoch,
        best:
          event.bestEpoch === null || event.bestDice === null
            ? run.best
            : { epoch: event.bestEpoch, dice: event.bestDice },
      });
    case 'failed':
      return () => ({ status: 'failed', error: event.error });
    default:
      return null;
  }
}

/** What an event adds to the history. */
export function historyRows(event: TrainEvent): HistoryRows {
  switch (event.type) {
    case 'stepsEnded':
      return { steps: event.records };
    case 'epochEnded':
      return { epochs: [{ epoch: event.epoch, step: event.step, metrics: event.metrics }] };
    case 'panelsDrawn':
      return { panels: [{ epoch: event.epoch, panels: event.panels }] };
    case 'log':
      return { log: [{ level: event.level, message: event.message, at: event.at }] };
    case 'checkpointFailed':
    case 'failed':
      return { log: [{ level: 'error', message: event.error.message, at: Date.now() }] };
    default:
      return {};
  }
}

/** The sink of one run: forwards at once, stores soon. */
export class RunJournal implements EventSink {
  private readonly channel = new BroadcastChannel(CHANNEL);
  private steps: StepRecord[] = [];
  private epochs: EpochRow[] = [];
  private log: LogRow[] = [];
  private panels: PanelRow[] = [];
  private queue: Promise<unknown> = Promise.resolve();
  private flushedAt = 0;
  private complained = false;

  constructor(
    private readonly runId: string,
    private readonly forward: (event: TrainEvent) => void,
  ) {}

  /** Drops the history after the checkpoint the run goes on from. */
  async begin(resumed: { readonly step: number; readonly epoch: number } | null): Promise<void> {
    await truncateHistory(this.runId, resumed?.step ?? 0, resumed?.epoch ?? 0);
  }

  emit(event: TrainEvent): void {
    this.forward(event);
    this.tell({ kind: 'train', runId: this.runId, event });
    const rows = historyRows(event);
    this.steps.push(...(rows.steps ?? []));
    this.epochs.push(...(rows.epochs ?? []));
    this.log.push(...(rows.log ?? []));
    this.panels.push(...(rows.panels ?? []));
    const patch = recordPatch(event);
    // No timer: events arrive several times a second while there is anything to lose.
    if (patch || performance.now() - this.flushedAt > FLUSH_MS) this.flush();
    if (patch) {
      this.enqueue(async () => {
        await patchRun(this.runId, patch);
        this.tell({ kind: 'runs' });
      });
    }
  }

  /** Writes what is left and waits for all of it. */
  async close(): Promise<void> {
    this.flush();
    await this.queue;
    this.channel.close();
  }

  private tell(message: TabMessage): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a BroadcastChannel has none
    this.channel.postMessage(message);
  }

  private flush(): void {
    this.flushedAt = performance.now();
    const rows: HistoryRows = {
      steps: this.steps,
      epochs: this.epochs,
      log: this.log,
      panels: this.panels,
    };
    this.steps = [];
    this.epochs = [];
    this.log = [];
    this.panels = [];
    if ([rows.steps, rows.epochs, rows.log, rows.panels].every((list) => list?.length === 0)) return;
    this.enqueue(() => appendHistory(this.runId, rows));
  }

  private enqueue(write: () => Promise<unknown>): void {
    this.queue = this.queue.then(write).catch((error: unknown) => {
      // A full disk must not stop training; checkpoints report their own failures. Said once.
      if (this.complained) return;
      this.complained = true;
      const { message } = toPlainError(error);
      this.forward({
        type: 'log',
        level: 'warning',
        message: `The run's history could not be stored: ${message}`,
        at: Date.now(),
      });
    });
  }
}
