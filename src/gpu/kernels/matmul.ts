/**
 * @file Matrix products: op(A) op(B) with bias, activation and residual in one dispatch; the gradients of a linear layer. Outside the
 * tape (ops/matmul.ts has the operations). May import gpu/launch, tfjs.
 *
 * Software adapters take the register kernel (matmulRegister.ts), GPUs the tiled one (matmulTiled.ts). A product with few tiles and a
 * long K is split along K: partial products into a scratch tensor, then one dispatch that adds them in a fixed order and finishes.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, halfArithmetic, isSoftwareAdapter, launch, type Launch } from '../launch';
import { finishFunctions, finishItem, shapeKey, type ProductShape } from './matmulParts';
import { registerWgsl } from './matmulRegister';
import { TILE_K, TILES, tiledWgsl } from './matmulTiled';

export interface MatmulOptions {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** [n], added to every row. */
  readonly bias?: tf.Tensor | null;
  readonly activation?: 'none' | 'gelu' | 'relu';
  /** Of C's shape, added last. */
  readonly residual?: tf.Tensor | null;
  /** Also returns op(A) op(B) + bias (`input`). */
  readonly keepInput?: boolean;
  /** Also returns the row sums of op(A), [m] (`sums`); not with batches. */
  readonly sums?: boolean;
  /** B is int32 holding packed halves (`packHalf`); the last axis of `shapeB` is what it stands for. */
  readonly halfB?: readonly number[];
  /**
   * 'f16': the tiled kernel rounds both operands to halves and multiplies as such (products beyond 65,504 are infinite); sums stay float32.
   * Only where the adapter can (`halfArithmetic`), else it is 'f32', the default. For forward products whose model can bear it.
   */
  readonly arithmetic?: 'f32' | 'f16';
  /** For tests: which kernel, and into how many parts along K. */
  readonly kernel?: 'register' | 'tiled';
  readonly splits?: number;
}

export interface MatmulResult {
  readonly y: tf.Tensor;
  readonly input: tf.Tensor | null;
  readonly sums: tf.Tensor | null;
}

interface Sizes {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly strideA: number; // elements; 0 where one matrix serves the whole batch
  readonly strideB: number;
  readonly shape: number[]; // of C
}

function sizes(a: readonly number[], b: readonly number[], tA: boolean, tB: boolean): Sizes {
  const [ra, ca] = a.slice(-2) as [number, number];
  const [rb, cb] = b.slice(-2) as [number, number];
  const [m, k] = tA ? [ca, ra] : [ra, ca];
  const [kb, n] = tB ? [cb, rb] : [rb, cb];
  const [batchA, batchB] = [a, b].map((s) => s.slice(0, -2).reduce((x, y) => x * y, 1)) as [number, number];
  if (k !== kb || (batchA !== batchB && batchA !== 1 && batchB !== 1)) {
    throw new Error(
      `matmul: shapes [${a.join()}]${tA ? '^T' : ''} and [${b.join()}]${tB ? '^T' : ''} do not fit`,
    );
  }
  const batch = Math.max(batchA, batchB);
  const outer = a.length >= b.length ? a.slice(0, -2) : b.slice(0, -2);
  const lead = batchA === batch ? a.slice(0, -2) : b.slice(0, -2);
  return {
    batch,
    m,
    n,
    k,
    strideA: batchA === 1 ? 0 : ra * ca,
    strideB: batchB === 1 ? 0 : rb * cb,
    shape: [...(batch === 1 ? outer : lead), m, n],
  };
}

interface Choice {
  readonly key: string;
  readonly wgsl: (s: ProductShape) => string;
  readonly enable?: 'f16';
  readonly tileM: number; // rows and columns of C per workgroup
  readonly tileN: number;
  /** Whether an invocation's columns come in fours. */
  readonly quads: boolean;
  readonly splits: number;
  readonly length: number; // of K per split
}

/** Fewer workgroups than this leave a GPU idle; a software adapter needs only some per core. */
const ENOUGH_GROUPS = { register: 16, tiled: 128 };

function choose({ batch, m, n, k }: Sizes, options: MatmulOptions): Choice {
  const kernel = options.kernel ?? (isSoftwareAdapter() ? 'register' : 'tiled');
  let [tileM, tileN] = [64, 64];
  let wgsl: Choice['wgsl'];
  let name: string;
  let [quads, f16] = [true, false];
  if (kernel === 'register') {
    const tile = { tm: m <= 4 ? 4 : 8, tn: n <= 4 ? 4 : 8 };
    [tileM, tileN] = [8 * tile.tm, 8 * tile.tn];
    name = `r${tile.tm}x${tile.tn}`;
    wgsl = (s) => registerWgsl(s, tile);
  } else {
    const big = Math.ceil(m / 64) * Math.ceil(n / 64) * batch >= 64;
    const tile = big ? TILES.large : TILES.small;
    [tileM, tileN] = [tile.m, tile.n];
    f16 = options.arithmetic === 'f16' && halfArithmetic();
    name = `t${tile.m}x${tile.n}${f16 ? ' f16' : ''}`;
    quads = (tile.n / 16) % 4 === 0;
    const numbers = f16 ? 'f16' : 'f32';
    wgsl = (s) => tiledWgsl(s, tile, numbers);
  }
  const groups = Math.ceil(m / tileM) * Math.ceil(n / tileN) * batch;
  const wanted = options.splits ?? Math.floor(ENOUGH_GROUPS[kernel] / groups);
  const step = kernel === 'tiled' ? TILE_K : 4;
  // A part shorter than 64 costs more to add up than it saves.
  const parts = Math.max(1, options.splits ?? Math.min(wanted, Math.floor(k / 64), 64));
  const length = Math.ceil(k / parts / step) * step;
  const rest = f16 ? ({ enable: 'f16' } as const) : {};
  return { key: name, wgsl, tileM, tileN, quads, splits: Math.ceil(k / length), length, ...rest };
}

const vec = (on: boolean): string => (on ? 'vec4<f32>' : 'f32');

/**
 * C = act(op(A) op(B) + bias) + residual.
 * @param a [..., m, k], or [..., k, m] transposed. @param b [..., k, n], or [..., n, k] transposed; one side may have batch 1.
 * @returns C [..., m, n]. Throws Error when the shapes do not fit.
 */
export function matmul(a: tf.Tensor, b: tf.Tensor, options: MatmulOptions = {}): MatmulResult {
  const {
    transposeA = false,
    transposeB = false,
    bias = null,
    residual = null,
    activation = 'none',
  } = options;
  const shapeB = options.halfB ?? b.shape;
  const size = sizes(a.shape, shapeB, transposeA, transposeB);
  const choice = choose(size, options);
  const split = choice.splits > 1;
  const { m, n, k, batch } = size;
  const full: ProductShape = {
    transposeA,
    transposeB,
    vectorA: (transposeA ? m : k) % 4 === 0,
    vectorB: (transposeB ? k : n) % 4 === 0,
    halfB: options.halfB !== undefined,
    vectorC: n % 4 === 0 && (choice.quads || split),
    bias: bias !== null,
    activation,
    residual: residual !== null,
    keepInput: options.keepInput === true,
    sums: options.sums === true,
  };
  const s: ProductShape = split
    ? {
        ...full,
        vectorC: full.vectorC && choice.quads,
        bias: false,
        activation: 'none',
        residual: false,
        keepInput: false,
      }
    : full;
  const C = vec(full.vectorC);
  const typeB = s.halfB ? (s.vectorB ? 'vec2<u32>' : 'u32') : vec(s.vectorB);
  const extra: Record<string, Launch['inputs'][string]> = {};
  if (bias !== null) extra['bias'] = { tensor: bias, type: C };
  if (residual !== null) extra['residual'] = { tensor: residual, type: C };
  const outputs: Record<string, NonNullable<Launch['outputs']>[string]> = {
    c: { shape: split ? [choice.splits, ...size.shape] : size.shape, type: vec(s.vectorC) },
  };
  if (s.keepInput) outputs['pre'] = { shape: size.shape, type: C };
  if (s.sums) outputs['sums'] = { shape: split ? [choice.splits, m] : [m], type: 'f32' };
  const made = launch({
    name: 'matmul',
    variant: `${choice.key} ${shapeKey(s)}`,
    ...(choice.enable === undefined ? {} : { enable: choice.enable }),
    inputs: {
      a: { tensor: a, type: vec(s.vectorA) },
      b: { tensor: b, type: typeB },
      ...(split ? {} : extra),
    },
    outputs,
    uniforms: {
      m: ['u32', m],
      n: ['u32', n],
      k: ['u32', k],
      strideA: ['u32', size.strideA],
      strideB: ['u32', size.strideB],
      splits: ['u32', choice.splits],
      length: ['u32', choice.length],
    },
    groups: [Math.ceil(n / choice.tileN), Math.ceil(m / choice.tileM), batch * choice.splits],
    wgsl: () => choice.wgsl(s),
  });
  if (!split) {
    const [y, ...rest] = made as [tf.Tensor, ...tf.Tensor[]];
    return {
      y,
      input: s.keepInput ? (rest.shift() as tf.Tensor) : null,
      sums: s.sums ? (rest.shift() as tf.Tensor) : null,
    };
  }
  const [partial, partialSums = null] = made as [tf.Tensor, tf.Tensor?];
  const result = addParts(partial, partialSums, full, size, choice.splits, extra);
  partial.dispose();
  partialSums?.dispose();
  return result;
}

/** Adds the parts of a split product in order and finishes C; also the parts of the row sums. */
function addParts(
  partial: tf.Tensor,
  partialSums: tf.Tensor | null,
  s: ProductShape,
  { m, n, batch, shape }: Sizes,
  splits: number,
  extra: Launch['inputs'],
): MatmulResult {
  const width = s.vectorC ? 4 : 1;
  const items = (batch * m * n) / width;
  const sums = partialSums !== null;
  const outputs: Record<string, NonNullable<Launch['outputs']>[string]> = {
    c: { shape, type: vec(s.vectorC) },
  };
  if (s.keepInput) outputs['pre'] = { shape, type: vec(s.vectorC) };
  if (sums) outputs['total'] = { shape: [m], type: 'f32' };
  const made = launch({
    name: 'matmul-parts',
    variant: `${shapeKey(s)} ${sums}`,
    inputs: {
      parts: { tensor: partial, type: vec(s.vectorC) },
      ...(partialSums === null ? {} : { sums: { tensor: partialSums, type: 'f32' } }),
      ...extra,
    },
    outputs,
    uniforms: {
      items: ['u32', items],
      perMatrix: ['u32', (m * n) / width],
      columns: ['u32', n / width],
      splits: ['u32', splits],
      m: ['u32', m],
    },
    groups: flatGroups(Math.ceil(items / 64)),
    wgsl: () => `${finishFunctions(s)}${FLAT_GROUP}
@compute @workgroup_size(64) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = flatGroup(group, groups) * 64u + lane;
  if (i >= u.items) { return; }
  let first = (i / u.perMatrix) * u.splits * u.perMatrix + i % u.perMatrix;
  var sum = parts[first];
  for (var part = 1u; part < u.splits; part++) { sum += parts[first + part * u.perMatrix]; }
  ${finishItem(s, 'sum', 'i', 'i % u.columns')}
  ${sums ? 'if (i % u.columns == 0u && i / u.columns < u.m) { let r = i / u.columns; var t = sums[r]; for (var part = 1u; part < u.splits; part++) { t += sums[r + part * u.m]; } total[r] = t; }' : ''}
}`,
  });
  const [y, ...rest] = made as [tf.Tensor, ...tf.Tensor[]];
  return {
    y,
    input: s.keepInput ? (rest.shift() as tf.Tensor) : null,
    sums: sums ? (rest.shift() as tf.Tensor) : null,
  };
}

/**
 * Gradients of y = x W^T + b with respect to W and b, from the same dispatch.
 * @param dy [rows, out] @param x [rows, in] @returns dW [out, in] and, if asked for, db [out].
 */
export function linearGradients(
  dy: tf.Tensor,
  x: tf.Tensor,
  { bias }: { readonly bias: boolean },
): { dw: tf.Tensor; db: tf.Tensor | null } {
  const { y, sums } = matmul(dy, x, { transposeA: true, sums: bias });
  return { dw: y, db: sums };
}

/**
 * Stores a float32 tensor as halves, two per int32 element along the last axis (an odd last element leaves a half empty).
 * Rounded to nearest; |x| above 65,504 becomes infinite.
 * @param x any shape whose size is even, or a vector. @returns int32 [ceil(size / 2)].
 */
export function packHalf(x: tf.Tensor): tf.Tensor {
  const words = Math.ceil(x.size / 2);
  const [packed] = launch({
    name: 'pack-half',
    inputs: { x: { tensor: x, type: 'f32' } },
    outputs: { y: { shape: [words], type: 'u32', dtype: 'int32' } },
    uniforms: { size: ['u32', x.size], words: ['u32', words] },
    groups: flatGroups(Math.ceil(words / 64)),
    wgsl: () => `${FLAT_GROUP}
@compute @workgroup_size(64) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = flatGroup(group, groups) * 64u + lane;
  if (i >= u.words) { return; }
  var second = 0.0;
  if (2u * i + 1u < u.size) { second = x[2u * i + 1u]; }
  y[i] = pack2x16float(vec2<f32>(x[2u * i], second));
}`,
  });
  return packed as tf.Tensor;
}
