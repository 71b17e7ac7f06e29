/** @file Both backends start in Node, agree with tfjs' CPU reference, and their failures are seen. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { afterEach, describe, expect, test } from 'vitest';
import { nodePlatform } from '../cli/nodePlatform';
import type { BackendChoice } from '../config/types';
import { Random } from '../lib/random';
import { startBackend, stopBackend } from './backend';
import { assertDeviceHealthy, deviceHealth, isOutOfMemory, settleDevice } from './health';
import { memoryUse, trimMemory } from './memory';
import { webGpuBackend } from './webgpu';

afterEach(() => stopBackend());

/** Standard normal values as a tensor on the current backend; the same for the same name. */
function normal(name: string, shape: number[]): tf.Tensor {
  const random = new Random('backend.test', name);
  const size = shape.reduce((product, side) => product * side, 1);
  return tf.tensor(
    Float32Array.from({ length: size }, () => random.normal()),
    shape,
  );
}

/** Each computation of the suite, from scratch on whatever backend is current. */
const COMPUTATIONS: Readonly<Record<string, () => tf.Tensor>> = {
  matMul: () => tf.matMul(normal('a', [65, 33]) as tf.Tensor2D, normal('b', [33, 47]) as tf.Tensor2D),
  // B1 of reference/engine.md: stock split-K is off by hundreds at this shape.
  'matMul transposeB, K=2048': () =>
    tf.matMul(normal('c', [64, 2048]) as tf.Tensor2D, normal('d', [128, 2048]) as tf.Tensor2D, false, true),
  conv2d: () =>
    tf.conv2d(
      normal('e', [2, 17, 15, 8]) as tf.Tensor4D,
      normal('f', [3, 3, 8, 12]) as tf.Tensor4D,
      2,
      'same',
    ),
  softmax: () => tf.softmax(normal('g', [37, 101])),
  'gradient of matMul': () =>
    tf.grad((x: tf.Tensor) =>
      tf.sum(tf.square(tf.matMul(x as tf.Tensor2D, normal('i', [9, 5]) as tf.Tensor2D))),
    )(normal('h', [7, 9])),
};

async function values(compute: () => tf.Tensor): Promise<Float32Array> {
  const result = tf.tidy(compute);
  const data = (await result.data()) as Float32Array;
  result.dispose();
  return data;
}

async function reference(compute: () => tf.Tensor): Promise<Float32Array> {
  await tf.setBackend('cpu');
  return values(compute);
}

/** Largest difference, relative to the largest expected magnitude. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  let error = 0;
  let scale = 0;
  for (const [i, e] of expected.entries()) {
    error = Math.max(error, Math.abs((actual[i] ?? Number.NaN) - e));
    scale = Math.max(scale, Math.abs(e));
  }
  return error / scale;
}

describe.each(['webgpu', 'wasm'] satisfies BackendChoice[])('%s in Node', (choice) => {
  test('starts, says what it is, and equals the CPU reference', async () => {
    const expected = new Map<string, Float32Array>();
    for (const [name, compute] of Object.entries(COMPUTATIONS)) expected.set(name, await reference(compute));
    const info = await startBackend(choice, nodePlatform);
    expect(info.backend).toBe(choice);
    expect(tf.getBackend()).toBe(choice);
    expect(info.name).not.toBe('');
    expect(info.reason).toContain(`hardware.backend=${choice}`);
    for (const [name, compute] of Object.entries(COMPUTATIONS)) {
      const error = relativeError(await values(compute), expected.get(name) ?? new Float32Array());
      expect(error, name).toBeLessThan(1e-5);
    }
    await settleDevice();
  });

  test('counts memory, and a second start works', async () => {
    await startBackend(choice, nodePlatform);
    const before = memoryUse();
    const tensor = normal('m', [256, 256]);
    await tf.square(tensor).data();
    const during = memoryUse();
    expect(during.tensors).toBe(before.tensors + 2);
    expect(during.bytes).toBe(before.bytes + 2 * 256 * 256 * 4);
    expect(during.poolBytes).toBeGreaterThanOrEqual(during.bytes);
    await startBackend(choice, nodePlatform);
    expect(Array.from(await tf.add(tf.tensor1d([1]), tf.tensor1d([2])).data())).toEqual([3]);
  });
});

describe('WebGPU device', () => {
  test('has the limits of its adapter and our flags', async () => {
    const info = await startBackend('webgpu', nodePlatform);
    expect(info.limits?.['maxStorageBuffersPerShaderStage']).toBeGreaterThan(8);
    expect(tf.env().getBool('WEBGPU_CPU_FORWARD')).toBe(false);
    expect(tf.env().getNumber('WEBGPU_MATMUL_PROGRAM_TYPE')).toBe(3);
    const limit = webGpuBackend()?.device.limits.maxStorageBufferBindingSize;
    expect(limit).toBe(info.limits?.['maxStorageBufferBindingSize']);
  });

  test('a lost device is seen at the next check, and a new start forgets it', async () => {
    await startBackend('webgpu', nodePlatform);
    const device = webGpuBackend()?.device;
    device?.destroy();
    await device?.lost;
    await Promise.resolve();
    expect(deviceHealth().lost?.reason).toBe('destroyed');
    expect(() => assertDeviceHealthy()).toThrowError(expect.objectContaining({ code: 'gpu-lost' }));
    await expect(settleDevice()).rejects.toMatchObject({ code: 'gpu-lost' });
    await startBackend('webgpu', nodePlatform);
    expect(deviceHealth()).toEqual({ lost: null, error: null });
    assertDeviceHealthy();
  });

  test('a tensor beyond the binding limit is reported as out of memory, once', async () => {
    const info = await startBackend('webgpu', nodePlatform);
    const limit = info.limits?.['maxStorageBufferBindingSize'] ?? 0;
    const shape: [number] = [limit / 4 + 1024];
    const huge = tf.fill(shape, 1); // stock tfjs: silently zeros
    await expect(settleDevice()).rejects.toMatchObject({ code: 'gpu-out-of-memory' });
    huge.dispose();
    await settleDevice();
  });

  test('trimming gives the free pool back', async () => {
    await startBackend('webgpu', nodePlatform);
    for (let height = 1; height <= 20; height++) {
      const sum = tf.tidy(() => tf.sum(tf.square(tf.ones([height, 1000]))));
      await sum.data();
      sum.dispose();
    }
    const before = memoryUse().poolBytes;
    expect(trimMemory()).toBeGreaterThan(0);
    expect(memoryUse().poolBytes).toBeLessThan(before / 4);
    expect(Array.from(await tf.square(tf.tensor1d([3])).data())).toEqual([9]);
  });
});

describe('WASM', () => {
  test('runs threads in Node, and one thread when asked', async () => {
    const several = await startBackend('wasm', nodePlatform, 2);
    expect(several.name).toBe('WASM SIMD, 2 threads');
    expect(several.threads).toBe(2);
    const one = await startBackend('wasm', nodePlatform, 1);
    expect(one.name).toBe('WASM SIMD, 1 thread');
  });

  test('leaves the process its own handling of uncaught errors', async () => {
    const count = (): number =>
      process.listenerCount('uncaughtException') + process.listenerCount('unhandledRejection');
    const before = count();
    await startBackend('wasm', nodePlatform, 2);
    await startBackend('wasm', nodePlatform, 1);
    expect(count()).toBe(before);
  });

  test('says why when threads cannot be used', async () => {
    const info = await startBackend('wasm', {
      ...nodePlatform,
      wasmThreads: async () => ({ reason: 'the page is not cross-origin isolated' }),
    });
    expect(info.threads).toBe(1);
    expect(info.reason).toContain('not cross-origin isolated');
  });

  test('a heap that cannot grow is an error, not a wrong number', async () => {
    await startBackend('wasm', nodePlatform, 1);
    const backend = tf.backend() as BackendWasm;
    const held: object[] = [];
    let failure: unknown;
    try {
      // 512 MiB each, reserved but not written; the heap ends at 4 GiB.
      for (let i = 0; i < 20; i++) held.push(backend.makeOutput([1 << 27], 'float32').dataId);
    } catch (error) {
      failure = error;
    }
    expect(isOutOfMemory(failure)).toBe(true);
    expect(held.length).toBeGreaterThan(4); // also beyond 2 GiB, where addresses turn negative in i32
    for (const dataId of held) backend.disposeData(dataId);
    expect(Array.from(await tf.square(tf.tensor1d([3])).data())).toEqual([9]);
  });
});

describe('automatic choice', () => {
  test('a software adapter leads to WASM and says what it costs', async () => {
    const { gpu } = await nodePlatform.gpu();
    const adapter = await gpu?.requestAdapter();
    const info = await startBackend('auto', nodePlatform);
    if (adapter?.info.isFallbackAdapter === false && info.backend === 'webgpu') {
      expect(info.software).toBe(false); // a machine with a real GPU
    } else {
      expect(info.backend).toBe('wasm');
      expect(info.reason).toMatch(/software adapter.*slower/);
    }
  });

  test('no WebGPU leads to WASM, or to an error when WebGPU was asked for', async () => {
    const platform = { ...nodePlatform, gpu: async () => ({ gpu: null, note: 'switched off' }) };
    const info = await startBackend('auto', platform);
    expect(info.backend).toBe('wasm');
    expect(info.reason).toContain('switched off');
    await expect(startBackend('webgpu', platform)).rejects.toMatchObject({
      code: 'no-webgpu',
      subject: 'hardware.backend',
    });
  });
});
