/**
 * @file What can be done from anywhere, once: the palette, the shortcut list and the keys are made of it.
 */
import { goTo, stations } from '../router';
import { useTraining } from '../state/trainingStore';
import { useConfig } from '../state/configStore';
import { useDataset } from '../state/datasetStore';
import { toggleTheme } from '../theme';

export interface Command {
  readonly id: string;
  readonly label: string;
  /** Shown; `matches` decides. */
  readonly keys?: string;
  /** By `event.code`: letters mean the same key under every layout and input method. */
  readonly matches?: (e: KeyboardEvent) => boolean;
  readonly enabled: () => boolean;
  readonly run: () => void;
}

const always = (): boolean => true;
const control = (e: KeyboardEvent): boolean => e.ctrlKey || e.metaKey;

/** Leads through the whole path with generated images and a model small enough for a CPU. */
export async function tryPhantom(): Promise<void> {
  const config = useConfig.getState();
  config.setModel('tinyusfm_nano');
  config.applyOverrides('training.num_epochs=12 data=phantom');
  await useDataset.getState().addPhantom();
  goTo('train');
  await useTraining.getState().start();
}

export const commands: readonly Command[] = [
  ...stations.map((station): Command => ({
    id: `go.${station}`,
    label: `Go to ${station[0]?.toUpperCase()}${station.slice(1)}`,
    enabled: always,
    run: () => goTo(station),
  })),
  {
    id: 'train.toggle',
    label: 'Pause or continue training',
    keys: 'Ctrl+Enter',
    matches: (e) => control(e) && e.code === 'Enter',
    enabled: () => ['running', 'paused'].includes(useTraining.getState().status),
    run: () => {
      const t = useTraining.getState();
      void (t.status === 'paused' ? t.continue() : t.pause());
    },
  },
  {
    id: 'train.stop',
    label: 'Stop training (keeps a checkpoint)',
    enabled: () => ['running', 'paused'].includes(useTraining.getState().status),
    run: () => void useTraining.getState().stop(),
  },
  {
    id: 'theme',
    label: 'Light or dark',
    keys: 'Alt+M',
    matches: (e) => e.altKey && e.code === 'KeyM',
    enabled: always,
    run: toggleTheme,
  },
  {
    id: 'phantom',
    label: 'Try with phantom data',
    enabled: () => useDataset.getState().status === 'empty',
    run: () => void tryPhantom(),
  },
];

/** Keys that act in the case viewer while it has the focus (shown in the shortcut list). */
export const viewerKeys: readonly (readonly [keys: string, what: string])[] = [
  ['← →  or  J K', 'previous, next case'],
  ['O', 'overlay on or off'],
  ['hold I', 'image only'],
  ['[  ]', 'less, more opacity'],
  ['G  P  D', 'ground truth, prediction, difference on or off'],
  ['C', 'outline or fill'],
  ['+  −  0  F', 'zoom in, out, reset, fit'],
  ['1 … 9', 'class on or off'],
];
