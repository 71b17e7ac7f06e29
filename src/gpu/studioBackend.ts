/**
 * @file TensorFlow.js' WebGPU backend with three additions: tensors that are a range of a larger buffer, our own WGSL programs in the
 * same compute pass, and the swap of its device for a recording one. May import tfjs.
 *
 * The members used below are public in JavaScript and private in the typings (tfjs-backend-webgpu 4.22, backend_webgpu.ts).
 */
import * as tf from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

/** A range of a GPU buffer, as WebGPU binds it; offset a multiple of 256 bytes. */
export interface BufferView {
  readonly buffer: GPUBuffer;
  readonly offset: number; // bytes
  readonly size: number; // bytes
}

/** One dispatch of a program of ours. */
export interface ProgramRun {
  readonly label: string;
  /** Whole WGSL module; the key of the pipeline cache. Entry point `main`. */
  readonly code: string;
  /** Storage bindings 0, 1, ... in order. */
  readonly bindings: readonly object[]; // data ids
  /** Uniform block, bound after the storage bindings; null when the program has none. */
  readonly uniforms: ArrayBuffer | null;
  readonly groups: readonly [number, number, number];
}

interface TensorRecord {
  values: unknown;
  resource?: unknown;
  dtype: tf.DataType;
  shape: number[];
  refCount: number;
  external?: boolean;
}

/** What TypeScript hides. */
export interface BackendInternals {
  commandEncoder: GPUCommandEncoder | null;
  computePassEncoder: GPUComputePassEncoder | null;
  commandQueueOwnedIds: WeakSet<object>;
  dispatchCountInPass: number;
  uniformPendingDisposal: GPUBuffer[];
  pipelineCache: Record<string, unknown>;
  convertAndCacheOnCPU(dataId: object, data: tf.backend_util.TypedArray): tf.backend_util.TypedArray;
}

/** Stands for a buffer of `allocate` while buffers are only counted; has no memory. */
class CountedBuffer {
  constructor(readonly size: number) {}

  destroy(): void {
    // nothing is held
  }
}

/** Dispatches per submit while taping; tfjs' own default. */
const BATCH = 15;

export function isView(resource: unknown): resource is BufferView {
  return typeof resource === 'object' && resource !== null && 'buffer' in resource && 'offset' in resource;
}

function isCounted(buffer: unknown): boolean {
  return buffer instanceof CountedBuffer;
}

export class StudioBackend extends WebGPUBackend {
  /** Pipelines of our programs by WGSL text. */
  programs = new Map<string, GPUComputePipeline>();
  /** Set while a recording has replaced the device (plan/recording.ts). */
  recording: { uploaded(dataId: object): void } | null = null;

  /** "swiftshader", "ampere", ...; asked of the adapter, since a recording replaces the device. */
  readonly architecture: string;

  /** @param software whether the adapter computes on the CPU; kernels choose their tiles by it. */
  constructor(
    device: GPUDevice,
    info: GPUAdapterInfo,
    readonly software: boolean,
  ) {
    super(device, info);
    this.architecture = info.architecture;
    const internals = this.internals;
    const cache = internals.convertAndCacheOnCPU.bind(this);
    // A view may be written by a replayed plan or in place, which tfjs' copy on the host would hide.
    internals.convertAndCacheOnCPU = (dataId, data) =>
      isView(this.record(dataId).resource) ? data : cache(dataId, data);
  }

  get internals(): BackendInternals {
    return this as unknown as BackendInternals;
  }

  record(dataId: object): TensorRecord {
    return this.tensorMap.get(dataId) as unknown as TensorRecord;
  }

  /** A float32 or int32 tensor over a range of a buffer that the caller owns and outlives it. Not tracked by tf.tidy. */
  viewTensor(view: BufferView, shape: readonly number[], dtype: 'float32' | 'int32' = 'float32'): tf.Tensor {
    const info = this.makeTensorInfo([...shape], dtype);
    const record = this.record(info.dataId);
    record.resource = view;
    record.external = true;
    return tf.keep(tf.engine().makeTensorFromTensorInfo(info, this));
  }

  /** The buffer range of a tensor on the device; uploads it first if needed. */
  viewOf(tensor: tf.TensorInfo): BufferView {
    this.uploadToGPU(tensor.dataId);
    const { resource } = this.record(tensor.dataId);
    if (isView(resource)) return resource;
    const buffer = resource as GPUBuffer;
    return { buffer, offset: 0, size: buffer.size };
  }

  /** Bytes of buffers made by `allocate` and not yet freed. */
  ownBytes = 0;

  /** A storage buffer outside tfjs' pool, cleared; for weights, inputs and plans. Count of its bytes in `ownBytes`. */
  allocate(size: number, usage = GPUBufferUsage.STORAGE): GPUBuffer {
    if (this.counting) return new CountedBuffer(size) as unknown as GPUBuffer;
    const buffer = this.device.createBuffer({
      size,
      usage: usage | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.ownBytes += size;
    return buffer;
  }

  /** Destroys a buffer of `allocate`. Work already submitted still finishes. */
  free(buffer: GPUBuffer): void {
    if (isCounted(buffer)) return;
    this.ownBytes -= buffer.size;
    buffer.destroy();
  }

  private counting = false;

  /**
   * Runs `work`, in which `allocate` gives stand-ins without memory. What is made of them can be recorded, never dispatched, and knows
   * its bytes: the memory of a run before it starts. `work` must dispose of what it makes.
   */
  countOnly<T>(work: () => T): T {
    const before = this.counting;
    this.counting = true;
    try {
      return work();
    } finally {
      this.counting = before;
    }
  }

  /** Writes from the host into a buffer of `allocate`, after all work encoded so far; nothing into a stand-in. */
  writeInto(buffer: GPUBuffer, offset: number, values: Float32Array | Int32Array | Uint8Array): void {
    if (isCounted(buffer)) return;
    this.flush();
    this.queue.writeBuffer(buffer, offset, values as Float32Array<ArrayBuffer>);
  }

  /** Ends the pass and submits what is encoded; needed before any write by the host, which would overtake it. */
  flush(): void {
    this.endComputePassEncoder();
    if (this.internals.commandEncoder !== null) this.submitQueue();
  }

  /** Forgets what is encoded and not submitted: after a recording, whose commands are its own. */
  discardEncoded(): void {
    const { internals } = this;
    internals.computePassEncoder = null;
    internals.commandEncoder = null;
    internals.dispatchCountInPass = 0;
    internals.uniformPendingDisposal = [];
  }

  override uploadToGPU(dataId: object): void {
    super.uploadToGPU(dataId);
    this.recording?.uploaded(dataId);
  }

  override async getBufferData(resource: GPUBuffer): Promise<ArrayBuffer> {
    const whole: unknown = resource;
    if (!isView(whole)) return super.getBufferData(resource);
    const { buffer, offset, size } = whole;
    const staging = this.device.createBuffer({
      size,
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
    try {
      this.ensureCommandEncoderReady();
      this.endComputePassEncoder();
      this.internals.commandEncoder?.copyBufferToBuffer(buffer, offset, staging, 0, size);
      this.submitQueue();
      await staging.mapAsync(GPUMapMode.READ);
      return staging.getMappedRange().slice(0);
    } finally {
      staging.destroy();
    }
  }

  /** Encodes one dispatch of our own into the pass that tfjs' operations use, in program order with them. */
  runProgram(run: ProgramRun): void {
    const { internals, device } = this;
    const storage = run.bindings.map((dataId) => {
      this.uploadToGPU(dataId);
      internals.commandQueueOwnedIds.add(dataId);
      const { resource } = this.record(dataId);
      return isView(resource) ? resource : { buffer: resource as GPUBuffer };
    });
    const entries: GPUBindGroupEntry[] = storage.map((resource, binding) => ({ binding, resource }));
    if (run.uniforms !== null) {
      const { byteLength } = run.uniforms;
      const buffer = this.bufferManager.acquireBuffer(
        byteLength,
        GPUBufferUsage.COPY_DST | GPUBufferUsage.UNIFORM,
      );
      this.queue.writeBuffer(buffer, 0, run.uniforms, 0, byteLength);
      internals.uniformPendingDisposal.push(buffer);
      entries.push({ binding: entries.length, resource: { buffer } });
    }
    const pipeline = this.pipeline(run);
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    this.ensureCommandEncoderReady();
    internals.computePassEncoder ??= (internals.commandEncoder as GPUCommandEncoder).beginComputePass();
    internals.computePassEncoder.setPipeline(pipeline);
    internals.computePassEncoder.setBindGroup(0, group);
    internals.computePassEncoder.dispatchWorkgroups(...run.groups);
    internals.dispatchCountInPass++;
    if (internals.dispatchCountInPass >= BATCH) {
      this.endComputePassEncoder();
      this.submitQueue();
    }
  }

  private pipeline({ code, label }: ProgramRun): GPUComputePipeline {
    let pipeline = this.programs.get(code);
    if (pipeline === undefined) {
      const module = this.device.createShaderModule({ code, label });
      pipeline = this.device.createComputePipeline({
        layout: 'auto',
        label,
        compute: { module, entryPoint: 'main' },
      });
      this.programs.set(code, pipeline);
    }
    return pipeline;
  }
}
