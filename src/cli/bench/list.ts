/**
 * @file The workloads of `npm run bench -- engine`: shapes, initial values, and the arithmetic of their matrix products.
 */
import { Random } from '../../lib/random';
import type { Value, Values, Workload } from './workload';

/** How far a workload is measured on an adapter that computes on the CPU, unless everything is asked for. */
export type Effort =
  | 'run'
  /** Encoded but not run: dispatches, JavaScript and bytes without a time. */
  | 'count'
  | 'leave out';

export interface EngineWorkload {
  readonly id: string;
  readonly title: string;
  /** A block or product, or a whole model's step by its overrides. */
  readonly step:
    Workload | { readonly kind: 'model'; readonly overrides: readonly string[]; readonly batch: number };
  /** Of the matrix products, backward twice the forward; null: counted while the stock step runs. */
  readonly flops: number | null;
  /** Bytes of q, k, v and the output, the unit of attention's bound. */
  readonly attentionBytes?: number;
  readonly onSoftware: { readonly ours: Effort; readonly stock: Effort };
}

const RUN = { ours: 'run', stock: 'run' } as const;

const weight = (...shape: number[]): Value => ({
  shape,
  bound: 1 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1)),
});
const bias = (size: number): Value => ({ shape: [size], bound: 0.05 });
const gain = (size: number): Value => ({ shape: [size], bound: 0.1, offset: 1 });
/** Of unit variance. */
const activation = (...shape: number[]): Value => ({ shape, bound: Math.sqrt(3) });

function vitParameters(d: number, prefix = ''): Record<string, Value> {
  const parameters: Record<string, Value> = {
    'norm1.weight': gain(d),
    'norm1.bias': bias(d),
    'attn.qkv.weight': weight(3 * d, d),
    'attn.qkv.bias': bias(3 * d),
    'attn.proj.weight': weight(d, d),
    'attn.proj.bias': bias(d),
    'norm2.weight': gain(d),
    'norm2.bias': bias(d),
    'mlp.fc1.weight': weight(4 * d, d),
    'mlp.fc1.bias': bias(4 * d),
    'mlp.fc2.weight': weight(d, 4 * d),
    'mlp.fc2.bias': bias(d),
  };
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [prefix + name, value]));
}

const products: EngineWorkload[] = [256, 512, 1024, 2048, 4096].flatMap((n) =>
  ['nn', 'nt', 'tn', 'tt'].map((variant): EngineWorkload => {
    const effort: Effort = n > 1024 ? 'leave out' : 'run';
    return {
      id: `matmul-${n}-${variant}`,
      title: `matmul ${n} A${variant.startsWith('t') ? 'ᵀ' : ''} B${variant.endsWith('t') ? 'ᵀ' : ''}`,
      step: {
        kind: 'matmul',
        n,
        variant,
        inputs: { a: activation(n, n), b: activation(n, n) },
        params: {},
      },
      flops: 2 * n ** 3,
      onSoftware: { ours: effort, stock: effort },
    };
  }),
);

/** One block of a vision transformer: B images of N tokens x D, H heads. */
export function vit(B: number, N: number, D: number, H: number): EngineWorkload {
  const linear = 2 * B * N * D * 12 * D;
  const attention = 4 * B * N * N * D;
  return {
    id: `vit-${N}`,
    title: `ViT block ${N} x ${D}, ${H} heads, batch ${B}`,
    step: {
      kind: 'vit-block',
      B,
      N,
      D,
      H,
      eps: 1e-6,
      inputs: { x: activation(B, N, D) },
      params: vitParameters(D),
    },
    flops: 3 * (linear + attention),
    onSoftware: RUN,
  };
}

function attention(N: number, D: number, H: number): EngineWorkload {
  return {
    id: `attention-${N}`,
    title: `attention ${N} x ${D}, ${H} heads`,
    step: {
      kind: 'attention',
      N,
      D,
      H,
      inputs: { x: activation(1, N, 3 * D) },
      params: {},
      inputGradient: true,
    },
    flops: 3 * 4 * N * N * D,
    attentionBytes: 4 * 4 * N * D,
    onSoftware: { ours: 'run', stock: 'count' }, // four or more tensors of N x N x H: minutes, and more memory than there may be
  };
}

function mixFfn(h: number, w: number, C: number, hidden: number): EngineWorkload {
  return {
    id: 'mix-ffn',
    title: `Mix-FFN ${h} x ${w} x ${hidden}`,
    step: {
      kind: 'mix-ffn',
      B: 1,
      h,
      w,
      hidden,
      inputs: { x: activation(1, h * w, C) },
      params: {
        'fc1.weight': weight(hidden, C),
        'fc1.bias': bias(hidden),
        'dwconv.weight': weight(hidden, 1, 3, 3),
        'dwconv.bias': bias(hidden),
        'fc2.weight': weight(C, hidden),
        'fc2.bias': bias(C),
      },
    },
    flops: 5 * 2 * h * w * C * hidden + 3 * 2 * 9 * h * w * hidden, // the input is data: no gradient of it
    onSoftware: RUN,
  };
}

function lora(N: number, D: number, rank: number): EngineWorkload {
  return {
    id: 'lora',
    title: `LoRA qkv ${N} x ${D}, rank ${rank}`,
    step: {
      kind: 'lora-linear',
      N,
      D,
      rank,
      inputs: { x: activation(N, D) },
      frozen: { weight: weight(3 * D, D) },
      params: {
        'q.A': weight(rank, D),
        'q.B': weight(D, rank),
        'v.A': weight(rank, D),
        'v.B': weight(D, rank),
      },
      inputGradient: true,
    },
    flops: 2 * 2 * N * D * 3 * D + 2 * 3 * 4 * N * D * rank, // no gradient of the frozen weight
    onSoftware: RUN,
  };
}

const upsample: EngineWorkload = {
  id: 'bilinear',
  title: 'bilinear 56 -> 224, 128 channels',
  step: {
    kind: 'upsample',
    to: 224,
    inputs: { x: activation(1, 56, 56, 128) },
    params: {},
    inputGradient: true,
  },
  flops: null,
  onSoftware: RUN,
};

/** ViT-Tiny's twelve blocks and one matrix more, 6.0 million parameters in 145 tensors. */
function adamw(clip: boolean): EngineWorkload {
  const params: Record<string, Value> = {};
  for (let i = 0; i < 12; i++) Object.assign(params, vitParameters(192, `blocks.${i}.`));
  params['head.weight'] = weight(3446, 192);
  return {
    id: clip ? 'adamw-clip' : 'adamw',
    title: `AdamW, 6.0 M parameters in 145 tensors${clip ? ', norm and clipping' : ''}`,
    step: { kind: 'adamw', clip, params, inputs: params },
    flops: null,
    onSoftware: RUN,
  };
}

function model(name: string, size: number, batch: number, stock: Effort = 'run'): EngineWorkload {
  return {
    id: `${name.replaceAll('_', '-')}-b${batch}`,
    title: `${name} ${size}, batch ${batch}, whole step`,
    step: { kind: 'model', overrides: [`model=${name}`, `model.image_size=${size}`], batch },
    flops: null,
    onSoftware: { ours: 'run', stock },
  };
}

export const WORKLOADS: readonly EngineWorkload[] = [
  ...products,
  vit(8, 197, 192, 12),
  vit(1, 1024, 384, 6),
  attention(4096, 768, 12),
  mixFfn(56, 56, 32, 128),
  lora(1024, 768, 4),
  upsample,
  adamw(false),
  adamw(true),
  model('tinyusfm', 224, 8, 'count'), // stock takes ten minutes and more
  model('tinyusfm', 224, 1), // says there how many times faster
  model('segformer_b0', 256, 4),
  model('tinyusfm_nano', 96, 8),
  model('segformer_nano', 96, 8),
];

/** Initial values, the same in every run. */
export function valuesOf(spec: Workload): Values {
  const group = (of: 'inputs' | 'params' | 'frozen'): Record<string, Float32Array> =>
    Object.fromEntries(
      Object.entries(spec[of] ?? {}).map(([name, { shape, bound = 1, offset = 0 }]) => {
        const random = new Random('engine', of, name);
        const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
        for (let i = 0; i < values.length; i++) values[i] = random.uniform(offset - bound, offset + bound);
        return [name, values];
      }),
    );
  return { inputs: group('inputs'), params: group('params'), frozen: group('frozen') };
}
