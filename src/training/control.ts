/**
 * @file The handle by which a running training is paused, continued and stopped from outside (a worker message, Ctrl-C). Imports nothing.
 */

export class TrainControl {
  private paused = false;
  private stopped = false;
  private wake: (() => void) | null = null;

  pause(): void {
    this.paused = true;
  }

  continue(): void {
    this.paused = false;
    this.wake?.();
  }

  /** Ends the run at the next optimiser step, with a checkpoint; also out of a pause. */
  stop(): void {
    this.stopped = true;
    this.wake?.();
  }

  get isPauseRequested(): boolean {
    return this.paused;
  }

  get isStopRequested(): boolean {
    return this.stopped;
  }

  /** Resolves when continued or stopped; at once when not paused. */
  async whilePaused(): Promise<void> {
    while (this.paused && !this.stopped) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = null;
    }
  }
}
