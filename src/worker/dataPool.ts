/**
 * @file A few data workers behind one interface: folders and data sets are handed to each once, inspection is spread over them,
 * a worker that died is replaced and told again. Imports lib.
 */
import type { Dataset, LabelSpec, OriginalSample, SampleFacts } from '../data/types';
import { UserError } from '../lib/errors';
import type { FolderAccess } from '../storage/types';
import { WorkerClient } from './client';
import type { DataRequests, FolderRequests, Rescored, Thumbnail } from './protocol';

type DataClient = WorkerClient<DataRequests>;

/** Dropped files per message, and samples per inspection request: each well under 50 ms of the page's time. */
const FILES_PER_MESSAGE = 1000;
const SAMPLES_PER_REQUEST = 32;

/** Hands a folder over to a worker without one long structured clone. */
export async function sendFolder(client: WorkerClient<FolderRequests>, access: FolderAccess): Promise<void> {
  if (access.kind !== 'files' || access.files.length <= FILES_PER_MESSAGE) {
    await client.request('openFolders', { folders: [access] });
    return;
  }
  await client.request('openFolders', { folders: [{ ...access, files: [] }] });
  for (let at = 0; at < access.files.length; at += FILES_PER_MESSAGE) {
    const files = access.files.slice(at, at + FILES_PER_MESSAGE);
    await client.request('addFiles', { folderId: access.id, files });
  }
}

interface Attached {
  readonly dataset: Dataset;
  labels: LabelSpec | null;
}

interface Lane {
  client: DataClient;
  /** Settles when this worker knows everything it was told. */
  ready: Promise<void>;
}

export class DataPool {
  private lanes: Lane[] = [];
  private folders: readonly FolderAccess[] = [];
  private attached: Attached | null = null;

  constructor(
    private readonly create: () => DataClient,
    private readonly size: number,
  ) {}

  /** Enumerates and pairs all folders in one worker; the data set is then known to every worker. */
  async scan(
    folders: readonly FolderAccess[],
    options: { readonly signal: AbortSignal; readonly onFiles: (files: number) => void },
  ): Promise<Dataset> {
    this.folders = folders;
    this.attached = null;
    for (const lane of this.lanes) lane.client.die();
    this.lanes = Array.from({ length: this.size }, () => this.lane());
    const first = this.lanes[0] as Lane;
    await first.ready;
    const dataset = await first.client.request(
      'scan',
      { folderIds: folders.map((folder) => folder.id) },
      { signal: options.signal, onProgress: ({ files }) => options.onFiles(files) },
    );
    this.attached = { dataset, labels: null };
    for (const lane of this.lanes) {
      lane.ready = lane.ready.then(async () => {
        await lane.client.request('attach', { dataset });
      });
      lane.ready.catch(() => undefined);
    }
    return dataset;
  }

  /** How masks are read from now on. */
  setLabels(labels: LabelSpec): void {
    const attached = this.attached;
    if (!attached) return;
    attached.labels = labels;
    for (const lane of this.lanes) {
      lane.ready = lane.ready.then(async () => {
        await lane.client.request('setLabels', { datasetId: attached.dataset.id, labels });
      });
      lane.ready.catch(() => undefined);
    }
  }

  /** Decodes and describes samples on all workers; facts arrive in batches, in no particular order. */
  async inspect(
    ids: readonly string[],
    options: { readonly signal: AbortSignal; readonly onFacts: (facts: readonly SampleFacts[]) => void },
  ): Promise<void> {
    let next = 0;
    const work = async (lane: Lane): Promise<void> => {
      while (next < ids.length && !options.signal.aborted) {
        const chunk = ids.slice(next, next + SAMPLES_PER_REQUEST);
        next += SAMPLES_PER_REQUEST;
        await this.ask(lane, (client, datasetId) =>
          client.request(
            'inspect',
            { datasetId, ids: chunk },
            { signal: options.signal, onProgress: ({ facts }) => options.onFacts(facts) },
          ),
        );
      }
    };
    await Promise.all(this.lanes.map(work));
    if (options.signal.aborted) throw new UserError('aborted', 'The operation was stopped');
  }

  thumbnail(id: string, edge: number): Promise<Thumbnail> {
    return this.ask(this.idlest(), (client, datasetId) =>
      client.request('thumbnail', { datasetId, id, edge }),
    );
  }

  original(id: string): Promise<OriginalSample> {
    return this.ask(this.idlest(), (client, datasetId) => client.request('original', { datasetId, id }));
  }

  atSize(id: string, size: number): Promise<OriginalSample> {
    return this.ask(this.idlest(), (client, datasetId) => client.request('atSize', { datasetId, id, size }));
  }

  rescore(
    evaluationId: string,
    threshold: number,
    options: { readonly signal: AbortSignal; readonly onProgress: (done: number, total: number) => void },
  ): Promise<Rescored> {
    return this.ask(this.idlest(), (client, datasetId) =>
      client.request(
        'rescore',
        { evaluationId, datasetId, threshold },
        { signal: options.signal, onProgress: ({ done, total }) => options.onProgress(done, total) },
      ),
    );
  }

  /** Runs a request on a lane; when its worker has died, once more on a new one. */
  private async ask<T>(
    lane: Lane | undefined,
    send: (client: DataClient, datasetId: string) => Promise<T>,
  ): Promise<T> {
    const attached = this.attached;
    if (!lane || !attached) throw new UserError('no-dataset', 'No data set is open');
    const { client } = lane;
    try {
      await lane.ready;
      return await send(client, attached.dataset.id);
    } catch (error) {
      if (client.death === null || client.death.code === 'aborted') throw error;
      if (lane.client === client) this.revive(lane);
      await lane.ready;
      return send(lane.client, attached.dataset.id);
    }
  }

  private idlest(): Lane | undefined {
    // The last of equals: inspection starts with the first.
    return this.lanes.reduce<Lane | undefined>(
      (best, lane) => (best === undefined || lane.client.busy <= best.client.busy ? lane : best),
      undefined,
    );
  }

  private lane(): Lane {
    const client = this.create();
    const ready = this.teach(client);
    ready.catch(() => undefined); // reported by the request that needs it
    return { client, ready };
  }

  private revive(lane: Lane): void {
    const fresh = this.lane();
    lane.client = fresh.client;
    lane.ready = fresh.ready;
  }

  private async teach(client: DataClient): Promise<void> {
    const attached = this.attached;
    for (const folder of this.folders) await sendFolder(client, folder);
    if (!attached) return;
    await client.request('attach', { dataset: attached.dataset });
    if (attached.labels) {
      await client.request('setLabels', { datasetId: attached.dataset.id, labels: attached.labels });
    }
  }
}

/** Two workers leave a core for the page on small machines; more than four gain nothing over the disk. */
function poolSize(): number {
  const cores = (globalThis.navigator as Navigator | undefined)?.hardwareConcurrency ?? 2;
  return Math.max(1, Math.min(4, cores - 1));
}

/** A pool of real workers. */
export function createDataPool(): DataPool {
  return new DataPool(
    () =>
      new WorkerClient<DataRequests>(
        new Worker(new URL('./data.worker.ts', import.meta.url), { type: 'module', name: 'data' }),
        'data worker',
      ),
    poolSize(),
  );
}
