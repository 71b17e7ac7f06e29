/** @file Saved runs. Being filled in. */
import { create } from 'zustand';
import type { RunsState } from './types';

export const useRuns = create<RunsState>()(() => ({
  runs: [],
  status: 'loading',
  error: null,
  refresh: async () => undefined,
  rename: async () => undefined,
  remove: async () => undefined,
  checkpoints: async () => [],
  history: async () => ({ version: 0, steps: [], epochs: [] }),
  exportRun: async () => undefined,
  exportWeights: async () => undefined,
  importFile: () => Promise.reject(new Error('not ready')),
  eraseEverything: async () => undefined,
}));
