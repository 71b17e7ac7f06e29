/**
 * @file The live run: start, pause, stop, resume, estimate; what another tab trains; what a reload cut off.
 * Imports the train job, storage and the other stores.
 */
import { create } from 'zustand';
import { UserError, toPlainError } from '../../lib/errors';
import { collectGarbage, listCheckpoints } from '../../storage/checkpointRows';
import { listRuns, patchRun, readHistory, readRun, writeRun } from '../../storage/runs';
import type { RunRecord } from '../../storage/runs';
import { askToPersist, readPretrained, writePretrained } from '../../storage/session';
import { addWeights, listWeights } from '../../storage/weights';

import type { TrainEvent } from '../../training/types';
import { runsInProgress, whenReleased } from '../../worker/locks';
import { trainHost } from '../../worker/trainHost';
import { announceRuns, onTabMessage } from './channel';
import { useConfig } from './configStore';
import { describeContinuation } from '../../worker/continuation';
import { datasetSettled, jobData, useDataset } from './datasetStore';
import { useDevice } from './deviceStore';
import { assertOpen } from './evaluation';
import { EventBatcher, applyEvents, emptyLive, liveFromHistory } from './live';
import type { LiveView } from './live';
import { newRunRecord } from './newRun';
import { useRuns } from './runsStore';
import { runTrainJob } from './trainJob';
import type { JobData } from './trainJob';
import type { TrainingState } from './types';

const DISMISSED_KEY = 'studio.dismissed';
const BUSY = new Set<TrainingState['status']>(['starting', 'running', 'pausing', 'paused', 'stopping']);

export const useTraining = create<TrainingState>()((set, get) => {
  let abort: AbortController | null = null;
  let watch: AbortController | null = null;

  const apply = (events: readonly TrainEvent[]): void => {
    const state = get();
    const next = applyEvents(state, events, state.status === 'watching');
    // Between asking and the worker's answer the button's own state stays.
    const keep = next.status === 'running' && (state.status === 'pausing' || state.status === 'stopping');
    set(keep ? { ...liveOf(next), status: state.status } : liveOf(next));
    if (next.memory !== state.memory && next.status !== 'watching')
      useDevice.setState({ memory: next.memory });
    if (events.some((event) => event.type === 'epochEnded' || event.type === 'ended')) {
      void useRuns.getState().refresh();
    }
  };
  const batcher = new EventBatcher(apply);

  onTabMessage((message) => {
    const { status, runId } = get();
    if (message.kind !== 'train' || status !== 'watching' || message.runId !== runId) return;
    batcher.push(message.event);
    if (message.event.type === 'epochEnded') void catchUp(runId);
  });

  /** Trains in the background, to the run's end. */
  const launch = async (run: RunRecord, data: JobData, resume: string | null): Promise<void> => {
    const controller = new AbortController();
    abort = controller;
    watch?.abort();
    set({
      runId: run.id,
      runName: run.name,
      config: run.config,
      status: 'starting',
      error: null,
      endReason: null,
    });
    try {
      await runTrainJob({
        run,
        data,
        resume,
        signal: controller.signal,
        onEvent: (event) => batcher.push(event),
        onWaiting: ({ attempt, delayMs, error }) => {
          batcher.flush();
          const recovery = { attempt, nextAt: Date.now() + delayMs, message: error.message };
          set({ status: 'starting', recovery, etaSeconds: null });
        },
      });
      batcher.flush();
    } catch (error) {
      batcher.flush();
      await finishFailed(run.id, error, controller.signal.aborted);
    } finally {
      if (abort === controller) abort = null;
      set({ recovery: null });
      await useRuns.getState().refresh();
      announceRuns();
    }
  };

  const finishFailed = async (runId: string, error: unknown, stopped: boolean): Promise<void> => {
    const plain = toPlainError(error);
    if (plain.code === 'run-in-other-tab') {
      await watchRun(runId);
      set({ error: plain });
      return;
    }
    if (stopped) {
      await patchRun(runId, { status: 'stopped' }).catch(() => null);
      set({ status: 'ended', endReason: 'stopped', error: null });
      return;
    }
    await patchRun(runId, { status: 'failed', error: plain }).catch(() => null);
    set({ status: 'failed', error: plain, etaSeconds: null });
  };

  /** Steps that the trainer had not stored yet when this tab began to watch. */
  const catchUp = async (runId: string): Promise<void> => {
    const { steps } = await readHistory(runId);
    batcher.flush();
    const { series, status } = get();
    if (status !== 'watching' || get().runId !== runId || steps.length < series.steps.length) return;
    set({ series: { ...series, version: series.version + 1, steps } });
  };

  /** Shows a run that another tab trains, live and read-only, until that tab is gone. */
  const watchRun = async (runId: string): Promise<void> => {
    const run = await readRun(runId);
    if (!run) return;
    watch?.abort();
    const controller = new AbortController();
    watch = controller;
    const view = liveFromHistory(await readHistory(runId));
    set({
      ...view,
      status: 'watching',
      runId,
      runName: run.name,
      config: run.config,
      device: run.device,
      best: run.best,
    });
    whenReleased(runId, controller.signal)
      .then(async () => {
        batcher.flush();
        if (get().runId !== runId || get().status !== 'watching') return;
        set({ status: 'ended', endReason: null });
        await findInterrupted();
      })
      .catch(() => undefined); // this tab started something itself: it no longer watches
  };

  /** Marks runs that nobody looks after any more, and offers the newest one. */
  const findInterrupted = async (): Promise<void> => {
    const inProgress = await runsInProgress();
    const dismissed = globalThis.localStorage?.getItem(DISMISSED_KEY) ?? '';
    let offered: TrainingState['resumable'] = null;
    for (const run of await listRuns()) {
      if (inProgress.has(run.id)) continue;
      const cut = run.status === 'running' || run.status === 'paused';
      if (cut) await patchRun(run.id, { status: 'interrupted' });
      if ((!cut && run.status !== 'interrupted') || offered || dismissed === run.id) continue;
      const checkpoint = (await listCheckpoints(run.id))[0];
      if (checkpoint) offered = { runId: run.id, name: run.name, checkpoint };
    }
    set({ resumable: offered });
    await useRuns.getState().refresh();
  };

  const ask = async (name: 'pause' | 'continue' | 'stop', status: TrainingState['status']): Promise<void> => {
    const before = get().status;
    const client = trainHost.current;
    if (!client) return;
    set({ status });
    try {
      await client.request(name, {});
    } catch (error) {
      set({ status: before, error: toPlainError(error) });
    }
  };

  const guard = async (work: () => Promise<void>): Promise<void> => {
    if (BUSY.has(get().status)) {
      set({
        error: toPlainError(new UserError('run-active', 'A run is active in this tab. Stop it first.')),
      });
      return;
    }
    set({ ...emptyLive(), status: 'starting', resumable: null });
    try {
      await work();
    } catch (error) {
      set({ status: 'failed', error: toPlainError(error) });
    }
  };

  return {
    ...emptyLive(),
    runId: null,
    runName: null,
    config: null,
    estimate: null,
    estimating: false,
    estimateNote: null,
    loadReport: null,
    pretrained: null,
    resumable: null,

    start: () =>
      guard(async () => {
        void askToPersist(); // inside the click
        await datasetSettled();
        const run = newRunRecord(useConfig.getState(), useDataset.getState(), get().pretrained);
        const data = await openData(run);
        await writeRun(run);
        void launch(run, data, null);
      }),

    pause: () => ask('pause', 'pausing'),
    continue: () => ask('continue', 'running'),

    async stop() {
      if (get().status === 'starting') {
        abort?.abort(); // nothing trains yet, or only the waiting for a lost GPU ends
        trainHost.kill();
        return;
      }
      await ask('stop', 'stopping');
    },

    resume: (runId, checkpointId, epochs) =>
      guard(async () => {
        const saved = await readRun(runId);
        if (!saved)
          throw new UserError('run-missing', 'This run is no longer in this browser', { subject: runId });
        if (saved.origin === 'imported') {
          const run = await continuedImport(saved, checkpointId, epochs);
          const data = await openData(run);
          await writeRun(run);
          void launch(run, data, null);
          return;
        }
        const checkpoint = checkpointId ?? (await listCheckpoints(runId))[0]?.id ?? null;
        const config =
          epochs === undefined
            ? saved.config
            : { ...saved.config, training: { ...saved.config.training, num_epochs: epochs } };
        const run: RunRecord = {
          ...saved,
          config,
          epochs: config.training.num_epochs,
          status: 'running',
          error: null,
          origin: 'trained',
        };
        const data = await openData(run);
        await writeRun(run);
        set({ ...liveFromHistory(await readHistory(runId)), status: 'starting', best: saved.best });
        void launch(run, data, checkpoint);
      }),

    async continuationNote(runId, epochs) {
      const run = await readRun(runId);
      return run ? describeContinuation(run.config, run, epochs) : '';
    },

    async runEstimate() {
      const { config } = useConfig.getState();
      const { split } = useDataset.getState();
      if (!config || get().estimating) return;
      set({ estimating: true, estimateNote: null, error: null });
      try {
        const { client } = await trainHost.start(config.hardware.backend, config.hardware.threads);
        const cases = { trainCases: split?.train.length ?? 0, valCases: split?.val.length ?? 0 };
        const estimate = await client.request(
          'estimate',
          { config, ...cases },
          { onProgress: ({ message }) => set({ estimateNote: message }) },
        );
        set({ estimate, estimating: false });
      } catch (error) {
        set({ estimating: false, estimate: null, error: toPlainError(error) });
      }
    },

    async setPretrained(file) {
      if (file === null) {
        await writePretrained(null);
        set({ pretrained: null, loadReport: null });
        return;
      }
      const { config } = useConfig.getState();
      set({ error: null });
      try {
        const kept = await addWeights(file);
        if (config) {
          const { client } = await trainHost.start(config.hardware.backend, config.hardware.threads);
          const source = { kind: 'library', weightsId: kept.id } as const;
          set({ loadReport: await client.request('loadWeights', { source, config }) });
        }
        await writePretrained(kept.id);
        set({ pretrained: { weightsId: kept.id, fileName: kept.fileName, bytes: kept.bytes } });
      } catch (error) {
        set({ error: toPlainError(error) });
      }
    },

    dismissResumable() {
      const id = get().resumable?.runId;
      if (id) globalThis.localStorage?.setItem(DISMISSED_KEY, id);
      set({ resumable: null });
    },

    async restore() {
      try {
        await collectGarbage();
        const [chosen, weights] = await Promise.all([readPretrained(), listWeights()]);
        const kept = weights.find((row) => row.id === chosen);
        if (kept) set({ pretrained: { weightsId: kept.id, fileName: kept.fileName, bytes: kept.bytes } });
        await findInterrupted();
        const elsewhere = (await listRuns()).find(
          (run) => run.status === 'running' || run.status === 'paused',
        );
        if (elsewhere && get().status === 'idle') await watchRun(elsewhere.id);
      } catch (error) {
        set({ error: toPlainError(error) });
      }
    },
  };
});

/** Only the fields events change, out of a whole state. */
function liveOf(view: LiveView): LiveView {
  const out = emptyLive();
  for (const key of Object.keys(out) as (keyof LiveView)[]) Object.assign(out, { [key]: view[key] });
  return out;
}

/** The open data set, if it holds all cases of the run. */
async function openData(run: RunRecord): Promise<JobData> {
  const data = await jobData();
  assertOpen([...run.split.train, ...run.split.val], data.dataset, 'training data');
  return data;
}

/** Imported weights carry no optimiser state: training on is a new run that starts from them, on the open data. */
async function continuedImport(
  saved: RunRecord,
  checkpointId: string | undefined,
  epochs: number | undefined,
): Promise<RunRecord> {
  const id = checkpointId ?? (await listCheckpoints(saved.id))[0]?.id;
  if (id === undefined) throw new UserError('checkpoint-missing', 'This run has no checkpoint');
  const num_epochs = epochs ?? saved.config.training.num_epochs;
  const config = { ...saved.config, training: { ...saved.config.training, num_epochs } };
  const run = newRunRecord({ config, error: null }, useDataset.getState(), null);
  return { ...run, initial: { kind: 'checkpoint', checkpointId: id } };
}
