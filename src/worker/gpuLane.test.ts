import { describe, expect, it } from 'vitest';
import { GpuLane } from './gpuLane';

function gate(): { readonly open: () => void; readonly passed: Promise<void> } {
  let open: () => void = () => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open: () => open(), passed };
}

describe('GpuLane', () => {
  it('runs jobs one after the other, also after one that failed', async () => {
    const lane = new GpuLane();
    const order: string[] = [];
    const first = gate();
    const a = lane.job(async () => {
      await first.passed;
      order.push('a');
      throw new Error('a failed');
    });
    const b = lane.job(async () => {
      order.push('b');
    });
    first.open();
    await expect(a).rejects.toThrow('a failed');
    await b;
    expect(order).toEqual(['a', 'b']);
  });

  it('refuses jobs while a run trains, lets them through while it is paused', async () => {
    const lane = new GpuLane();
    const end = gate();
    const run = lane.train(() => end.passed);
    await expect(lane.job(async () => 1)).rejects.toMatchObject({ code: 'gpu-busy' });
    await expect(lane.train(async () => 1)).rejects.toMatchObject({ code: 'gpu-busy' });
    lane.setPaused(true);
    expect(await lane.job(async () => 2)).toBe(2);
    lane.setPaused(false);
    await expect(lane.job(async () => 1)).rejects.toMatchObject({ code: 'gpu-busy' });
    end.open();
    await run;
    expect(await lane.job(async () => 3)).toBe(3);
  });

  it('starts a run only after the jobs before it', async () => {
    const lane = new GpuLane();
    const order: string[] = [];
    const job = gate();
    const estimate = lane.job(async () => {
      await job.passed;
      order.push('estimate');
    });
    const run = lane.train(async () => {
      order.push('train');
    });
    job.open();
    await Promise.all([estimate, run]);
    expect(order).toEqual(['estimate', 'train']);
  });
});
