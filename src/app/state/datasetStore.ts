/**
 * @file Folders, the data set they form, what is wrong with it, how its masks are read and how it is split.
 * Drives the data workers. Imports worker client, storage, data (pure functions) and the config store.
 */
import { create } from 'zustand';
import { blockingProblems } from '../../data/report';
import type { LabelSpec, SampleFacts } from '../../data/types';
import { UserError, toPlainError } from '../../lib/errors';
import { folderPermission, pickFolder, pickZip, readDrop, readFileList } from '../../storage/drops';
import { readFacts, readSession, writeFacts, writeSession } from '../../storage/session';
import type { FolderAccess } from '../../storage/types';
import type { DataPool } from '../../worker/dataPool';
import { createDataPool } from '../../worker/dataPool';
import { conclusions } from './conclusions';
import { useConfig } from './configStore';
import {
  holdFolder,
  relinked,
  restoreFolder,
  savedFolder,
  uniqueName,
  withName,
  withTestOnly,
} from './folderList';
import type { HeldFolder } from './folderList';
import type { JobData } from './trainJob';
import type { DatasetState } from './types';

const FLUSH_MS = 250;
/** Until the masks have been looked at, previews show every nonzero pixel. */
const PROVISIONAL: LabelSpec = {
  names: ['background', 'foreground'],
  encoding: { kind: 'threshold', threshold: 0 },
};

let pool: DataPool | null = null;
let held: readonly HeldFolder[] = [];
let round = 0;
let concluding: Promise<void> = Promise.resolve();

/** Resolves when labels, split and report follow the configuration as it is now. */
export function datasetSettled(): Promise<void> {
  return concluding;
}

/** The data workers of the open data set. */
export function dataPool(): DataPool {
  pool ??= createDataPool();
  return pool;
}

/** What a run reads: the open data set and its readable folders. Throws 'no-dataset'. */
export async function jobData(): Promise<JobData> {
  const { dataset } = useDataset.getState();
  const folders = readable();
  if (!dataset || folders.length === 0) {
    throw new UserError('no-dataset', 'The data of this run is not open', {
      hint: 'Open its folder on the Data screen first.',
    });
  }
  return { folders, dataset };
}

function readable(): FolderAccess[] {
  return held.flatMap(({ card, access }) => (access && card.access === 'ok' ? [access] : []));
}

export const useDataset = create<DatasetState>()((set, get) => {
  let scanning: AbortController | null = null;

  const cards = (): void => set({ folders: held.map(({ card }) => card) });

  const remember = (): void => {
    const { excluded, labels } = get();
    // Losing this costs a few clicks after a reload, not data: a full disk is reported where it matters.
    void writeSession({ folders: held.map(savedFolder), excluded: [...excluded], labels }).catch(
      () => undefined,
    );
  };

  const add = async (incoming: readonly FolderAccess[]): Promise<void> => {
    const next = [...held];
    for (const access of incoming) {
      const waiting = next.findIndex(({ card }) => card.access !== 'ok' && card.name === access.name);
      const old = next[waiting];
      if (old) next[waiting] = relinked(old, access);
      else {
        const name = uniqueName(
          access.name,
          next.map(({ card }) => card.name),
        );
        next.push(holdFolder({ ...access, name }));
      }
    }
    await change(next);
  };

  const change = async (next: readonly HeldFolder[]): Promise<void> => {
    held = next;
    cards();
    remember();
    await rescan();
  };

  const fail = (error: unknown): void => set({ status: 'error', error: toPlainError(error), progress: null });

  /** Runs an action of the user; what goes wrong is shown on the screen. */
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      fail(error);
    }
  };

  const rescan = async (): Promise<void> => {
    scanning?.abort();
    const controller = new AbortController();
    scanning = controller;
    const folders = readable();
    set({ dataset: null, facts: new Map(), report: null, labels: null, labelReason: '', split: null });
    set({ splitError: null, error: null });
    if (folders.length === 0) {
      set({ status: 'empty', progress: null });
      return;
    }
    try {
      await scanAndInspect(folders, controller.signal);
    } catch (error) {
      if (!controller.signal.aborted) fail(error);
    }
  };

  const scanAndInspect = async (folders: readonly FolderAccess[], signal: AbortSignal): Promise<void> => {
    set({ status: 'scanning', progress: { done: 0, total: null, label: 'Reading the folders' } });
    const dataset = await dataPool().scan(folders, {
      signal,
      onFiles: (done) => set({ progress: { done, total: null, label: 'Files found' } }),
    });
    if (signal.aborted) return;
    const info = new Map(dataset.folders.map((folder) => [folder.id, folder]));
    held = held.map(({ card, access }) => {
      const found = info.get(card.id);
      return found
        ? { access, card: { ...card, fileCount: found.fileCount, convention: found.convention } }
        : { access, card };
    });
    cards();
    dataPool().setLabels(PROVISIONAL);
    const total = dataset.samples.length;
    set({ status: 'inspecting', dataset, progress: { done: 0, total, label: 'Checking images and masks' } });
    const facts = await inspect(dataset.id, signal);
    if (signal.aborted) return;
    set({ facts });
    await conclude();
    if (!signal.aborted) set({ status: 'ready', progress: null });
  };

  /** Facts of every sample, from the cache where this very data set was inspected before. */
  const inspect = async (datasetId: string, signal: AbortSignal): Promise<Map<string, SampleFacts>> => {
    const all = new Map<string, SampleFacts>();
    for (const fact of await readFacts(datasetId).catch(() => [])) all.set(fact.id, fact);
    const samples = get().dataset?.samples ?? [];
    const missing = samples.filter((sample) => !all.has(sample.id)).map((sample) => sample.id);
    let shownAt = 0;
    await dataPool().inspect(missing, {
      signal,
      onFacts: (batch) => {
        for (const fact of batch) all.set(fact.id, fact);
        const now = performance.now();
        if (signal.aborted || now - shownAt < FLUSH_MS) return;
        shownAt = now;
        const progress = { done: all.size, total: samples.length, label: 'Checking images and masks' };
        set({ facts: new Map(all), progress });
      },
    });
    if (missing.length > 0) void writeFacts(datasetId, [...all.values()]).catch(() => undefined);
    return all;
  };

  /** Labels, split and report from what is known now; called when inspection ends, the data config or the exclusions change. */
  const conclude = (): Promise<void> => {
    const { dataset, facts, excluded } = get();
    const config = useConfig.getState().config;
    const turn = ++round;
    if (!dataset || !config) return Promise.resolve();
    const isStale = (): boolean => turn !== round || get().dataset !== dataset;
    concluding = (async () => {
      // Three short tasks, not one long one: 10,000 samples take over 100 ms together.
      for await (const found of conclusions(dataset, facts, excluded, config.data)) {
        if (isStale()) return;
        if (found.labels && JSON.stringify(found.labels) !== JSON.stringify(get().labels)) {
          dataPool().setLabels(found.labels);
        }
        set(found);
      }
      const { labels } = get();
      if (labels) alignModel(labels);
      remember();
    })();
    return concluding;
  };

  useConfig.subscribe((state, before) => {
    if (get().status !== 'ready' || !state.config) return;
    if (JSON.stringify(state.config.data) !== JSON.stringify(before.config?.data)) void conclude();
  });

  const replace = (id: string, edit: (folder: HeldFolder) => HeldFolder): Promise<void> =>
    attempt(() => change(held.map((folder) => (folder.card.id === id ? edit(folder) : folder))));

  return {
    status: 'empty',
    progress: null,
    folders: [],
    dataset: null,
    facts: new Map(),
    report: null,
    labels: null,
    labelReason: '',
    split: null,
    splitError: null,
    excluded: new Set<string>(),
    error: null,

    addDrop(transfer) {
      const reading = readDrop(transfer); // before any await: the browser empties the transfer
      return attempt(async () => add(await reading));
    },

    addPicked: () =>
      attempt(async () => {
        const access = await pickFolder();
        if (access) await add([access]);
      }),

    addFiles: (files) => attempt(() => add(readFileList(files))),

    addPhantom: () =>
      attempt(async () => {
        const phantom = useConfig.getState().config?.data.phantom ?? { count: 60, size: 128, seed: 0 };
        if (held.some(({ card }) => card.kind === 'phantom')) return;
        await add([
          { id: crypto.randomUUID(), name: 'Phantom', testOnly: false, kind: 'phantom', ...phantom },
        ]);
      }),

    removeFolder: (id) => attempt(() => change(held.filter(({ card }) => card.id !== id))),

    renameFolder(id, name) {
      const others = held.filter(({ card }) => card.id !== id).map(({ card }) => card.name);
      return replace(id, (folder) => withName(folder, uniqueName(name, others)));
    },

    setTestOnly: (id, testOnly) => replace(id, (folder) => withTestOnly(folder, testOnly)),

    relink: (id) =>
      attempt(async () => {
        const folder = held.find(({ card }) => card.id === id);
        if (!folder) return;
        const state = folder.access ? await folderPermission(folder.access, true) : 'missing';
        if (state === 'permission') return; // refused: the card stays as it is
        if (folder.access && state === 'ok') {
          const ok = { access: folder.access, card: { ...folder.card, access: 'ok' as const } };
          await change(held.map((other) => (other.card.id === id ? ok : other)));
          return;
        }
        const picked = folder.card.kind === 'zip' ? await pickZip() : await pickFolder();
        if (picked)
          await change(held.map((other) => (other.card.id === id ? relinked(other, picked) : other)));
      }),

    setExcluded(ids, exclude) {
      const excluded = new Set(get().excluded);
      for (const id of ids) {
        if (exclude) excluded.add(id);
        else excluded.delete(id);
      }
      set({ excluded });
      void conclude();
    },

    excludeAllBlocking() {
      const { report, excluded } = get();
      const blocking = report ? blockingProblems(report, excluded) : [];
      get().setExcluded(
        blocking.flatMap((problem) => problem.sampleIds),
        true,
      );
    },

    thumbnail: (id, edge) => dataPool().thumbnail(id, edge),
    original: (id) => dataPool().original(id),

    restore: () =>
      attempt(async () => {
        if (held.length > 0) return; // the user was faster
        const session = await readSession();
        if (!session) return;
        set({ excluded: new Set(session.excluded) });
        const restored = await Promise.all(session.folders.map(restoreFolder));
        if (held.length > 0) return;
        held = restored;
        cards();
        await rescan();
      }),
  };
});

/** A data set with several labels needs a model with as many outputs; the form shows the change. */
function alignModel(labels: LabelSpec): void {
  const { config, setValue } = useConfig.getState();
  const classes = labels.names.length;
  if (!config || config.model.num_classes === classes) return;
  setValue('model.num_classes', classes);
  const binaryLoss =
    config.loss.name === 'bce' || config.loss.name === 'bce_dice' || config.loss.name === 'dice';
  if (classes > 2 && binaryLoss) setValue('loss.name', 'ce_dice');
}
