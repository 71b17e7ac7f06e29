/**
 * @file Counts the arithmetic of TensorFlow.js's matrix products and convolutions (two per multiplication and addition), by wrapping its
 * WebGPU kernels: the rate of whole steps is told with it. For the stock bundle, whose steps consist of those kernels.
 */
import * as tf from '@tensorflow/tfjs-core';

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

type Shapes = Readonly<Record<string, readonly number[]>>;

/** Flops of one kernel from the shapes of its operands and its output. */
function flopsOf(name: string, inputs: Shapes, attrs: tf.NamedAttrMap, out: readonly number[]): number {
  if (name.endsWith('MatMul')) {
    const [rows, columns] = (inputs['a'] ?? []).slice(-2) as [number, number];
    return 2 * size(out) * (attrs['transposeA'] === true ? rows : columns);
  }
  const filter = inputs['filter'] ?? (attrs['filterShape'] as unknown as number[]);
  const [kh, kw, channels] = filter as [number, number, number];
  const pixels = size(inputs['dy'] ?? out);
  return 2 * pixels * kh * kw * (name.startsWith('Depthwise') ? 1 : channels);
}

const KERNELS = [
  'BatchMatMul',
  '_FusedMatMul',
  'Conv2D',
  'FusedConv2D',
  'Conv2DBackpropInput',
  'Conv2DBackpropFilter',
  'DepthwiseConv2dNative',
  'DepthwiseConv2dNativeBackpropInput',
  'DepthwiseConv2dNativeBackpropFilter',
];

/** Counts from now on; gives the sum so far. */
export function countFlops(): () => number {
  let flops = 0;
  for (const name of KERNELS) {
    const kernel = tf.getKernel(name, 'webgpu');
    if (kernel === undefined) continue;
    tf.unregisterKernel(name, 'webgpu');
    tf.registerKernel({
      ...kernel,
      kernelFunc: (call) => {
        const result = kernel.kernelFunc(call);
        const shapes = Object.fromEntries(
          Object.entries(call.inputs).map(([key, info]) => [key, info?.shape ?? []]),
        );
        const [out] = Array.isArray(result) ? result : [result];
        flops += flopsOf(name, shapes, call.attrs ?? {}, out?.shape ?? []);
        return result;
      },
    });
  }
  return () => flops;
}
