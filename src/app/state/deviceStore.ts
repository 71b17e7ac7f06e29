/**
 * @file The device that computes, its memory, the storage in use and the self-test. Imports worker client, storage.
 * The train worker is started at once, so that the page can say what it has before anything is trained.
 */
import { create } from 'zustand';
import { UserError, toPlainError } from '../../lib/errors';
import { storageUse } from '../../storage/session';
import type { SelfTestRow } from '../../worker/protocol';
import type { StartedWorker } from '../../worker/trainHost';
import { trainHost } from '../../worker/trainHost';
import { useConfig } from './configStore';
import type { DeviceState } from './types';

const STORAGE_POLL_MS = 15_000;

function worker(): Promise<StartedWorker> {
  const hardware = useConfig.getState().config?.hardware;
  return trainHost.start(hardware?.backend ?? 'auto', hardware?.threads ?? 'auto');
}

export const useDevice = create<DeviceState>()((set, get) => {
  trainHost.onDevice((device) => set(device ? { device, status: 'ready', error: null } : { memory: null }));

  const refreshStorage = async (): Promise<void> => {
    const storage = await storageUse().catch(() => null);
    if (JSON.stringify(storage) !== JSON.stringify(get().storage)) set({ storage });
  };
  let polling = false;

  return {
    status: 'starting',
    device: null,
    error: null,
    memory: null,
    storage: null,
    selfTest: { status: 'idle', rows: [] },

    async start() {
      if (!polling) {
        polling = true;
        setInterval(() => void refreshStorage(), STORAGE_POLL_MS);
      }
      void refreshStorage();
      set({ status: 'starting', error: null });
      try {
        const { device } = await worker();
        set({ status: 'ready', device });
      } catch (error) {
        if (error instanceof UserError && error.code === 'aborted') return; // replaced by another choice of backend
        set({ status: 'error', error: toPlainError(error) });
      }
    },

    async runSelfTest() {
      if (get().selfTest.status === 'running') return;
      const rows: SelfTestRow[] = [];
      set({ selfTest: { status: 'running', rows } });
      try {
        const { client } = await worker();
        await client.request(
          'selfTest',
          { baseUrl: document.baseURI },
          {
            onProgress: (row) => {
              rows.push(row);
              set({ selfTest: { status: 'running', rows: [...rows] } });
            },
          },
        );
        set({ selfTest: { status: 'done', rows }, error: null });
      } catch (error) {
        set({ selfTest: { status: 'done', rows }, error: toPlainError(error) });
      }
    },
  };
});
