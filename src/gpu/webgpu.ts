/**
 * @file Starts TensorFlow.js' WebGPU backend on a device of our own. May import lib, tfjs.
 * Own device because the stock one leaves out shader-f16, subgroups and several limits (reference/engine.md section 2, pattern 0).
 */
import * as tf from '@tensorflow/tfjs-core';
import type { DeviceInfo } from './device';
import { watchDevice } from './health';
import { StudioBackend } from './studioBackend';

/** WebGPU's own guaranteed minimum (the "core" profile); compatibility-mode adapters fall short of it. */
const NEEDED_LIMITS = {
  maxBufferSize: 268_435_456, // bytes
  maxStorageBufferBindingSize: 134_217_728, // bytes
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16_384, // bytes
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupsPerDimension: 65_535,
} as const;

/** Asked for at the adapter's best: what kernels can use. */
const WANTED_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
  'maxUniformBufferBindingSize',
  'maxBindingsPerBindGroup',
  'maxBindGroups',
] as const;

const WANTED_FEATURES: readonly GPUFeatureName[] = [
  'shader-f16',
  'subgroups',
  'timestamp-query',
  'bgra8unorm-storage',
];

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/i;

export interface AdapterReport {
  readonly adapter: GPUAdapter;
  readonly name: string;
  readonly software: boolean;
  /** Limits below what training needs: "maxBufferSize is 100, needed 268435456". Empty: sufficient. */
  readonly missing: readonly string[];
}

/** Asks for the fastest adapter; null when the browser or driver offers none. */
export async function findAdapter(gpu: GPU): Promise<AdapterReport | null> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null) return null;
  const { info } = adapter;
  const words = [info.vendor, info.architecture, info.device].filter((word) => word !== '');
  const name = info.description !== '' ? info.description : words.join(' ') || 'unnamed GPU';
  const software = info.isFallbackAdapter || SOFTWARE.test(`${words.join(' ')} ${info.description}`);
  const missing = Object.entries(NEEDED_LIMITS)
    .map(([key, needed]) => ({ key, needed, has: adapter.limits[key as keyof typeof NEEDED_LIMITS] }))
    .filter(({ needed, has }) => has < needed)
    .map(({ key, needed, has }) => `${key} is ${has}, needed ${needed}`);
  return { adapter, name, software, missing };
}

/**
 * Requests the device, registers it as tfjs' 'webgpu' backend and makes it current.
 * The flags: small tensors stay on the GPU, and matMul always takes the packed program, because split-K gives wrong
 * results with a transposed operand and is not deterministic (reference/engine.md B1, reliability.md finding 5).
 */
export async function startWebGpu(report: AdapterReport, reason: string): Promise<DeviceInfo> {
  const { adapter } = report;
  const features = WANTED_FEATURES.filter((feature) => adapter.features.has(feature));
  const limits = Object.fromEntries(WANTED_LIMITS.map((key) => [key, adapter.limits[key]]));
  const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits: limits });
  watchDevice(device);
  tf.env().set('WEBGPU_CPU_FORWARD', false);
  tf.env().set('WEBGPU_MATMUL_PROGRAM_TYPE', 3);
  if (tf.findBackendFactory('webgpu') !== null) tf.removeBackend('webgpu');
  tf.registerBackend('webgpu', () => new StudioBackend(device, adapter.info, report.software), 3);
  await tf.setBackend('webgpu');
  const name = report.software ? `${report.name} (software)` : report.name;
  return { backend: 'webgpu', name, software: report.software, features, limits, reason };
}

/** The running WebGPU backend, for kernels of our own; null on other backends. */
export function webGpuBackend(): StudioBackend | null {
  if (tf.getBackend() !== 'webgpu') return null;
  const backend = tf.backend();
  return backend instanceof StudioBackend ? backend : null;
}
