/**
 * @file A new run's record from what the page has open, or the reason why it cannot start. Pure; imports lib.
 */
import type { StudioConfig } from '../../config/types';
import { blockingProblems } from '../../data/report';
import { UserError, fromPlainError } from '../../lib/errors';
import type { RunRecord } from '../../storage/runs';
import type { ConfigState, DatasetState, TrainingState } from './types';

type ConfigView = Pick<ConfigState, 'config' | 'error'>;
type DataView = Pick<
  DatasetState,
  'dataset' | 'labels' | 'split' | 'splitError' | 'status' | 'folders' | 'excluded' | 'report'
>;
type Pretrained = TrainingState['pretrained'];

const two = (n: number): string => String(n).padStart(2, '0');

/** "20261123_150405", local time, as the framework names its run folders. */
export function timestamp(date: Date): string {
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${day}_${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}

/** Throws 'no-dataset', 'no-config', 'dataset-busy' or the split's own error. */
export function newRunRecord(
  config: ConfigView,
  data: DataView,
  pretrained: Pretrained,
  now = new Date(),
): RunRecord {
  if (config.config === null) {
    throw config.error
      ? fromPlainError(config.error)
      : new UserError('no-config', 'The configuration is not ready');
  }
  if (data.dataset === null || data.labels === null) {
    throw new UserError('no-dataset', 'There is no data to train on', {
      hint: 'Drop a folder on the Data screen, or try the phantom data.',
    });
  }
  if (data.status !== 'ready') {
    throw new UserError('dataset-busy', 'The data is still being checked', {
      hint: 'Wait for the report on the Data screen.',
    });
  }
  if (data.split === null) {
    throw data.splitError
      ? fromPlainError(data.splitError)
      : new UserError('no-split', 'The data is not split yet');
  }
  assertNothingBlocks(config.config, data);
  const resolved = asUsed(config.config, data, pretrained);
  return {
    id: crypto.randomUUID(),
    name: `${resolved.model.name} ${data.dataset.name} ${timestamp(now)}`,
    model: resolved.model.name,
    datasetId: data.dataset.id,
    datasetName: data.dataset.name,
    createdAt: now.getTime(),
    updatedAt: now.getTime(),
    status: 'running',
    epoch: 0,
    epochs: resolved.training.num_epochs,
    step: 0,
    best: null,
    last: null,
    config: resolved,
    labels: data.labels,
    split: data.split,
    device: null,
    error: null,
    bytes: 0,
    origin: 'trained',
    initial: pretrained ? { kind: 'library', weightsId: pretrained.weightsId } : null,
  };
}

/** The configuration as this run uses it: which data, which samples left out, which weights. Written to the run's config.yaml. */
function asUsed(config: StudioConfig, data: DataView, pretrained: Pretrained): StudioConfig {
  const names = (testOnly: boolean): string[] =>
    data.folders.filter((folder) => folder.testOnly === testOnly).map((folder) => folder.name);
  const isPhantom = data.folders.length > 0 && data.folders.every((folder) => folder.kind === 'phantom');
  const external = names(true);
  return {
    ...config,
    model: { ...config.model, checkpoint: pretrained?.fileName ?? null },
    data: {
      ...config.data,
      name: isPhantom ? 'phantom' : config.data.name === 'phantom' ? 'folder' : config.data.name,
      root: isPhantom ? null : names(false),
      test_root: external.length > 0 ? external : null,
      exclude: [...new Set([...config.data.exclude, ...data.excluded])].sort(),
    },
  };
}

/** Files that cannot be trained on block until they are left out explicitly. */
function assertNothingBlocks(config: StudioConfig, { report, excluded }: DataView): void {
  if (!report || config.data.on_problem === 'exclude') return;
  const left = new Set([...excluded, ...config.data.exclude]);
  const blocking = blockingProblems(report, left);
  const [first] = blocking;
  if (!first) return;
  const more = blocking.length > 1 ? ` and ${blocking.length - 1} more` : '';
  throw new UserError('data-problems', `${first.files[0] ?? 'A sample'}: ${first.message}${more}`, {
    subject: first.files[0] ?? '',
    hint: 'Leave these samples out on the Data screen, or repair the files and link the folder again.',
  });
}
