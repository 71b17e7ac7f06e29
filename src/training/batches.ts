/**
 * @file The batches of an epoch: seeded order, augmentation, assembly. Imports data.
 */
import type { StudioConfig } from '../config/types';
import { augment } from '../data/augment';
import { assembleBatch } from '../data/batch';
import { epochBatches } from '../data/sampler';
import type { SampleReader } from '../data/types';
import type { HostBatch } from './session';

/** The micro-batches of one optimiser step. */
export interface TrainBatch {
  readonly parts: readonly HostBatch[];
  readonly ids: readonly string[];
}

export class BatchSource {
  constructor(
    private readonly config: StudioConfig,
    private readonly ids: readonly string[],
    private readonly reader: SampleReader,
  ) {}

  /** Micro-batches of an epoch: an order that depends on seed and epoch alone. A single short batch is kept even with drop_last. */
  private batches(epoch: number): readonly (readonly string[])[] {
    const { batch_size, drop_last } = this.config.training;
    return epochBatches(this.ids, {
      seed: this.config.seed,
      epoch,
      batchSize: batch_size,
      dropLast: drop_last,
    });
  }

  get batchesPerEpoch(): number {
    return this.batches(0).length;
  }

  /** Sample ids per optimiser step and micro-batch. */
  groups(epoch: number): readonly (readonly (readonly string[])[])[] {
    const all = this.batches(epoch);
    const k = this.config.training.accumulation_steps;
    const out: (readonly (readonly string[])[])[] = [];
    for (let i = 0; i < all.length; i += k) out.push(all.slice(i, i + k));
    return out;
  }

  async load(epoch: number, group: readonly (readonly string[])[]): Promise<TrainBatch> {
    const { config } = this;
    const size = config.model.image_size;
    const parts = await Promise.all(
      group.map(async (ids) => {
        const samples = await Promise.all(ids.map((id) => this.reader.prepared(id, size)));
        const seen = samples.map((sample) =>
          config.augmentation.enabled
            ? {
                ...sample,
                ...augment(sample, config.augmentation, config.task.type, [config.seed, epoch, sample.id]),
              }
            : sample,
        );
        return assembleBatch(seen, size, config.data.normalization);
      }),
    );
    return { parts, ids: group.flat() };
  }
}
