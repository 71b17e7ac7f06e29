/**
 * @file For tests only: starts each backend in Node and compares tensors.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import { nodePlatform } from '../../cli/nodePlatform';
import { startBackend } from '../backend';

export type TestBackend = 'cpu' | 'wasm' | 'webgpu';

/** Makes the backend current. WASM on one thread: worker threads would keep the test process alive. */
export async function useBackend(name: TestBackend): Promise<void> {
  if (name === 'cpu') await tf.setBackend('cpu');
  else await startBackend(name, nodePlatform, 1);
  if (tf.getBackend() !== name) throw new Error(`Backend ${name} did not start`);
}
