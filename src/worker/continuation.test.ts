import { describe, expect, it } from 'vitest';
import type { StudioConfig } from '../config/types';
import { describeContinuation } from './continuation';

const config = (name: StudioConfig['lr_scheduler']['name']): StudioConfig =>
  ({
    training: { num_epochs: 10, base_lr: 0.1 },
    lr_scheduler: { name, warmup_epochs: 0, warmup_iters: 0, power: 1, end_lr: 0 },
  }) as unknown as StudioConfig;

describe('describeContinuation', () => {
  it('gives the numbers of the jump: linear decay, 10 epochs done, 20 asked', () => {
    const note = describeContinuation(config('warmup_poly'), { epoch: 10, step: 100 }, 20);
    expect(note).toContain('from 1.00e-2 to 5.00e-2'); // 0.1 * (1 - 9/10), then 0.1 * (1 - 10/20)
    expect(note).toContain('Epochs 11 to 20');
  });

  it('per iteration, with the steps per epoch of the run', () => {
    const note = describeContinuation(config('poly_iter'), { epoch: 10, step: 100 }, 20);
    expect(note).toContain('to 5.05e-2'); // step 100 runs at the value of step 99 of 200
  });

  it('says when nothing jumps, and refuses fewer epochs', () => {
    expect(describeContinuation(config('constant'), { epoch: 10, step: 100 }, 20)).toContain(
      'stays at 1.00e-1',
    );
    expect(describeContinuation(config('plateau'), { epoch: 10, step: 100 }, 20)).toContain('where it stood');
    expect(describeContinuation(config('cosine'), { epoch: 4, step: 40 }, 10)).toContain('to its end');
    expect(describeContinuation(config('cosine'), { epoch: 10, step: 100 }, 10)).toContain('choose more');
  });
});
