/**
 * @file Sums over whole tensors in two dispatches with a fixed order: the scaffold that losses use too, and sum, mean square, mean squared
 * error, and scalars gathered into one tensor. May import gpu/launch, tfjs.
 *
 * First dispatch: each workgroup takes one contiguous chunk of the items; its 64 invocations interleave (coalesced loads), add runs of
 * 16 items and then the runs; a tree over the workgroup leaves one partial sum. Second dispatch: one workgroup adds the partial sums.
 * No rounding chain is longer than about 50 at 8 M items, and the order never depends on timing (pairwise summation: Higham,
 * Accuracy and Stability of Numerical Algorithms, 4.2). On software adapters, where the tree's barriers cost ten times the sums, each
 * invocation leaves its own partial sum, and there are fewer, longer chunks.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { isSoftwareAdapter, launch } from '../launch';
import type { Launch } from '../launch';

export const LANES = 64;
const RUN = 16;
/** Workgroups at most, with and without the tree. */
const MAX_GROUPS = { tree: 1024, lanes: 128 };

/** First dispatch. */
export interface Partials {
  readonly name: string;
  readonly variant?: string;
  readonly inputs: Launch['inputs'];
  readonly uniforms?: NonNullable<Launch['uniforms']>;
  /** Items to sum over. */
  readonly items: number;
  /** vec4 sums kept by one invocation: part0, part1, ... */
  readonly accumulators: number;
  /** Second dimension of the dispatch, for more sums than one invocation can keep; `block` in the body. Default 1. */
  readonly blocks?: number;
  /** Whether a tree leaves one partial sum per workgroup; by default not on software adapters. */
  readonly tree?: boolean;
  /** WGSL that adds item `j` to part0, ...; `block: u32` is known. */
  readonly body: () => string;
  /** WGSL functions of the body. */
  readonly functions?: () => string;
}

const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

function partialsWgsl({ accumulators, body, functions }: Partials, tree: boolean): string {
  const each = (f: (k: number) => string): string => numbers(accumulators).map(f).join(' ');
  const memory = tree ? `var<workgroup> tree: array<vec4<f32>, ${LANES * accumulators}>;` : '';
  const alone = each(
    (k) =>
      `partials[((block * ${accumulators}u + ${k}u) * groups.x + group.x) * ${LANES}u + lane] = sum${k};`,
  );
  const together = `
  ${each((k) => `tree[${k * LANES}u + lane] = sum${k};`)}
  workgroupBarrier();
  for (var half = ${LANES / 2}u; half > 0u; half /= 2u) {
    if (lane < half) { ${each((k) => `tree[${k * LANES}u + lane] += tree[${k * LANES}u + lane + half];`)} }
    workgroupBarrier();
  }
  if (lane == 0u) {
    ${each((k) => `partials[(block * ${accumulators}u + ${k}u) * groups.x + group.x] = tree[${k * LANES}];`)}
  }`;
  return `${functions?.() ?? ''}
${memory}
@compute @workgroup_size(${LANES}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let block = group.y;
  let end = min(u.items, (group.x + 1u) * u.chunk);
  ${each((k) => `var sum${k} = vec4<f32>(0.0);`)}
  for (var i = group.x * u.chunk + lane; i < end; i += ${RUN * LANES}u) {
    ${each((k) => `var part${k} = vec4<f32>(0.0);`)}
    let stop = min(end, i + ${RUN * LANES}u);
    for (var j = i; j < stop; j += ${LANES}u) {
      ${body()}
    }
    ${each((k) => `sum${k} += part${k};`)}
  }
${tree ? together : alone}
}`;
}

/** Partial sums [blocks * accumulators, partial sums of each, 4] float32; dispose of it after the second dispatch. */
export function partialSums(what: Partials): tf.Tensor {
  const { items, accumulators, blocks = 1, tree = !isSoftwareAdapter() } = what;
  const runs = Math.ceil(items / (RUN * LANES));
  const chunk = Math.max(1, Math.ceil(runs / (tree ? MAX_GROUPS.tree : MAX_GROUPS.lanes))) * RUN * LANES;
  const groups = Math.max(1, Math.ceil(items / chunk));
  return launch({
    name: what.name,
    variant: `${what.variant ?? ''} ${accumulators} ${tree}`,
    inputs: what.inputs,
    outputs: {
      partials: { shape: [blocks * accumulators, tree ? groups : groups * LANES, 4], type: 'vec4<f32>' },
    },
    uniforms: { items: ['u32', items], chunk: ['u32', chunk], ...what.uniforms },
    groups: [groups, blocks, 1],
    wgsl: () => partialsWgsl(what, tree),
  })[0] as tf.Tensor;
}

/** Second dispatch. */
export interface Finish {
  readonly name: string;
  readonly variant?: string;
  readonly partials: tf.Tensor;
  readonly outputs: NonNullable<Launch['outputs']>;
  readonly uniforms?: NonNullable<Launch['uniforms']>;
  /** WGSL in `main`, run by all 64 invocations in step: `total(k, lane)` gives sum k to each; write where `lane == 0u`. */
  readonly body: () => string;
}

/** Adds the partial sums and computes the outputs from them; disposes of the partial sums. */
export function finishSums(what: Finish): tf.Tensor[] {
  const count = what.partials.shape[1] as number;
  const made = launch({
    name: what.name,
    variant: what.variant ?? '',
    inputs: { partials: { tensor: what.partials, type: 'vec4<f32>' } },
    outputs: what.outputs,
    uniforms: { partialCount: ['u32', count], ...what.uniforms },
    groups: [1, 1, 1],
    wgsl: () => `
var<workgroup> tree: array<vec4<f32>, ${LANES}>;
fn total(k: u32, lane: u32) -> vec4<f32> {
  var sum = vec4<f32>(0.0);
  for (var i = lane; i < u.partialCount; i += ${RUN * LANES}u) {
    var part = vec4<f32>(0.0);
    let stop = min(u.partialCount, i + ${RUN * LANES}u);
    for (var j = i; j < stop; j += ${LANES}u) { part += partials[k * u.partialCount + j]; }
    sum += part;
  }
  workgroupBarrier(); // the sum before may still be read
  tree[lane] = sum;
  workgroupBarrier();
  for (var half = ${LANES / 2}u; half > 0u; half /= 2u) {
    if (lane < half) { tree[lane] += tree[lane + half]; }
    workgroupBarrier();
  }
  return tree[0];
}
@compute @workgroup_size(${LANES}) fn main(@builtin(local_invocation_index) lane: u32) {
  ${what.body()}
}`,
  });
  what.partials.dispose();
  return made;
}

/** factor * sum over the items of `term`, a WGSL expression of the inputs at `j` (four at once where sizes allow). */
function scaledSum(
  name: string,
  inputs: Readonly<Record<string, tf.TensorInfo>>,
  size: number,
  term: string,
  factor: number,
  tree?: boolean,
): tf.Scalar {
  const quads = size % 4 === 0;
  const type = quads ? 'vec4<f32>' : 'f32';
  const partials = partialSums({
    name: `${name}-partials`,
    variant: type,
    inputs: Object.fromEntries(Object.entries(inputs).map(([key, tensor]) => [key, { tensor, type }])),
    items: quads ? size / 4 : size,
    accumulators: 1,
    ...(tree === undefined ? {} : { tree }),
    body: () => (quads ? `part0 += ${term};` : `part0.x += ${term};`),
  });
  return finishSums({
    name: 'sum-finish',
    partials,
    outputs: { y: { shape: [], type: 'f32' } },
    uniforms: { factor: ['f32', factor] },
    body: () => 'let s = total(0u, lane); if (lane == 0u) { y[0] = ((s.x + s.y) + (s.z + s.w)) * u.factor; }',
  })[0] as tf.Scalar;
}

const sizeOf = (x: tf.TensorInfo): number => x.shape.reduce((a, b) => a * b, 1);

/** Sum of all elements; x float32 of any shape. @param tree as in `Partials`. */
export function sumAll(x: tf.TensorInfo, tree?: boolean): tf.Scalar {
  return scaledSum('sum', { x }, sizeOf(x), 'x[j]', 1, tree);
}

/** Mean of x^2; x float32 of any shape. */
export function meanSquare(x: tf.TensorInfo): tf.Scalar {
  return scaledSum('mean-square', { x }, sizeOf(x), 'x[j] * x[j]', 1 / sizeOf(x));
}

/** Mean of (x - target)^2; float32 of equal shapes. */
export function mse(x: tf.TensorInfo, target: tf.TensorInfo): tf.Scalar {
  return scaledSum('mse', { x, t: target }, sizeOf(x), '(x[j] - t[j]) * (x[j] - t[j])', 1 / sizeOf(x));
}

/** Gradient of `mse` (or of `meanSquare`, target null) by x: 2 (x - target) / n * dy. @param dy scalar on the device. */
export function mseGradient(x: tf.TensorInfo, target: tf.TensorInfo | null, dy: tf.TensorInfo): tf.Tensor {
  const size = sizeOf(x);
  const quads = size % 4 === 0;
  const type = quads ? 'vec4<f32>' : 'f32';
  const items = quads ? size / 4 : size;
  const inputs = { x: { tensor: x, type }, dy: { tensor: dy, type: 'f32' } };
  return perItem({
    name: 'mse-gradient',
    variant: target === null ? 'alone' : 'pair',
    inputs: target === null ? inputs : { ...inputs, t: { tensor: target, type } },
    outputs: { dx: { shape: x.shape, type } },
    uniforms: { factor: ['f32', 2 / size] },
    items,
    body: () => `dx[i] = (${target === null ? 'x[i]' : 'x[i] - t[i]'}) * (u.factor * dy[0]);`,
  })[0] as tf.Tensor;
}

/** One invocation per item: `body` computes item `i`. `u.items` is their number. */
export function perItem(
  what: Omit<Launch, 'groups' | 'wgsl'> & { items: number; body: () => string; functions?: () => string },
): tf.Tensor[] {
  const { items, body, functions, uniforms, ...rest } = what;
  const groups = Math.max(1, Math.ceil(items / LANES));
  const y = Math.ceil(groups / 65_535);
  return launch({
    ...rest,
    uniforms: { items: ['u32', items], ...uniforms },
    groups: [Math.ceil(groups / y), y, 1],
    wgsl: () => `${functions?.() ?? ''}
@compute @workgroup_size(${LANES}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * ${LANES}u + lane;
  if (i >= u.items) { return; }
  ${body()}
}`,
  });
}

/** Inputs of one dispatch: eight storage buffers are certain, one is the output. */
const STACK = 7;

/** Scalars ([] or [1], float32) as one tensor [n], seven per dispatch. Throws Error for an empty list. */
export function stackScalars(scalars: readonly tf.TensorInfo[]): tf.Tensor1D {
  if (scalars.length === 0) throw new Error('stackScalars: no scalars');
  let y: tf.Tensor | null = null;
  for (let start = 0; start < scalars.length; start += STACK) {
    const some = scalars.slice(start, start + STACK);
    const [made] = launch({
      name: 'stack-scalars',
      variant: `${some.length}`,
      inputs: Object.fromEntries(some.map((tensor, k) => [`x${k}`, { tensor, type: 'f32' }])),
      ...(y === null
        ? { outputs: { y: { shape: [scalars.length], type: 'f32' } } }
        : { updates: { y: { tensor: y, type: 'f32' } } }),
      uniforms: { start: ['u32', start] },
      groups: [1, 1, 1],
      wgsl: () => `@compute @workgroup_size(1) fn main() {
  ${some.map((_, k) => `y[u.start + ${k}u] = x${k}[0];`).join(' ')}
}`,
    });
    y ??= made as tf.Tensor;
  }
  return y as unknown as tf.Tensor1D;
}
