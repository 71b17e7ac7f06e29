/**
 * @file The whole training step of a model, as a run makes it: upload, forward, loss, backward, clipping, update, read-back.
 */
import { configFiles } from '../../config/files';
import { resolveConfig } from '../../config/resolve';
import type { StudioConfig } from '../../config/types';
import type { PlanFigures } from '../../gpu/plan/plan';
import { Random } from '../../lib/random';
import { TrainingSession, type HostBatch } from '../../training/session';
import type { Runner } from './workload';

/** The configuration as the command line would compose it from configs/. */
export const benchConfig = (overrides: readonly string[]): StudioConfig =>
  resolveConfig(configFiles, 'train', ['data=phantom', ...overrides]).config;

/** Noise with a disc as label: every loss term is alive. */
export function noiseBatch(count: number, size: number): HostBatch {
  const random = new Random('bench');
  const images = Float32Array.from({ length: count * size * size * 3 }, () => random.uniform(-1, 1));
  const labels = Int32Array.from({ length: count * size * size }, (_, i) => {
    const x = (i % size) - size / 2;
    const y = (Math.floor(i / size) % size) - size / 2;
    return x * x + y * y < (size * size) / 16 ? 1 : 0;
  });
  return { images, labels, count, size };
}

export class ModelStep implements Runner {
  readonly repeats = 1;
  private readonly session: TrainingSession;
  private readonly batches: readonly HostBatch[];
  private steps = 0;

  constructor(overrides: readonly string[], batch: number) {
    const config = benchConfig(overrides);
    this.session = new TrainingSession(config, null);
    this.batches = [noiseBatch(batch, config.model.image_size)];
  }

  get plans(): readonly PlanFigures[] {
    return this.session.planFigures;
  }

  async step(): Promise<number> {
    const index = this.steps++;
    const { loss } = await this.session.step(this.batches, 1e-4, index, index);
    return loss;
  }

  dispose(): void {
    this.session.dispose();
  }
}
