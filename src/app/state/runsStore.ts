/**
 * @file The run table: saved runs, their history and checkpoints, export, import, deletion. Imports storage, the file worker.
 */
import { create } from 'zustand';
import { UserError, toPlainError } from '../../lib/errors';
import { deleteCheckpoints, listCheckpoints } from '../../storage/checkpointRows';
import { deleteRun, listRuns, patchRun, readHistory } from '../../storage/runs';
import { eraseEverything } from '../../storage/session';
import { runsInProgress } from '../../worker/locks';
import { trainHost } from '../../worker/trainHost';
import { announceRuns, onTabMessage } from './channel';
import { useConfig } from './configStore';
import { chooseDirectory, download, withFileWorker } from './saveFile';
import type { RunsState } from './types';

const REFRESH_MS = 500;

export const useRuns = create<RunsState>()((set, get) => {
  let pending: ReturnType<typeof setTimeout> | null = null;
  // Another tab's epochs arrive in bursts: read the table at most twice a second.
  onTabMessage((message) => {
    if (message.kind !== 'runs' || pending !== null) return;
    pending = setTimeout(() => {
      pending = null;
      void get().refresh();
    }, REFRESH_MS);
  });

  /** Runs an action of the user; what goes wrong is shown, a cancelled picker is not. */
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
      set({ error: null });
    } catch (error) {
      const plain = toPlainError(error);
      if (plain.code !== 'aborted') set({ error: plain });
    }
  };

  return {
    runs: [],
    status: 'loading',
    error: null,

    async refresh() {
      try {
        const [runs, checkpoints] = await Promise.all([listRuns(), listCheckpoints()]);
        const bytes = new Map<string, number>();
        for (const { runId, bytes: size } of checkpoints) bytes.set(runId, (bytes.get(runId) ?? 0) + size);
        set({ runs: runs.map((run) => ({ ...run, bytes: bytes.get(run.id) ?? 0 })), status: 'ready' });
      } catch (error) {
        set({ status: 'error', error: toPlainError(error) });
      }
    },

    rename: (id, name) =>
      attempt(async () => {
        const clean = name.trim();
        if (clean === '') throw new UserError('name-empty', 'A run needs a name');
        await patchRun(id, { name: clean });
        await get().refresh();
        announceRuns();
      }),

    remove: (id) =>
      attempt(async () => {
        if ((await runsInProgress()).has(id)) {
          throw new UserError('run-active', 'This run is being trained', { hint: 'Stop it first.' });
        }
        await deleteRun(id);
        await get().refresh();
        announceRuns();
      }),

    checkpoints: (id) => listCheckpoints(id),

    async history(id) {
      const { steps, epochs } = await readHistory(id);
      return { version: 1, steps, epochs };
    },

    exportRun: (id, to) =>
      attempt(async () => {
        const directory = await chooseDirectory(to);
        download(await withFileWorker((files) => files.request('exportRun', { runId: id, directory })));
      }),

    exportWeights: (checkpointId, format) =>
      attempt(async () => {
        download(await withFileWorker((files) => files.request('exportWeights', { checkpointId, format })));
      }),

    async importFile(file) {
      const { config } = useConfig.getState();
      if (!config) throw new UserError('no-config', 'The configuration is not ready');
      // The train worker: only it knows the models whose tensors the file must hold.
      const { client } = await trainHost.start(config.hardware.backend, config.hardware.threads);
      const { runId } = await client.request('importRun', { file, fallback: config });
      await get().refresh();
      announceRuns();
      return runId;
    },

    deleteCheckpoint: (id) =>
      attempt(async () => {
        await deleteCheckpoints([id]);
        await get().refresh();
        announceRuns();
      }),

    eraseEverything: () =>
      attempt(async () => {
        if ((await runsInProgress()).size > 0) {
          throw new UserError('run-active', 'A run is being trained', { hint: 'Stop it first.' });
        }
        trainHost.kill();
        await eraseEverything();
        announceRuns();
        globalThis.location.reload(); // every store starts empty, as on a first visit
      }),
  };
});
