/**
 * @file Records the dispatches of a function on tensors without running them: no GPU memory, no work, no values. May import tfjs.
 *
 * While recording, the backend's device, queue and buffer manager are stand-ins: buffers are virtual, pipelines are their WGSL,
 * and a dispatch becomes an entry of a list. Everything above (TensorFlow.js' operations, its tape, our kernels) runs unchanged.
 * Reading a tensor's values inside is an error: there are none. (reference/engine.md section 6, "dry trace".)
 */
import type { BackendInternals, BufferView, StudioBackend } from '../studioBackend';
import { isView } from '../studioBackend';

/** Why a function cannot be recorded; the caller falls back to the tape. */
export class RecordingError extends Error {
  override readonly name = 'RecordingError';
}

export type Access = 'read' | 'read_write' | 'uniform';

/** A buffer that exists in a recording only. */
export class VirtualBuffer {
  /** Contents, for uniforms and constants. */
  data: Uint8Array | null = null;
  mapState: GPUBufferMapState;
  private mapped: ArrayBuffer | null = null;

  constructor(
    readonly id: number,
    readonly size: number, // bytes
    readonly usage: number,
    readonly kind: 'temporary' | 'constant' | 'uniform',
  ) {
    this.mapState = kind === 'constant' ? 'mapped' : 'unmapped';
  }

  getMappedRange(): ArrayBuffer {
    this.mapped ??= new ArrayBuffer(this.size);
    return this.mapped;
  }

  unmap(): void {
    if (this.mapped !== null) this.data = new Uint8Array(this.mapped);
    this.mapState = 'unmapped';
  }

  destroy(): void {
    // nothing is held
  }
}

/** A pipeline to be compiled later. */
export class DeferredPipeline {
  constructor(
    readonly code: string,
    readonly label: string,
    readonly entryPoint: string,
    readonly access: readonly Access[],
  ) {}

  getBindGroupLayout(): null {
    return null;
  }
}

export interface RecordedBinding {
  readonly binding: number;
  readonly access: Access;
  /** Virtual, or a range of a real buffer that outlives the plan (weights, inputs). */
  readonly target: VirtualBuffer | BufferView;
}

export interface RecordedDispatch {
  readonly pipeline: DeferredPipeline;
  readonly bindings: readonly RecordedBinding[];
  readonly groups: readonly [number, number, number];
}

const DECLARATION =
  /@group\(0\)\s*@binding\((\d+)\)\s*var\s*<\s*(storage|uniform)\s*(?:,\s*(read_write|read))?\s*>/g;

/** How a WGSL module uses its bindings, by number. */
function bindingAccess(code: string): Access[] {
  const access: Access[] = [];
  for (const [, number, space, mode] of code.matchAll(DECLARATION)) {
    access[Number(number)] = space === 'uniform' ? 'uniform' : mode === 'read_write' ? 'read_write' : 'read';
  }
  return access;
}

interface StandIns {
  readonly device: GPUDevice;
  readonly queue: GPUQueue;
  readonly bufferManager: StudioBackend['bufferManager'];
  readonly pipelineCache: Record<string, unknown>;
  readonly programs: Map<string, GPUComputePipeline>;
}

export class Recording {
  readonly dispatches: RecordedDispatch[] = [];
  private buffers = 0;
  private readonly pipelines = new Map<string, DeferredPipeline>();
  private readonly uploads: { dataId: object; buffer: VirtualBuffer }[] = [];

  constructor(private readonly backend: StudioBackend) {}

  /**
   * Runs `trace`, whose dispatches are recorded. Tensors it returns keep virtual buffers (`virtualOf`) and must be disposed of by
   * the caller; they have no values.
   * @throws RecordingError when `trace` needs values, and whatever `trace` throws.
   */
  run<T>(trace: () => T): T {
    const { backend } = this;
    if (backend.recording !== null) throw new RecordingError('A recording is already running');
    backend.flush();
    const real: StandIns = {
      device: backend.device,
      queue: backend.queue,
      bufferManager: backend.bufferManager,
      pipelineCache: backend.internals.pipelineCache,
      programs: backend.programs,
    };
    this.install(this.standIns(real.device));
    backend.recording = this;
    try {
      const result = trace();
      backend.flush(); // lets tfjs dispose of what it holds until a submit
      return result;
    } finally {
      backend.discardEncoded();
      backend.recording = null;
      this.install(real);
      this.restoreUploads();
    }
  }

  /** The virtual buffer of a tensor made while recording. */
  virtualOf(dataId: object): VirtualBuffer {
    const { resource } = this.backend.record(dataId);
    if (resource instanceof VirtualBuffer) return resource;
    throw new RecordingError('The tensor was not computed inside the recording');
  }

  /** Called by the backend after it gave a tensor a buffer. */
  uploaded(dataId: object): void {
    const { resource } = this.backend.record(dataId);
    if (resource instanceof VirtualBuffer && resource.kind === 'constant') {
      this.uploads.push({ dataId, buffer: resource });
    }
  }

  private install(parts: StandIns): void {
    const { backend } = this;
    backend.device = parts.device;
    backend.queue = parts.queue;
    backend.bufferManager = parts.bufferManager;
    (backend.internals as { pipelineCache: BackendInternals['pipelineCache'] }).pipelineCache =
      parts.pipelineCache;
    backend.programs = parts.programs;
  }

  /** Host tensors that outlive the recording (made before it, first used inside) get their values back. */
  private restoreUploads(): void {
    for (const { dataId, buffer } of this.uploads) {
      if (!this.backend.tensorMap.has(dataId)) continue;
      const record = this.backend.record(dataId);
      if (record.resource !== buffer || buffer.data === null) continue;
      const { buffer: bytes } = buffer.data;
      record.values = record.dtype === 'float32' ? new Float32Array(bytes) : new Int32Array(bytes);
      record.resource = null;
    }
  }

  private standIns(device: GPUDevice): StandIns {
    const queue = {
      writeBuffer: (buffer: unknown, offset: number, data: ArrayBuffer, from: number, size: number) => {
        if (!(buffer instanceof VirtualBuffer) || buffer.kind !== 'uniform' || offset !== 0) {
          throw new RecordingError('A host write inside the recording would not be repeated');
        }
        buffer.data = new Uint8Array(data.slice(from, from + size));
      },
      submit: () => undefined,
    };
    const standIn = {
      limits: device.limits,
      features: device.features,
      queue,
      createShaderModule: (module: GPUShaderModuleDescriptor) => module,
      createComputePipeline: (description: GPUComputePipelineDescriptor) => this.pipeline(description),
      createBindGroup: (description: GPUBindGroupDescriptor) => description,
      createCommandEncoder: () => this.encoder(),
      createBuffer: () => {
        throw new RecordingError('A buffer was made by hand inside the recording');
      },
    };
    const bufferManager = {
      numBytesUsed: 0,
      numBytesAllocated: 0,
      acquireBuffer: (size: number, usage: number, mapped = false) => this.acquire(size, usage, mapped),
      releaseBuffer: () => undefined,
      getNumUsedBuffers: () => 0,
      getNumFreeBuffers: () => 0,
    };
    return {
      device: standIn as unknown as GPUDevice,
      queue: queue as unknown as GPUQueue,
      bufferManager: bufferManager as unknown as StudioBackend['bufferManager'],
      pipelineCache: {},
      programs: new Map(),
    };
  }

  private acquire(size: number, usage: number, mapped: boolean): VirtualBuffer {
    if ((usage & GPUBufferUsage.MAP_READ) !== 0) {
      throw new RecordingError('A value was read on the host inside the recording');
    }
    const uniform = (usage & GPUBufferUsage.UNIFORM) !== 0;
    const kind = uniform ? 'uniform' : mapped ? 'constant' : 'temporary';
    return new VirtualBuffer(this.buffers++, size, usage, kind);
  }

  private pipeline({ compute, label = '' }: GPUComputePipelineDescriptor): DeferredPipeline {
    const { code } = compute.module as unknown as { code: string };
    let pipeline = this.pipelines.get(code);
    if (pipeline === undefined) {
      pipeline = new DeferredPipeline(code, label, compute.entryPoint ?? 'main', bindingAccess(code));
      this.pipelines.set(code, pipeline);
    }
    return pipeline;
  }

  private encoder(): unknown {
    return {
      beginComputePass: () => this.pass(),
      copyBufferToBuffer: () => {
        throw new RecordingError('A buffer copy inside the recording would not be repeated');
      },
      finish: () => null,
    };
  }

  private pass(): unknown {
    let pipeline: DeferredPipeline | null = null;
    let entries: Iterable<GPUBindGroupEntry> = [];
    return {
      setPipeline: (next: DeferredPipeline) => {
        pipeline = next;
      },
      setBindGroup: (_: number, group: GPUBindGroupDescriptor) => {
        ({ entries } = group);
      },
      dispatchWorkgroups: (x: number, y = 1, z = 1) => {
        if (pipeline === null) throw new RecordingError('A dispatch without a pipeline');
        const { access } = pipeline;
        const bindings = [...entries].map(({ binding, resource }) => ({
          binding,
          access: access[binding] ?? 'read_write',
          target: bindingTarget(resource),
        }));
        this.dispatches.push({ pipeline, bindings, groups: [x, y, z] });
      },
      end: () => undefined,
    };
  }
}

/** What a bind group entry stands for. A real buffer must be a view: buffers of tfjs' pool may be reused under a plan. */
function bindingTarget(resource: unknown): VirtualBuffer | BufferView {
  if (resource instanceof VirtualBuffer) return resource;
  const { buffer } = resource as { buffer: unknown };
  if (buffer instanceof VirtualBuffer) return buffer;
  if (isView(resource)) return resource;
  throw new RecordingError('A tensor computed before the recording is used inside it');
}
