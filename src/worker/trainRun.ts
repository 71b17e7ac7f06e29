/**
 * @file One training in the worker: run lock, checkpoint to resume from, journal, and what a lost device looks like.
 * Imports training, storage, data, gpu health.
 */
import type { SampleReader } from '../data/types';
import type { DeviceInfo } from '../gpu/device';
import { deviceHealth } from '../gpu/health';
import { UserError } from '../lib/errors';
import { checkpointTitle } from '../storage/checkpointRows';
import { checkpointSink, loadCheckpoint, loadNewest } from '../storage/checkpoints';
import type { LoadedCheckpoint } from '../storage/checkpoints';
import { checkpointWeights } from '../training/checkpoint';
import type { TrainControl } from '../training/control';
import { runTraining } from '../training/trainer';
import type { TrainEvent } from '../training/types';
import type { GpuLane } from './gpuLane';
import { RunJournal } from './journal';
import { withRunLock } from './locks';
import type { PayloadOf, ResultOf, TrainRequests } from './protocol';
import { fitLibraryWeights } from './weightsSource';

/** The event of the loss arrives a moment after the failed read-back. */
const LOSS_GRACE_MS = 500;

export interface TrainSurroundings {
  readonly device: DeviceInfo;
  readonly reader: SampleReader;
  readonly control: TrainControl;
  readonly lane: GpuLane;
  readonly progress: (event: TrainEvent) => void;
}

type Payload = PayloadOf<TrainRequests, 'train'>;
type Result = ResultOf<TrainRequests, 'train'>;

/** Trains to the end of the run; rejects with 'gpu-lost' for the page to start again, or with why it failed. */
export function trainRun(payload: Payload, around: TrainSurroundings): Promise<Result> {
  return withRunLock(payload.runId, async () => {
    const journal = new RunJournal(payload.runId, around.progress);
    let failure: TrainEvent | null = null;
    try {
      const resume = payload.resume === null ? null : await loadNewest(payload.runId, payload.resume);
      await journal.begin(resume?.info ?? null);
      const initial = await startingWeights(payload, resume, journal);
      for (const message of resumeWarnings(resume, around.device)) warn(journal, message);
      const outcome = await runTraining({
        runId: payload.runId,
        config: payload.config,
        labels: payload.data.labels,
        split: payload.split,
        reader: around.reader,
        device: around.device,
        initial,
        resume,
        checkpoints: checkpointSink(payload.config.checkpointing.keep_last),
        events: {
          emit: (event) => {
            if (event.type === 'paused' || event.type === 'continued')
              around.lane.setPaused(event.type === 'paused');
            if (event.type === 'failed') failure = event;
            else journal.emit(event);
          },
        },
        control: around.control,
      });
      return { reason: outcome.reason };
    } catch (error) {
      const lost = await deviceLoss(error);
      if (lost) throw lost; // not the run's failure: the page goes on with a new worker
      if (failure) journal.emit(failure);
      throw error;
    } finally {
      await journal.close();
    }
  });
}

async function startingWeights(payload: Payload, resume: LoadedCheckpoint | null, journal: RunJournal) {
  if (resume !== null || payload.initial === null) return null;
  if (payload.initial.kind === 'checkpoint') {
    const { info, checkpoint } = await loadCheckpoint(payload.initial.checkpointId);
    const message = `Starts from the weights of the ${checkpointTitle(info)} of an earlier run`;
    journal.emit({ type: 'log', level: 'info', message, at: Date.now() });
    return checkpointWeights(checkpoint);
  }
  const { tensors, report } = await fitLibraryWeights(payload.initial.weightsId, payload.config);
  const kept = `${report.loaded.length} tensors of ${report.file} loaded (${report.recognisedAs})`;
  const rest = `${report.missing.length} start untrained, ${report.unexpected.length} of the file are unused`;
  journal.emit({ type: 'log', level: 'info', message: `${kept}; ${rest}`, at: Date.now() });
  return tensors;
}

function resumeWarnings(resume: LoadedCheckpoint | null, device: DeviceInfo): string[] {
  if (!resume) return [];
  const warnings = resume.passedOver.map((problem) => `${problem}; the checkpoint before it is used`);
  const before = resume.checkpoint.state.device;
  if (before.backend !== device.backend || before.name !== device.name) {
    warnings.push(`The run goes on with ${device.name} after ${before.name}: not bit-identical from here`);
  }
  return warnings;
}

function warn(journal: RunJournal, message: string): void {
  journal.emit({ type: 'log', level: 'warning', message, at: Date.now() });
}

/** The loss behind an error, or null when the device is there. */
async function deviceLoss(error: unknown): Promise<UserError | null> {
  if (error instanceof UserError && error.code === 'gpu-lost') return error;
  await new Promise((resolve) => setTimeout(resolve, LOSS_GRACE_MS));
  const { lost } = deviceHealth();
  if (!lost) return null;
  return new UserError('gpu-lost', `The GPU device was lost (${lost.reason}): ${lost.message}`, {
    cause: error,
  });
}
