/** @file Folders, dataset, report, split. Being filled in. */
import { create } from 'zustand';
import type { DatasetState } from './types';

export const useDataset = create<DatasetState>()(() => ({
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
  addDrop: async () => undefined,
  addPicked: async () => undefined,
  addFiles: async () => undefined,
  addPhantom: async () => undefined,
  removeFolder: async () => undefined,
  renameFolder: async () => undefined,
  setTestOnly: async () => undefined,
  relink: async () => undefined,
  setExcluded: () => undefined,
  excludeAllBlocking: () => undefined,
  thumbnail: () => Promise.reject(new Error('not ready')),
  original: () => Promise.reject(new Error('not ready')),
  restore: async () => undefined,
}));
