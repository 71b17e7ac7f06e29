/**
 * @file The page's one train worker: made when first needed, replaced when it dies or another backend is asked for. Imports lib.
 * The worker is the only chunk with TensorFlow.js in it.
 */
import type { BackendChoice } from '../config/types';
import type { DeviceInfo } from '../gpu/device';
import { UserError } from '../lib/errors';
import { SILENCE_MS, WorkerClient } from './client';
import type { TrainRequests } from './protocol';

/** WASM and software adapters may compute one step for minutes on the worker's own thread: no heartbeat meanwhile. */
const BUSY_SILENCE_MS = 15 * 60_000;

export type TrainClient = WorkerClient<TrainRequests>;

export interface StartedWorker {
  readonly client: TrainClient;
  readonly device: DeviceInfo;
}

export class TrainHost {
  private started: Promise<StartedWorker> | null = null;
  private client: TrainClient | null = null;
  private choice = '';
  private pinned = false;
  private readonly deviceListeners = new Set<(device: DeviceInfo | null) => void>();

  constructor(private readonly create: () => TrainClient) {}

  /**
   * The worker with its backend running; another choice of backend replaces it, unless a run is being trained on it.
   * Rejects with 'no-webgpu', 'no-wasm', 'gpu-busy', or what killed the worker.
   */
  start(backend: BackendChoice, threads: number | 'auto'): Promise<StartedWorker> {
    if (!this.pinned) return this.startAs(backend, threads);
    if (this.started && this.client?.death === null) return this.started;
    const error = new UserError('gpu-busy', 'A run is waiting for the GPU', { hint: 'Stop the run first.' });
    return Promise.reject(error);
  }

  /** Keeps the worker for one run from here to `release`; the run itself starts workers with `startAs`. */
  pin(): () => void {
    this.pinned = true;
    return () => {
      this.pinned = false;
    };
  }

  /** For the run that pinned the worker. */
  startAs(backend: BackendChoice, threads: number | 'auto'): Promise<StartedWorker> {
    const choice = `${backend}/${threads}`;
    if (this.started && this.client?.death === null && this.choice === choice) return this.started;
    this.client?.die();
    const client = this.create();
    client.silenceMs = BUSY_SILENCE_MS; // loading and compiling; set below once the backend is known
    this.client = client;
    this.choice = choice;
    const started = client.request('start', { backend, threads }).then((device) => {
      client.silenceMs = device.backend === 'webgpu' && !device.software ? SILENCE_MS : BUSY_SILENCE_MS;
      this.tell(client, device);
      return { client, device };
    });
    client.onDeath(() => this.forget(client));
    started.catch(() => {
      if (this.client === client) client.die();
    });
    this.started = started;
    return started;
  }

  /** The running worker, or null: for pause, stop and the like. */
  get current(): TrainClient | null {
    return this.client?.death === null ? this.client : null;
  }

  /** Ends the worker at once; the next `start` makes a new one. */
  kill(): void {
    this.client?.die();
  }

  onDevice(listener: (device: DeviceInfo | null) => void): void {
    this.deviceListeners.add(listener);
  }

  private forget(client: TrainClient): void {
    if (this.client !== client) return;
    this.client = null;
    this.started = null;
    for (const listener of this.deviceListeners) listener(null);
  }

  private tell(client: TrainClient, device: DeviceInfo): void {
    if (this.client !== client) return;
    for (const listener of this.deviceListeners) listener(device);
  }
}

export const trainHost = new TrainHost(
  () =>
    new WorkerClient<TrainRequests>(
      new Worker(new URL('./train.worker.ts', import.meta.url), { type: 'module', name: 'train' }),
      'train worker',
    ),
);
