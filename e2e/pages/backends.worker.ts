/** @file Starts each backend in turn, computes a product and a gradient with known answers, and reports. */
import * as tf from '@tensorflow/tfjs-core';
import { startBackend, stopBackend } from '../../src/gpu/backend';
import type { DeviceInfo } from '../../src/gpu/device';
import { settleDevice } from '../../src/gpu/health';
import { toPlainError } from '../../src/lib/errors';
import { browserPlatform } from '../../src/worker/platform';

export interface BackendResult {
  readonly choice: string;
  readonly info: DeviceInfo | null;
  readonly product: readonly number[]; // corner values of ones(256, 256) x ones(256, 256)
  readonly gradient: readonly number[]; // of sum(x^3) at 1, 2, 3
  readonly policyViolations: readonly string[];
  readonly error: string | null;
}

const policyViolations: string[] = [];
self.addEventListener('securitypolicyviolation', (event) => {
  const { violatedDirective, blockedURI } = event as SecurityPolicyViolationEvent;
  policyViolations.push(`${violatedDirective} ${blockedURI}`);
});

const cube = (x: tf.Tensor): tf.Scalar => tf.sum(tf.mul(x, tf.square(x)));

async function run(choice: 'wasm' | 'webgpu' | 'auto', threads: number | 'auto'): Promise<BackendResult> {
  const label = choice === 'wasm' ? `wasm ${threads}` : choice;
  try {
    const info = await startBackend(choice, browserPlatform, threads);
    const product = await tf.matMul(tf.ones([256, 256]), tf.ones([256, 256])).data();
    const gradient = await tf
      .grad(cube)(tf.tensor1d([1, 2, 3]))
      .data();
    await settleDevice();
    stopBackend();
    return {
      choice: label,
      info,
      product: [product[0] ?? 0, product[product.length - 1] ?? 0],
      gradient: Array.from(gradient),
      policyViolations,
      error: null,
    };
  } catch (error) {
    const { code, message } = toPlainError(error);
    return {
      choice: label,
      info: null,
      product: [],
      gradient: [],
      policyViolations,
      error: `${code}: ${message}`,
    };
  }
}

postMessage([await run('wasm', 2), await run('wasm', 1), await run('webgpu', 1), await run('auto', 2)]);
