/**
 * @file The forward passes of the measured blocks, written with our operations. In the stock bundle (src/cli/stock) the same functions
 * run TensorFlow.js's operations and gradients. PyTorch's names and layouts.
 */
import * as tf from '@tensorflow/tfjs-core';
import { attentionPacked } from '../../gpu/ops/attention';
import { depthwiseConv2d } from '../../gpu/ops/conv';
import { gelu } from '../../gpu/ops/elementwise';
import { loraLinear } from '../../gpu/ops/lora';
import { linear } from '../../gpu/ops/matmul';
import { layerNorm } from '../../gpu/ops/normalize';
import { resizeBilinear } from '../../gpu/ops/resize';
import type { Get, Workload } from './workload';

type T1 = tf.Tensor1D;
type T2 = tf.Tensor2D;

function vitBlock({ B, N, D, H, eps }: Workload, p: Get): tf.Tensor {
  const x = tf.reshape(p('x'), [Number(B), Number(N), Number(D)]);
  const norm = (name: string, t: tf.Tensor): tf.Tensor =>
    layerNorm(t, p(`${name}.weight`) as T1, p(`${name}.bias`) as T1, Number(eps));
  const dense = (name: string, t: tf.Tensor, options = {}): tf.Tensor =>
    linear(t, p(`${name}.weight`) as T2, p(`${name}.bias`) as T1, options);
  const qkv = dense('attn.qkv', norm('norm1', x)) as tf.Tensor3D;
  const y = dense('attn.proj', attentionPacked(qkv, Number(H)), { residual: x });
  const hidden = dense('mlp.fc1', norm('norm2', y), { activation: 'gelu' });
  return dense('mlp.fc2', hidden, { residual: y });
}

function mixFfn({ B, h, w, hidden }: Workload, p: Get): tf.Tensor {
  const wide = linear(p('x'), p('fc1.weight') as T2, p('fc1.bias') as T1);
  const image = tf.reshape(wide, [Number(B), Number(h), Number(w), Number(hidden)]) as tf.Tensor4D;
  const mixed = gelu(depthwiseConv2d(image, p('dwconv.weight') as tf.Tensor4D, p('dwconv.bias') as T1));
  return linear(mixed, p('fc2.weight') as T2, p('fc2.bias') as T1);
}

function lora({ D }: Workload, p: Get): tf.Tensor {
  const adapter = (name: string, firstRow: number) => ({
    a: p(`${name}.A`) as T2,
    b: p(`${name}.B`) as T2,
    firstRow,
  });
  const adapters = [adapter('q', 0), adapter('v', 2 * Number(D))];
  return loraLinear(p('x'), p('weight') as T2, null, adapters);
}

const BLOCKS: Readonly<Partial<Record<Workload['kind'], (spec: Workload, p: Get) => tf.Tensor>>> = {
  'vit-block': vitBlock,
  'mix-ffn': mixFfn,
  'lora-linear': lora,
  attention: ({ H }, p) => attentionPacked(p('x') as tf.Tensor3D, Number(H)),
  upsample: ({ to }, p) => resizeBilinear(p('x') as tf.Tensor4D, Number(to), Number(to)),
};

/** The output of a block; throws Error for kinds that are none. */
export function forward(spec: Workload, get: Get): tf.Tensor {
  const block = BLOCKS[spec.kind];
  if (block === undefined) throw new Error(`"${spec.kind}" has no forward pass`);
  return block(spec, get);
}

/** Whether op(A) and op(B) of a product "nt" are transposed. */
export function transposes(spec: Workload): readonly [boolean, boolean] {
  const [a, b] = String(spec['variant']);
  return [a === 't', b === 't'];
}
