/**
 * @file For tests only: a data set in memory, small configs, sinks that record.
 */
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import type { StudioConfig } from '../config/types';
import type { LabelSpec, OriginalSample, PreparedSample, SampleReader, Split } from '../data/types';
import type { HostTensor } from '../formats/tensor';
import type { DeviceInfo } from '../gpu/device';
import { Random } from '../lib/random';
import { decodeCheckpoint, encodeCheckpoint } from './checkpoint';
import { TrainControl } from './control';
import type { HostBatch } from './session';
import { runTraining, type TrainOutcome, type TrainRequest } from './trainer';
import type { Checkpoint, CheckpointInfo, CheckpointSink, TrainEvent } from './types';

export const testDevice: DeviceInfo = { backend: 'wasm', name: 'test', software: true, reason: 'test' };

export const binaryLabels: LabelSpec = {
  names: ['background', 'lesion'],
  encoding: { kind: 'threshold', threshold: 127 },
};

/** A tiny TinyUSFM with dropout and drop path on, augmentation on. */
export function smallConfig(...overrides: string[]): StudioConfig {
  const small = [
    'model=tinyusfm_nano', 'data=phantom', 'model.image_size=32', 'model.embed_dim=12', 'model.heads=3',
    'model.neck_channels=5', 'model.head_channels=6', 'model.drop_path=0.2', 'model.dropout=0.2',
    'training.batch_size=2', 'training.num_epochs=2', 'training.base_lr=5e-3', 'lr_scheduler.warmup_epochs=1',
    'evaluation.panel_cases=2',
  ]; // prettier-ignore
  return resolveConfig(configFiles, 'train', [...small, ...overrides]).config;
}

/** A small SegFormer with dropout and drop path on. */
export function smallSegFormer(...overrides: string[]): StudioConfig {
  const small = [
    'model=segformer_nano', 'data=phantom', 'model.image_size=32', 'model.drop_path=0.2',
    'model.classifier_dropout=0.2', 'training.batch_size=2',
  ]; // prettier-ignore
  return resolveConfig(configFiles, 'train', [...small, ...overrides]).config;
}

/** A batch of noise whose right half is labelled; another one for every key. */
export function noise(config: StudioConfig, count: number, key: number): HostBatch {
  const size = config.model.image_size;
  const random = new Random('noise', key);
  const images = Float32Array.from({ length: count * size * size * 3 }, () => random.uniform(-1, 1));
  const labels = Int32Array.from({ length: count * size * size }, (_, i) => Number(i % size > size / 2));
  return { images, labels, count, size };
}

/** A bright disc (per sample elsewhere) on noise; labels 1.. cycle over samples. `wide` makes originals of another size. */
function picture(
  id: string,
  width: number,
  height: number,
  classes: number,
): { image: Uint8Array; mask: Uint8Array } {
  const random = new Random('disc', id);
  const [cx, cy, r] = [random.uniform(0.3, 0.7), random.uniform(0.3, 0.7), random.uniform(0.15, 0.25)];
  const label = 1 + (random.uint32() % (classes - 1));
  const mask = new Uint8Array(width * height);
  const image = new Uint8Array(width * height * 3);
  for (let i = 0; i < mask.length; i++) {
    const [x, y] = [((i % width) + 0.5) / width, (Math.floor(i / width) + 0.5) / height];
    if ((x - cx) ** 2 + (y - cy) ** 2 < r * r) mask[i] = label;
    const bright = (mask[i] as number) * (160 / (classes - 1)) + 40 * random.uniform();
    image.fill(Math.round(bright), i * 3, i * 3 + 3);
  }
  return { image, mask };
}

export class DiscReader implements SampleReader {
  reads = 0;
  constructor(
    private readonly classes = 2,
    private readonly originalSize: readonly [number, number] = [40, 24],
  ) {}

  async prepared(id: string, size: number): Promise<PreparedSample> {
    this.reads++;
    const [originalWidth, originalHeight] = this.originalSize;
    return { id, size, originalWidth, originalHeight, ...picture(id, size, size, this.classes) };
  }

  async original(id: string): Promise<OriginalSample> {
    const [width, height] = this.originalSize;
    return { id, width, height, ...picture(id, width, height, this.classes) };
  }
}

export const split = (train: number, val: number): Split => ({
  method: 'ratio',
  seed: 0,
  train: Array.from({ length: train }, (_, i) => `discs/train_${i}`),
  val: Array.from({ length: val }, (_, i) => `discs/val_${i}`),
  test: [],
  notes: [],
});

/** Keeps checkpoints as bytes, so that what a resume starts from went through the codec. */
export class MemorySink implements CheckpointSink {
  readonly saved: { info: CheckpointInfo; load: () => Promise<Checkpoint> }[] = [];

  async save(checkpoint: Checkpoint): Promise<CheckpointInfo> {
    const encoded = await encodeCheckpoint(checkpoint);
    const { kind, state } = checkpoint;
    const info: CheckpointInfo = {
      id: String(this.saved.length),
      runId: state.runId,
      kind,
      epoch: state.epoch,
      step: state.step,
      batchInEpoch: state.batchInEpoch,
      valDice: null,
      bytes: encoded.manifest.tensorBytes,
      savedAt: this.saved.length,
    };
    // Through JSON: a run in Node is resumed from files.
    const manifest = JSON.parse(JSON.stringify(encoded.manifest)) as typeof encoded.manifest;
    this.saved.push({ info, load: () => decodeCheckpoint({ manifest, parts: encoded.parts }) });
    return info;
  }
}

export interface Recorded {
  readonly events: TrainEvent[];
  readonly sink: MemorySink;
  readonly outcome: TrainOutcome | null;
  readonly error: unknown;
  readonly losses: number[];
}

/** Trains with everything recorded; errors are returned. */
export async function train(
  config: StudioConfig,
  options: Partial<Omit<TrainRequest, 'events'>> & {
    readonly onEvent?: (event: TrainEvent, control: TrainControl) => void;
  } = {},
): Promise<Recorded> {
  const { onEvent, ...request } = options;
  const control = request.control ?? new TrainControl();
  const events: TrainEvent[] = [];
  const sink = new MemorySink();
  let outcome: TrainOutcome | null = null;
  let error: unknown = null;
  try {
    outcome = await runTraining({
      runId: 'run',
      config,
      labels: binaryLabels,
      split: split(5, 4),
      reader: new DiscReader(),
      device: testDevice,
      initial: null,
      resume: null,
      checkpoints: sink,
      now: () => 0, // wall clocks differ between runs; nothing else may
      ...request,
      control,
      events: {
        emit: (event) => {
          events.push(event);
          onEvent?.(event, control);
        },
      },
    });
  } catch (thrown) {
    error = thrown;
  }
  const losses = events.flatMap((e) => (e.type === 'stepsEnded' ? e.records.map((r) => r.loss) : []));
  return { events, sink, outcome, error, losses };
}

/** The bits of a tensor, so that equality means equality of bits (NaN and -0 included). */
export function bits(tensor: HostTensor): Uint8Array {
  return new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
}
