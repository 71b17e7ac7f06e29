/** @file Test results. Being filled in. */
import { create } from 'zustand';
import type { InspectState } from './types';

export const useInspect = create<InspectState>()(() => ({
  status: 'empty',
  progress: null,
  result: null,
  previous: [],
  selected: null,
  threshold: 0.5,
  error: null,
  source: null,
  evaluate: async () => undefined,
  cancel: () => undefined,
  open: async () => undefined,
  select: () => undefined,
  setThreshold: () => undefined,
  pair: () => Promise.reject(new Error('not ready')),
  exportPredictions: async () => undefined,
  exportCasesCsv: async () => undefined,
}));
