/**
 * @file One run from the page's side: hands data to the worker, trains, and after a lost GPU or a crash starts a new worker that
 * resumes from the last checkpoint, without a click. Imports worker client, storage.
 */
import type { Dataset } from '../../data/types';
import { UserError } from '../../lib/errors';
import type { FolderAccess } from '../../storage/types';
import { listCheckpoints } from '../../storage/checkpointRows';
import type { RunRecord } from '../../storage/runs';
import { sendFolder } from '../../worker/dataPool';
import { withJobLock } from '../../worker/locks';
import { supervise, waitFor } from '../../worker/supervisor';
import { trainHost } from '../../worker/trainHost';
import type { StartedWorker } from '../../worker/trainHost';
import type { TrainEvent } from '../../training/types';

/** The files a run reads. */
export interface JobData {
  readonly folders: readonly FolderAccess[];
  readonly dataset: Dataset;
}

export interface TrainJob {
  readonly run: RunRecord;
  readonly data: JobData;
  readonly resume: string | null;
  readonly signal: AbortSignal;
  readonly onEvent: (event: TrainEvent) => void;
  readonly onWaiting: (state: { attempt: number; delayMs: number; error: UserError }) => void;
}

export type JobEnd = 'completed' | 'early-stopped' | 'stopped';

/** Hands the folders to the train worker, each once per worker. */
const handed = new WeakMap<object, Set<string>>();
export async function handFolders(started: StartedWorker, folders: readonly FolderAccess[]): Promise<void> {
  const known = handed.get(started.client) ?? new Set<string>();
  handed.set(started.client, known);
  for (const folder of folders) {
    const key = `${folder.id}/${folder.name}/${folder.testOnly}`;
    if (known.has(key)) continue;
    await sendFolder(started.client, folder);
    known.add(key);
  }
}

/** Only the samples a request needs: a worker need not be sent 10,000 to test on 20. */
export function narrowDataset(dataset: Dataset, ids: Iterable<string>): Dataset {
  const wanted = new Set(ids);
  return {
    ...dataset,
    samples: dataset.samples.filter((sample) => wanted.has(sample.id)),
    foldTables: [],
    problems: [],
  };
}

/** Trains a run to its end. Rejects with the first error that starting again cannot help. */
export function runTrainJob(job: TrainJob): Promise<JobEnd> {
  return withJobLock(job.run.id, async () => {
    const release = trainHost.pin();
    try {
      return await superviseJob(job);
    } finally {
      release();
    }
  });
}

async function superviseJob(job: TrainJob): Promise<JobEnd> {
  const { run, data } = job;
  const { split, config } = run;
  const dataset = narrowDataset(data.dataset, [...split.train, ...split.val]);
  let resume = job.resume;
  let saves = 0;
  let backend = config.hardware.backend;

  const attempt = async (n: number): Promise<JobEnd> => {
    // The worker may have saved a checkpoint whose announcement was lost with it.
    if (n > 0) resume = (await newestSince(run.id, resume)) ?? resume;
    const started = await trainHost.startAs(backend, config.hardware.threads);
    if (started.device.backend === 'webgpu') backend = 'webgpu'; // a retry must not slip to the CPU unasked
    await handFolders(started, data.folders);
    const { reason } = await started.client.request(
      'train',
      {
        runId: run.id,
        config,
        data: { folderIds: data.folders.map((folder) => folder.id), dataset, labels: run.labels },
        split,
        resume,
        initial: run.initial,
      },
      {
        onProgress: (event) => {
          if (event.type === 'checkpointSaved') {
            saves++;
            resume = event.info.id;
          }
          job.onEvent(event);
        },
      },
    );
    return reason;
  };

  return supervise({
    run: attempt,
    progress: () => saves,
    onWaiting: (state) => {
      trainHost.kill(); // its device is gone; the next attempt makes a new one
      job.onWaiting(state);
    },
    wait: waitFor,
    signal: job.signal,
  });
}

async function newestSince(runId: string, known: string | null): Promise<string | null> {
  const all = await listCheckpoints(runId);
  const newest = all[0];
  const current = all.find((checkpoint) => checkpoint.id === known);
  return newest && newest.savedAt >= (current?.savedAt ?? 0) ? newest.id : null;
}
