/**
 * @file Counts what a step asks of WebGPU by wrapping the prototypes, whoever asks: dispatches, submits, live bytes of buffers, and when
 * the last submit returned. Install it before the device is requested.
 *
 * `dry` drops every submission: what then remains of a step is the JavaScript that prepares it, with no GPU work competing for the cores
 * (which is what a software adapter runs on). Weights are stale afterwards.
 */

class Meter {
  dispatches = 0;
  submits = 0;
  liveBytes = 0;
  peakBytes = 0;
  /** When the last submit returned, ms. */
  lastSubmit = 0;
  /** From making a command encoder with a compute pass to the return of its submit, ms, summed. */
  encodeMs = 0;
  dry = false;
  private encoderMade = 0;
  private computes = false;
  private uncounted: (() => void) | null = null;

  install(): void {
    this.count();
    this.times();
    this.bytes();
  }

  private count(): void {
    const pass = GPUComputePassEncoder.prototype;
    const { dispatchWorkgroups } = pass;
    const counted = (): void => {
      this.dispatches++;
    };
    pass.dispatchWorkgroups = function dispatch(...sizes): undefined {
      counted();
      return dispatchWorkgroups.apply(this, sizes);
    };
    this.uncounted = () => {
      pass.dispatchWorkgroups = dispatchWorkgroups;
    };
  }

  /** Dispatches are no longer counted: the wrapper would be a part of the JavaScript that is measured. */
  stopCounting(): void {
    this.uncounted?.();
  }

  private times(): void {
    const { createCommandEncoder } = GPUDevice.prototype;
    const made = (): void => {
      this.encoderMade = performance.now();
      this.computes = false;
    };
    GPUDevice.prototype.createCommandEncoder = function create(...args) {
      made();
      return createCommandEncoder.apply(this, args);
    };
    const { beginComputePass } = GPUCommandEncoder.prototype;
    const computes = (): void => {
      this.computes = true;
    };
    GPUCommandEncoder.prototype.beginComputePass = function begin(...args) {
      computes();
      return beginComputePass.apply(this, args);
    };
    const { submit } = GPUQueue.prototype;
    const isDry = (): boolean => this.dry;
    const submitted = (): void => {
      this.submits++;
      this.lastSubmit = performance.now();
      if (this.computes) this.encodeMs += this.lastSubmit - this.encoderMade;
      this.computes = false;
    };
    GPUQueue.prototype.submit = function submitOrDrop(buffers): undefined {
      if (!isDry()) submit.call(this, buffers);
      submitted();
    };
  }

  /** A buffer leaves the count at destroy(), or when it is collected without one. */
  private bytes(): void {
    const held = new WeakMap<GPUBuffer, { bytes: number }>();
    const release = (record: { bytes: number }): void => {
      this.liveBytes -= record.bytes;
      record.bytes = 0;
    };
    const collected = new FinalizationRegistry(release);
    const { createBuffer } = GPUDevice.prototype;
    const made = (buffer: GPUBuffer, bytes: number): void => {
      const record = { bytes };
      held.set(buffer, record);
      collected.register(buffer, record);
      this.liveBytes += bytes;
      this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    };
    GPUDevice.prototype.createBuffer = function create(description) {
      const buffer = createBuffer.call(this, description);
      made(buffer, description.size);
      return buffer;
    };
    const { destroy } = GPUBuffer.prototype;
    GPUBuffer.prototype.destroy = function destroyed(): undefined {
      const record = held.get(this);
      if (record !== undefined) release(record);
      return destroy.call(this);
    };
  }
}

export const meter = new Meter();
