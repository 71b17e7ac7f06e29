/**
 * @file Whether the GPU device still tells the truth. May import lib.
 * After a loss, WebGPU operations "appear to succeed" and reads give zeros; an allocation that fails shows only as an
 * `uncapturederror` event (reference/reliability.md section 0, findings 2 and 3; reference/engine.md B7). So the events are recorded here,
 * and training asks before it believes a number or commits a checkpoint.
 */
import { yieldToEventLoop } from '../lib/async';
import { UserError } from '../lib/errors';

export interface DeviceHealth {
  /** Set once and for good when the device is gone; the worker must be replaced. */
  readonly lost: { readonly reason: string; readonly message: string } | null;
  /** The first error since the last check, for instance a failed allocation. */
  readonly error: string | null;
}

let device: GPUDevice | null = null;
let lost: { reason: string; message: string } | null = null;
let failure: { message: string; outOfMemory: boolean } | null = null;

/** Validation messages that mean "this buffer is larger than the adapter allows", which a smaller batch cures. */
const TOO_LARGE =
  /exceed(s|ed)? the max|larger than the max|max(Buffer|StorageBufferBinding)Size|maximum (storage )?buffer/i;

/** Records this device's loss and errors from now on; the state of an earlier device is forgotten. */
export function watchDevice(watched: GPUDevice): void {
  device = watched;
  lost = null;
  failure = null;
  void watched.lost.then((info) => {
    if (device === watched) lost = { reason: info.reason ?? 'unknown', message: info.message };
  });
  watched.addEventListener('uncapturederror', (event) => {
    event.preventDefault(); // recorded here, so that the console stays readable
    if (device !== watched || failure !== null) return;
    const { error } = event;
    const name = error.constructor.name;
    failure = {
      message: error.message,
      outOfMemory: name === 'GPUOutOfMemoryError' || TOO_LARGE.test(error.message),
    };
  });
}

/** No device to watch (the backend runs on the CPU). */
export function unwatchDevice(): void {
  device = null;
  lost = null;
  failure = null;
}

export function deviceHealth(): DeviceHealth {
  return { lost: lost === null ? null : { ...lost }, error: failure?.message ?? null };
}

/**
 * Throws what happened to the device since the last check: UserError 'gpu-lost' (for good), 'gpu-out-of-memory' or 'gpu-error'
 * (reported once, then forgotten, so that a smaller batch can be tried on the same device).
 */
export function assertDeviceHealthy(): void {
  if (lost !== null) {
    throw new UserError('gpu-lost', `The GPU device was lost (${lost.reason}): ${lost.message}`, {
      hint: 'Training continues from the last checkpoint once the GPU is back.',
    });
  }
  if (failure === null) return;
  const { message, outOfMemory } = failure;
  failure = null;
  if (outOfMemory) throw outOfMemoryError(message);
  throw new UserError('gpu-error', `The GPU reported an error: ${message}`, {
    hint: 'The results since the last checkpoint cannot be trusted. Resume from it, or try hardware.backend=wasm.',
  });
}

/** Waits until all submitted GPU work is done and its errors have arrived, then checks. Immediate on the CPU. */
export async function settleDevice(): Promise<void> {
  if (device !== null && lost === null) {
    // Rejected or never resolved by a lost device: the loss itself ends the wait.
    await Promise.race([device.queue.onSubmittedWorkDone().catch(() => undefined), device.lost]);
  }
  await yieldToEventLoop();
  assertDeviceHealthy();
}

/** The error every allocation failure becomes, on either backend. */
export function outOfMemoryError(message: string, cause?: unknown): UserError {
  return new UserError('gpu-out-of-memory', `Not enough memory for this step: ${message}`, {
    hint: 'Use a smaller training.batch_size or model.image_size, or a smaller model.',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Whether an error, ours or the platform's, means that an allocation failed. */
export function isOutOfMemory(error: unknown): boolean {
  if (error instanceof UserError) return error.code === 'gpu-out-of-memory';
  if (!(error instanceof Error)) return false;
  if (error.name === 'GPUOutOfMemoryError') return true;
  // createBuffer({mappedAtCreation}) and typed arrays throw RangeError; Emscripten aborts with these words.
  if (error instanceof RangeError && /alloc|buffer|memory|length/i.test(error.message)) return true;
  return /out of memory|cannot enlarge memory|OOM\b/i.test(error.message);
}
