/**
 * @file Our engine as a peer of ../shared/peerbench: the same training steps as TensorFlow.js, jax-js and PyTorch there, through our
 * kernels, recorded once and replayed. Runs in a browser worker; bundled by peerbench, or by `npm run bench -- engine`.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import { Arena } from '../gpu/arena';
import { copyInto } from '../gpu/kernels/adamw';
import { matmul } from '../gpu/kernels/matmul';
import { studioBackend } from '../gpu/launch';
import { attentionPacked } from '../gpu/ops/attention';
import { depthwiseConv2d } from '../gpu/ops/conv';
import { gelu } from '../gpu/ops/elementwise';
import { loraLinear } from '../gpu/ops/lora';
import { meanSquareLoss } from '../gpu/ops/losses';
import { linear } from '../gpu/ops/matmul';
import { layerNorm } from '../gpu/ops/normalize';
import { resizeBilinear } from '../gpu/ops/resize';
import { Plan } from '../gpu/plan/plan';
import { Recording, VirtualBuffer } from '../gpu/plan/recording';
import { SlotPool } from '../gpu/plan/slots';
import type { BufferView, StudioBackend } from '../gpu/studioBackend';
import { findAdapter, startWebGpu } from '../gpu/webgpu';
import { FlatOptimizer } from '../nn/flatOptimizer';

interface Value {
  readonly shape: readonly number[];
}

/** One entry of peerbench's makeWorkloads(). */
interface Workload {
  readonly kind: 'vit-block' | 'mix-ffn' | 'lora-linear' | 'matmul' | 'upsample';
  readonly inputs: Readonly<Record<string, Value>>;
  readonly params: Readonly<Record<string, Value>>;
  readonly frozen?: Readonly<Record<string, Value>>;
  readonly inputGradient?: boolean;
  readonly separable?: boolean;
  readonly [size: string]: unknown;
}

type Values = Readonly<Record<'inputs' | 'params' | 'frozen', Readonly<Record<string, Float32Array>>>>;
type Get = (name: string) => tf.Tensor;

/** peerbench's AdamW, src/workloads.js. */
const ADAMW = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const;

let backend: StudioBackend;

export async function init(): Promise<Record<string, string>> {
  const report = await findAdapter(navigator.gpu);
  if (report === null) throw new Error('no WebGPU adapter');
  const info = await startWebGpu(report, 'benchmark');
  backend = studioBackend() as StudioBackend;
  return { 'TinyUSFM Studio': info.name };
}

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

const MODELS: Readonly<Record<string, (spec: Workload, p: Get) => tf.Tensor>> = {
  'vit-block': vitBlock,
  'mix-ffn': mixFfn,
  'lora-linear': lora,
  upsample: ({ to }, p) => resizeBilinear(p('x') as tf.Tensor4D, Number(to), Number(to)),
};

/** One workload: its buffers, its recorded step, and how to run it. */
class Bench {
  private readonly data: Arena;
  private readonly weights: Arena;
  private readonly results: Arena;
  private readonly optimizer: FlatOptimizer | null = null;
  private readonly pool: SlotPool;
  /** C of a matrix product. */
  private readonly result: Arena | null = null;
  private plans: Plan[] = [];
  private steps = 0;

  constructor(
    private readonly spec: Workload,
    values: Values,
  ) {
    const entries = (group: Readonly<Record<string, Value>>) =>
      Object.entries(group).map(([name, { shape }]) => ({ name, shape }));
    this.pool = new SlotPool(backend);
    this.data = new Arena(backend, [...entries(spec.inputs), ...entries(spec.frozen ?? {})]);
    this.weights = new Arena(backend, entries(spec.params));
    for (const [name, array] of Object.entries({ ...values.inputs, ...values.frozen }))
      this.data.write(name, array);
    for (const [name, array] of Object.entries(values.params)) this.weights.write(name, array);
    this.results = new Arena(backend, [
      { name: 'loss', shape: [1] },
      ...(spec.inputGradient === true ? entries(spec.inputs) : []),
    ]);
    if (spec.kind === 'matmul') {
      const n = Number(spec['n']);
      this.result = new Arena(backend, [{ name: 'c', shape: [n, n] }]);
    }
    const names = Object.keys(spec.params);
    if (names.length > 0) {
      const parameters = names.map((name) => ({
        name,
        variable: tf.variable(this.weights.tensor(name), true),
        lrScale: 1,
        weightDecay: ADAMW.weightDecay,
      }));
      const settings = {
        name: 'adamw',
        ...ADAMW,
        weight_decay: ADAMW.weightDecay,
        layer_decay: null,
        momentum: 0,
      };
      this.optimizer = new FlatOptimizer(backend, settings as never, parameters, this.weights, null, false);
    }
  }

  /** Records forward and backward, and the update where there is something to train. */
  async prepare(): Promise<void> {
    const { spec } = this;
    const placed = new Map<VirtualBuffer, BufferView>();
    const first = new Recording(backend);
    first.run(() => {
      if (spec.kind === 'matmul') this.product(placed);
      else this.gradients(placed);
    });
    this.plans = [new Plan(backend, this.pool, first.dispatches, placed, new Set())];
    const { optimizer } = this;
    if (optimizer !== null) {
      const second = new Recording(backend);
      second.run(() => tf.tidy(() => optimizer.update(false)));
      this.plans.push(new Plan(backend, this.pool, second.dispatches, new Map(), new Set()));
    }
    for (const plan of this.plans) await plan.compile();
    for (const plan of this.plans) plan.bind();
  }

  private product(placed: Map<VirtualBuffer, BufferView>): void {
    const [transposeA, transposeB] = [...String(this.spec['variant'])].map((letter) => letter === 't');
    const { y } = matmul(this.data.tensor('a'), this.data.tensor('b'), {
      transposeA: transposeA === true,
      transposeB: transposeB === true,
    });
    const { resource } = backend.record(y.dataId);
    placed.set(resource as VirtualBuffer, (this.result as Arena).view('c'));
    y.dispose();
  }

  private gradients(placed: Map<VirtualBuffer, BufferView>): void {
    const { spec, optimizer, data, weights, results } = this;
    const xs = spec.inputGradient === true ? Object.keys(spec.inputs) : [];
    const input = new Map(xs.map((name) => [name, tf.variable(data.tensor(name), true)]));
    const trained = new Map((optimizer?.parameters ?? []).map(({ name, variable }) => [name, variable]));
    const get: Get = (name) =>
      input.get(name) ?? trained.get(name) ?? (weights.has(name) ? weights : data).tensor(name);
    tf.tidy(() => {
      const variables = [...trained, ...input];
      const { value, grads } = tf.variableGrads(
        () => meanSquareLoss((MODELS[spec.kind] as (s: Workload, p: Get) => tf.Tensor)(spec, get)),
        variables.map(([, variable]) => variable),
      );
      for (const [name, variable] of variables) {
        const gradient = grads[variable.name] as tf.Tensor;
        const home = trained.has(name) ? (optimizer as FlatOptimizer).gradients : results;
        const { resource } = backend.record(gradient.dataId);
        if (resource instanceof VirtualBuffer && !placed.has(resource)) placed.set(resource, home.view(name));
        else copyInto(home.tensor(name), gradient);
      }
      copyInto(results.tensor('loss'), value);
    });
    for (const variable of input.values()) variable.dispose();
  }

  private encode(plans: readonly Plan[]): void {
    backend.flush();
    const encoder = backend.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const plan of plans) plan.encode(pass);
    pass.end();
    backend.queue.submit([encoder.finish()]);
  }

  /** Runs one training step; the loss before the update, or C[0][0]. */
  async step(): Promise<number> {
    this.optimizer?.prepare(ADAMW.lr, this.steps++);
    this.encode(this.plans);
    if (this.result !== null) {
      const corner = backend.viewTensor({ ...this.result.view('c'), size: 4 }, [1]);
      const [value] = await corner.data();
      corner.dispose();
      return value as number;
    }
    return (await this.results.tensor('loss').data())[0] as number;
  }

  /** Gradients at the current weights by name, "x" for the input; or C. */
  async probe(): Promise<Record<string, Float32Array>> {
    this.encode(this.plans.slice(0, 1));
    const out: Record<string, Float32Array> = {};
    const read = async (arena: Arena, name: string): Promise<void> => {
      out[name] = (await arena.tensor(name).data()) as Float32Array;
    };
    if (this.result !== null) await read(this.result, 'c');
    for (const name of Object.keys(this.spec.params))
      await read((this.optimizer as FlatOptimizer).gradients, name);
    if (this.spec.inputGradient === true) await read(this.results, 'x');
    return out;
  }

  get figures(): string {
    const sum = (key: 'slotBytes' | 'liveBytes' | 'dispatches'): number =>
      this.plans.reduce((n, { figures }) => n + figures[key], 0);
    const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
    return `${sum('dispatches')} recorded, temporaries ${mb(sum('slotBytes'))} MB of at least ${mb(sum('liveBytes'))} MB`;
  }

  dispose(): void {
    for (const plan of this.plans) plan.dispose();
    this.optimizer?.dispose();
    for (const arena of [this.data, this.weights, this.results, this.result]) arena?.dispose();
    this.pool.dispose();
  }
}

let bench: Bench | null = null;

export async function prepare(spec: Workload, values: Values): Promise<{ note: string } | null> {
  if (spec.separable === true) return null;
  bench = new Bench(spec, values);
  await bench.prepare();
  return { note: bench.figures };
}

const current = (): Bench => {
  if (bench === null) throw new Error('prepare() was not called');
  return bench;
};

export const step = (): Promise<number> => current().step();
export const probe = (): Promise<Record<string, Float32Array>> => current().probe();

export async function dispose(): Promise<void> {
  current().dispose();
  bench = null;
}
