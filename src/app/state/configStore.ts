/** @file The config being edited. Being filled in. */
import { create } from 'zustand';
import type { ConfigState } from './types';

export const useConfig = create<ConfigState>()(() => ({
  overrides: [],
  config: null,
  text: '',
  error: null,
  models: [],
  setValue: () => false,
  setModel: () => undefined,
  setText: () => false,
  applyOverrides: () => false,
  reset: () => undefined,
  load: () => undefined,
}));
