/** @file GPU and storage. Being filled in. */
import { create } from 'zustand';
import type { DeviceState } from './types';

export const useDevice = create<DeviceState>()(() => ({
  status: 'starting',
  device: null,
  error: null,
  memory: null,
  storage: null,
  selfTest: { status: 'idle', rows: [] },
  start: async () => undefined,
  runSelfTest: async () => undefined,
}));
