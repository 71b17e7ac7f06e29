/**
 * @file A recording made executable: real buffers, bind groups made once, one compute pass per replay. May import gpu.
 */
import { outOfMemoryError } from '../health';
import type { BufferView, StudioBackend } from '../studioBackend';
import { largestLiveSet, lifetimes, planSlots, type Slot } from './lifetimes';
import type { DeferredPipeline, RecordedDispatch } from './recording';
import { VirtualBuffer } from './recording';
import type { SlotPool } from './slots';

/** Uniform and storage offsets are multiples of this many bytes (WebGPU's default limit). */
export const ALIGNMENT = 256;

export interface PlanFigures {
  readonly dispatches: number;
  readonly pipelines: number;
  /** Bytes of the slots that the plan needs for temporaries. */
  readonly slotBytes: number;
  /** Bytes of temporaries alive at once at the worst moment: the lower bound of slotBytes. */
  readonly liveBytes: number;
  readonly constantBytes: number; // uniforms and constants
}

const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

export class Plan {
  readonly figures: PlanFigures;
  readonly slots: readonly Slot[];
  private pipelines: GPUComputePipeline[] = [];
  private groups: GPUBindGroup[] = [];
  private readonly sizes: Uint32Array;
  private constants: GPUBuffer | null = null;
  private uniforms: GPUBuffer | null = null;
  private boundGeneration = -1;
  private readonly offsets = new Map<VirtualBuffer, number>();
  private readonly constantImage: Uint8Array;
  private readonly uniformImage: Uint8Array;

  /**
   * @param placed virtual buffers that live in a range of a real buffer (gradients) instead of a slot.
   * @param results virtual buffers that are read after a replay.
   */
  constructor(
    private readonly backend: StudioBackend,
    private readonly pool: SlotPool,
    readonly dispatches: readonly RecordedDispatch[],
    private readonly placed: ReadonlyMap<VirtualBuffer, BufferView>,
    results: ReadonlySet<VirtualBuffer>,
  ) {
    const lives = lifetimes(dispatches, results).filter(({ buffer }) => !placed.has(buffer));
    assertBindable(dispatches, backend.device);
    this.slots = planSlots(lives);
    this.uniformImage = this.gather('uniform');
    this.constantImage = this.gather('constant');
    this.sizes = Uint32Array.from(dispatches.flatMap(({ groups }) => groups));
    this.figures = {
      dispatches: dispatches.length,
      pipelines: new Set(dispatches.map(({ pipeline }) => pipeline)).size,
      slotBytes: this.slots.reduce((sum, { size }) => sum + size, 0),
      liveBytes: largestLiveSet(lives),
      constantBytes: this.uniformImage.length + this.constantImage.length,
    };
  }

  /** Sizes of the slots in bytes, largest first. */
  get slotSizes(): number[] {
    return this.slots.map(({ size }) => size);
  }

  /** Compiles all pipelines in parallel, once; those of other plans are shared. */
  async compile(): Promise<void> {
    if (this.pipelines.length > 0) return;
    const { device, programs } = this.backend;
    const wanted = new Map<string, DeferredPipeline>();
    for (const { pipeline } of this.dispatches) wanted.set(pipeline.code, pipeline);
    await Promise.all(
      [...wanted].map(async ([code, { label, entryPoint }]) => {
        if (programs.has(code)) return;
        const module = device.createShaderModule({ code, label });
        const compute = { module, entryPoint };
        programs.set(code, await device.createComputePipelineAsync({ layout: 'auto', label, compute }));
      }),
    );
    this.pipelines = this.dispatches.map(({ pipeline }) => programs.get(pipeline.code) as GPUComputePipeline);
  }

  /** Makes the buffers, as `bind` does; alone where they are only counted (StudioBackend.countOnly). Returns those of the slots. */
  reserve(): readonly GPUBuffer[] {
    this.uniforms ??= filledBuffer(this.backend, this.uniformImage, GPUBufferUsage.UNIFORM);
    this.constants ??= filledBuffer(this.backend, this.constantImage, GPUBufferUsage.STORAGE);
    return this.pool.ensure(this.slotSizes);
  }

  /** Makes buffers and bind groups, again after the pool has replaced buffers. Call before `encode`. */
  bind(): void {
    const buffers = this.reserve();
    if (this.boundGeneration === this.pool.generation) return;
    const { device } = this.backend;
    const slotOf = new Map<VirtualBuffer, GPUBuffer>();
    this.slots.forEach((slot, i) => {
      for (const { buffer } of slot.lives) slotOf.set(buffer, buffers[i] as GPUBuffer);
    });
    this.groups = this.dispatches.map(({ bindings }, i) => {
      const pipeline = this.pipelines[i];
      if (pipeline === undefined) throw new Error('The plan was bound before it was compiled');
      const entries = bindings.map(({ binding, target }) => ({
        binding,
        resource: this.resource(target, slotOf),
      }));
      return device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    });
    this.boundGeneration = this.pool.generation;
  }

  /** The range of a result after a replay; valid until the next replay of any plan of the pool. */
  viewOf(buffer: VirtualBuffer): BufferView {
    const at = this.slots.findIndex(({ lives }) => lives.some((life) => life.buffer === buffer));
    if (at < 0) throw new Error('The buffer is no temporary of this plan');
    return { buffer: this.pool.ensure(this.slotSizes)[at] as GPUBuffer, offset: 0, size: buffer.size };
  }

  /** Adds all dispatches to a compute pass. */
  encode(pass: GPUComputePassEncoder): void {
    const { pipelines, groups, sizes } = this;
    let current: GPUComputePipeline | null = null;
    for (let i = 0; i < groups.length; i++) {
      const pipeline = pipelines[i] as GPUComputePipeline;
      if (pipeline !== current) {
        pass.setPipeline(pipeline);
        current = pipeline;
      }
      pass.setBindGroup(0, groups[i] as GPUBindGroup);
      pass.dispatchWorkgroups(sizes[i * 3] as number, sizes[i * 3 + 1], sizes[i * 3 + 2]);
    }
  }

  dispose(): void {
    if (this.uniforms !== null) this.backend.free(this.uniforms);
    if (this.constants !== null) this.backend.free(this.constants);
    this.uniforms = null;
    this.constants = null;
    this.groups = [];
    this.boundGeneration = -1;
  }

  private resource(target: VirtualBuffer | BufferView, slotOf: ReadonlyMap<VirtualBuffer, GPUBuffer>) {
    if (!(target instanceof VirtualBuffer)) return target;
    const view = this.placed.get(target);
    if (view !== undefined) return view;
    const slot = slotOf.get(target);
    if (slot !== undefined) return { buffer: slot, offset: 0, size: target.size };
    const buffer = (target.kind === 'uniform' ? this.uniforms : this.constants) as GPUBuffer;
    return { buffer, offset: this.offsets.get(target) as number, size: target.size };
  }

  /** The contents of all uniforms or constants, equal ones once, each at an aligned offset. */
  private gather(kind: 'uniform' | 'constant'): Uint8Array {
    const known = new Map<string, number>();
    const parts: { at: number; data: Uint8Array }[] = [];
    let end = 0;
    for (const { bindings, pipeline } of this.dispatches) {
      for (const { target } of bindings) {
        if (!(target instanceof VirtualBuffer) || target.kind !== kind || this.offsets.has(target)) continue;
        if (target.data === null) throw new Error(`${pipeline.label}: a ${kind} buffer without contents`);
        const key = `${target.data.length}:${target.data.join()}`;
        let at = known.get(key);
        if (at === undefined) {
          at = end;
          known.set(key, at);
          parts.push({ at, data: target.data });
          end += align(target.data.length);
        }
        this.offsets.set(target, at);
      }
    }
    const image = new Uint8Array(Math.max(end, ALIGNMENT));
    for (const { at, data } of parts) image.set(data, at);
    return image;
  }
}

function filledBuffer(backend: StudioBackend, image: Uint8Array, usage: number): GPUBuffer {
  const buffer = backend.allocate(image.length, usage);
  backend.writeInto(buffer, 0, image);
  return buffer;
}

/** Throws UserError 'gpu-out-of-memory' when a kernel needs more of a buffer, a slot's or another's, than the device can bind. */
function assertBindable(dispatches: readonly RecordedDispatch[], device: GPUDevice): void {
  const limit = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
  let largest = 0;
  for (const { bindings } of dispatches) {
    for (const { target } of bindings) largest = Math.max(largest, target.size);
  }
  if (largest <= limit) return;
  const [mb, has] = [largest, limit].map((bytes) => Math.round(bytes / 2 ** 20));
  throw outOfMemoryError(`one tensor takes ${mb} MiB, the device binds at most ${has} MiB`);
}
