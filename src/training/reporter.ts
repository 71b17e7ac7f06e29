/**
 * @file Batches step records so that the page is told at most four times a second. Imports nothing.
 */
import type { StepNumbers } from './session';
import type { EventSink, StepRecord } from './types';

const INTERVAL_MS = 250;

type Step = StepNumbers &
  Pick<StepRecord, 'step' | 'epoch' | 'batch' | 'batches' | 'lr'> & { readonly images: number };

export class StepReporter {
  private pending: StepRecord[] = [];
  private lastStep: number;
  private lastTold: number;

  constructor(
    private readonly events: EventSink,
    private readonly now: () => number,
  ) {
    this.lastStep = now();
    this.lastTold = now() - INTERVAL_MS;
  }

  /** Starts the clock anew: what lay between (validation, a pause) belongs to no step. */
  restart(): void {
    this.lastStep = this.now();
  }

  record(step: Step): void {
    const at = this.now();
    const stepMs = at - this.lastStep;
    this.lastStep = at;
    const { images, ...rest } = step;
    this.pending.push({ ...rest, stepMs, imagesPerSecond: (images * 1000) / Math.max(stepMs, 1e-3) });
    if (at - this.lastTold >= INTERVAL_MS) this.flush();
  }

  flush(): void {
    if (this.pending.length === 0) return;
    this.events.emit({ type: 'stepsEnded', records: this.pending });
    this.pending = [];
    this.lastTold = this.now();
  }
}
