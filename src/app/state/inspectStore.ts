/**
 * @file Testing a checkpoint and looking at the result: cases, threshold, the pictures of a case, exports.
 * Imports worker client, storage and the data set store.
 */
import { create } from 'zustand';
import { UserError, toPlainError } from '../../lib/errors';
import { listEvaluations, readEvaluation, readRun } from '../../storage/runs';
import type { EvaluationResult } from '../../worker/protocol';
import { trainHost } from '../../worker/trainHost';
import { dataPool, jobData } from './datasetStore';
import { chooseCases, withScores, worstFirst } from './evaluation';
import { chooseDirectory, download, withFileWorker } from './saveFile';
import { handFolders, narrowDataset } from './trainJob';
import type { InspectState } from './types';

/** Slider movements within this time count as one. */
const RESCORE_DELAY_MS = 120;

export const useInspect = create<InspectState>()((set, get) => {
  let running: AbortController | null = null;
  let rescoring: AbortController | null = null;

  const listPrevious = async (): Promise<void> => {
    const rows = await listEvaluations();
    set({ previous: rows.map(({ id, title, createdAt }) => ({ id, title, createdAt })) });
  };

  const show = (result: EvaluationResult): void => {
    const cases = [...result.cases].sort(worstFirst);
    set({
      result: { ...result, cases },
      status: 'ready',
      progress: null,
      selected: cases[0]?.id ?? null,
      threshold: result.threshold,
      error: null,
    });
  };

  const fail = (error: unknown): void => {
    const plain = toPlainError(error);
    const back = get().result ? 'ready' : 'empty';
    if (plain.code === 'aborted') set({ status: back, progress: null });
    else set({ status: get().result ? 'ready' : 'error', error: plain, progress: null });
  };

  const rescore = async (threshold: number): Promise<void> => {
    rescoring?.abort();
    const controller = new AbortController();
    rescoring = controller;
    await new Promise((resolve) => setTimeout(resolve, RESCORE_DELAY_MS));
    const { result } = get();
    if (controller.signal.aborted || !result) return;
    try {
      const rescored = await dataPool().rescore(result.id, threshold, {
        signal: controller.signal,
        onProgress: (done, total) => {
          if (!controller.signal.aborted) set({ progress: { done, total } });
        },
      });
      if (controller.signal.aborted || get().result?.id !== result.id) return;
      set({ result: withScores(result, rescored, threshold), progress: null, error: null });
    } catch (error) {
      if (!controller.signal.aborted) set({ error: toPlainError(error), progress: null });
    }
  };

  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      fail(error);
    }
  };

  return {
    status: 'empty',
    progress: null,
    result: null,
    previous: [],
    selected: null,
    threshold: 0.5,
    error: null,
    source: null,

    evaluate: (request) =>
      attempt(async () => {
        running?.abort();
        const controller = new AbortController();
        running = controller;
        set({ status: 'running', progress: null, error: null });
        const source = { kind: 'checkpoint', checkpointId: request.checkpointId } as const;
        set({ source });
        const run = await readRun(request.runId);
        if (!run) throw new UserError('run-missing', 'This run is no longer in this browser');
        const data = await jobData();
        const { ids, title } = chooseCases(request, run, data.dataset);
        const config = {
          ...run.config,
          evaluation: {
            ...run.config.evaluation,
            convention: request.convention,
            resolution: request.resolution,
          },
        };
        const started = await trainHost.start(config.hardware.backend, config.hardware.threads);
        await handFolders(started, data.folders);
        const result = await started.client.request(
          'evaluate',
          {
            source,
            config,
            data: {
              folderIds: data.folders.map((folder) => folder.id),
              dataset: narrowDataset(data.dataset, ids),
              labels: run.labels,
            },
            ids,
            title,
            runId: run.id,
          },
          {
            signal: controller.signal,
            onProgress: ({ done, total }) => set({ progress: { done, total } }),
          },
        );
        show(result);
        await listPrevious();
      }),

    cancel() {
      running?.abort();
    },

    open: (evaluationId) =>
      attempt(async () => {
        const result = await readEvaluation(evaluationId);
        if (!result)
          throw new UserError('evaluation-missing', 'This test result is no longer in this browser');
        show(result);
      }),

    refresh: () => attempt(listPrevious),

    select: (id) => set({ selected: id }),

    setThreshold(threshold) {
      set({ threshold });
      if (get().result?.cases.some((one) => one.kind === 'probability')) void rescore(threshold);
    },

    async pair(id) {
      const { result } = get();
      const one = result?.cases.find((row) => row.id === id);
      if (!result || !one) throw new UserError('no-result', 'There is no test result for this case');
      return result.resolution === 'original' ? dataPool().original(id) : dataPool().atSize(id, one.width);
    },

    exportPredictions: (to) =>
      attempt(async () => {
        const { result, threshold } = get();
        if (!result) return;
        const directory = await chooseDirectory(to);
        const payload = { evaluationId: result.id, threshold, directory };
        download(await withFileWorker((files) => files.request('exportPredictions', payload)));
      }),

    exportCasesCsv: () =>
      attempt(async () => {
        const { result } = get();
        if (!result) return;
        // The numbers on screen, with the threshold they belong to; the pictures stay where they are.
        const { cases, ...rest } = result;
        const scores = cases.map(({ id, folderName, className, perLabel }) => ({
          id,
          folderName,
          className,
          perLabel,
        }));
        download(
          await withFileWorker((files) => files.request('exportCases', { result: rest, cases: scores })),
        );
      }),
  };
});
