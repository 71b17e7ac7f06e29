/**
 * @file How much memory tensors take, and giving pooled memory back. May import lib, tfjs.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { MemoryUse } from './device';
import { webGpuBackend } from './webgpu';
import { wasmHeapBytes } from './wasm';

/** Live tensors, their bytes, and what the backend holds: GPU buffers with the free pool and those of plans, or the WASM heap. */
export function memoryUse(): MemoryUse {
  const { numTensors, numBytes } = tf.memory();
  const gpu = webGpuBackend();
  const poolBytes =
    gpu === null ? wasmHeapBytes() || numBytes : gpu.bufferManager.numBytesAllocated + gpu.ownBytes;
  return { tensors: numTensors, bytes: numBytes, poolBytes };
}

/** tfjs' BufferManager, whose pools are private in its types (reference/engine.md section 2, "Pool"). */
interface BufferPool {
  freeBuffers: Map<string, GPUBuffer[]>;
  numFreeBuffers: number;
  numBytesAllocated: number;
}

/**
 * Destroys the free buffers of the WebGPU pool, which tfjs never does: between runs, and after a change of image or batch size.
 * Returns the bytes given back; 0 on other backends.
 */
export function trimMemory(): number {
  const gpu = webGpuBackend();
  if (gpu === null) return 0;
  const pool = gpu.bufferManager as unknown as BufferPool;
  let freed = 0;
  for (const buffers of pool.freeBuffers.values()) {
    for (const buffer of buffers) {
      freed += buffer.size;
      buffer.destroy();
    }
    buffers.length = 0;
  }
  pool.numFreeBuffers = 0;
  pool.numBytesAllocated -= freed;
  return freed;
}
