/**
 * @file What AdamW is compared with: a copy kernel that moves the same bytes (reads four arrays, writes three) and computes next to
 * nothing. In two forms, of which the faster counts: one vec4 per invocation, or AdamW's own tile of two.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { Arena } from '../../gpu/arena';
import { FLAT_GROUP, flatGroups, launch } from '../../gpu/launch';
import { Plan, type PlanFigures } from '../../gpu/plan/plan';
import { Recording } from '../../gpu/plan/recording';
import { SlotPool } from '../../gpu/plan/slots';
import type { StudioBackend } from '../../gpu/studioBackend';
import type { Runner } from './workload';

const WORKGROUP = 64;

// Three moves in a circle, so that nothing read is unused and nothing written is what was there.
const MOVE = 'let first = m[i]; let second = v[i]; v[i] = max(p[i], g[i]); p[i] = first; m[i] = second;';

const HEAD = `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let at = flatGroup(group, count) * ${WORKGROUP}u + lane;`;

const WGSL = {
  single: `${HEAD}
  let i = at;
  if (i >= u.quads) { return; }
  ${MOVE}
}`,
  tiled: `${HEAD}
  let start = at / 8u * 16u + at % 8u;
  if (start + 8u >= u.quads) { return; }
  { let i = start; ${MOVE} }
  { let i = start + 8u; ${MOVE} }
}`,
};

export class CopyStep implements Runner {
  private readonly arena: Arena;
  private readonly pool: SlotPool;
  private plan: Plan | null = null;

  /** @param elements of each array, a multiple of 64. */
  constructor(
    private readonly backend: StudioBackend,
    private readonly form: keyof typeof WGSL,
    private readonly elements: number,
    readonly repeats = 1,
  ) {
    this.pool = new SlotPool(backend);
    this.arena = new Arena(
      backend,
      ['p', 'g', 'm', 'v'].map((name) => ({ name, shape: [elements] })),
    );
  }

  async prepare(): Promise<void> {
    const { arena, form } = this;
    const part = (name: string): { tensor: tf.Tensor; type: string } => ({
      tensor: arena.tensor(name),
      type: 'vec4<f32>',
    });
    const quads = this.elements / 4;
    const recording = new Recording(this.backend);
    recording.run(() =>
      launch({
        name: 'bench-copy',
        variant: form,
        // One buffer holds all four, and WebGPU lets a buffer be read only or written, not both: so all are declared writable.
        inputs: {},
        updates: { p: part('p'), g: part('g'), m: part('m'), v: part('v') },
        uniforms: { quads: ['u32', quads] },
        groups: flatGroups(Math.ceil(quads / (form === 'tiled' ? 2 : 1) / WORKGROUP)),
        wgsl: () => WGSL[form],
      }),
    );
    this.plan = new Plan(this.backend, this.pool, recording.dispatches, new Map(), new Set());
    await this.plan.compile();
    this.plan.bind();
  }

  get plans(): readonly PlanFigures[] {
    return this.plan === null ? [] : [this.plan.figures];
  }

  async step(): Promise<number> {
    const { backend, plan } = this;
    if (plan === null) throw new Error('prepare() was not called');
    backend.flush();
    const encoder = backend.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let i = 0; i < this.repeats; i++) plan.encode(pass);
    pass.end();
    backend.queue.submit([encoder.finish()]);
    const corner = backend.viewTensor({ ...this.arena.view('p'), size: 4 }, [1]);
    const [value] = await corner.data();
    corner.dispose();
    return value as number;
  }

  dispose(): void {
    this.plan?.dispose();
    this.arena.dispose();
    this.pool.dispose();
  }
}
