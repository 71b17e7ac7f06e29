/**
 * @file Attention without the N x N matrix: forward, and backward with recompute (FlashAttention-2, arXiv 2307.08691). Outside the
 * tape; the operations are in ops/attention.ts. May import gpu/launch, tfjs.
 *
 * Heads lie side by side in rows of q, k and v, which may be parts of wider rows (a joint query-key-value product), so nothing is split or
 * transposed. Forward: an invocation owns `rows` query rows, holds them and their sums in registers, and walks over the keys four at a time
 * with a running maximum. It keeps the output and the row's log-sum-exp L. Backward: p = exp(s - L) is computed again; one kernel
 * per query row gives dq and D = sum(dy y), another per key row gives dk and dv. No atomics: the order of every sum is fixed.
 *
 * Software adapters read keys and values straight from memory, several query rows per invocation (each load then serves several
 * products). GPUs share a tile of them in workgroup memory: 64 invocations, at most 16 KiB.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { FLAT_GROUP, flatGroups, isSoftwareAdapter, launch, type Launch } from '../launch';

/** q, k or v: rows of heads x d within a tensor. */
export interface HeadRows {
  readonly tensor: tf.Tensor;
  readonly offset: number; // elements before the first channel of a row
  readonly stride: number; // elements from row to row
}

export interface AttentionSizes {
  readonly batch: number;
  readonly n: number; // query rows
  readonly m: number; // key rows
  readonly heads: number;
  readonly d: number; // channels of a head, 1 to 128
  readonly scale: number; // of q k^T
}

export interface AttentionOperands {
  readonly q: HeadRows;
  readonly k: HeadRows;
  readonly v: HeadRows;
  /** [batch, m] float32, 0 = not attended to. A row without keys gives zeros. */
  readonly keyMask?: tf.Tensor | null;
}

export interface AttentionForm {
  readonly shared: boolean; // tiles in workgroup memory
  readonly rows: number; // per invocation
}

const WORKGROUP = 64;
/** Of float32; below every exponent that matters, and finite, so that no NaN arises from differences. */
const LOWEST = '-3.0e38';

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Parts of a row of d channels: vec4 where d and its place allow. */
interface Parts {
  readonly T: string;
  readonly width: number;
  readonly count: number;
}

function partsOf(d: number, operands: readonly HeadRows[]): Parts {
  const quads = d % 4 === 0 && operands.every(({ offset, stride }) => offset % 4 === 0 && stride % 4 === 0);
  return quads ? { T: 'vec4<f32>', width: 4, count: d / 4 } : { T: 'f32', width: 1, count: d };
}

const multiply = ({ width }: Parts, a: string, b: string): string =>
  width === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`;

/** Sum over the parts of a_i b_i. */
const inner = (p: Parts, a: (i: number) => string, b: (i: number) => string): string =>
  range(p.count)
    .map((i) => multiply(p, a(i), b(i)))
    .join(' + ');

/**
 * The form for this adapter. Four rows were the fastest on SwiftShader for heads of 16 and 64 (against one: 2.8 and 3 times); beyond, the
 * text of the kernel grows so long that compiling it takes seconds.
 */
export function attentionForm(d: number): AttentionForm {
  if (!isSoftwareAdapter()) return { shared: true, rows: 1 };
  return { shared: false, rows: d <= 64 ? 4 : 1 };
}

/** Keys per tile of workgroup memory: two operands of d channels in 16 KiB. */
const tileRows = (d: number): number => Math.max(4, Math.min(64, 4 * Math.floor(2048 / (4 * d))));

interface Walk {
  readonly parts: Parts;
  readonly shared: boolean;
  readonly d: number;
  /** The two operands walked over, with WGSL of the index of a row's first part. */
  readonly first: { readonly name: string; readonly at: (row: string) => string };
  readonly second: { readonly name: string; readonly at: (row: string) => string };
  readonly length: string; // rows to walk over
  readonly step: number; // rows per turn of the body
  /** WGSL of a turn from row `j` (the first of `step`; those from `length` on must be masked). */
  readonly body: (
    first: (row: number, part: number) => string,
    second: (row: number, part: number) => string,
  ) => string;
}

/** A loop over the rows of two operands, read from memory or through tiles in workgroup memory. Declares x<row>_<part>, z<row>_<part>. */
function walk({ parts, shared, d, first, second, length, step, body }: Walk): {
  declarations: string;
  loop: string;
} {
  const names = { x: (r: number, i: number) => `x${r}_${i}`, z: (r: number, i: number) => `z${r}_${i}` };
  if (!shared) {
    const load = range(step).map((r) => {
      const row = `min(j + ${r}u, ${length} - 1u)`;
      const both = [`let ax${r} = ${first.at(row)};`, `let az${r} = ${second.at(row)};`];
      const values = range(parts.count).map(
        (i) =>
          `let x${r}_${i} = ${first.name}[ax${r} + ${i}u]; let z${r}_${i} = ${second.name}[az${r} + ${i}u];`,
      );
      return [...both, ...values].join(' ');
    });
    return {
      declarations: '',
      loop: `for (var j = 0u; j < ${length}; j += ${step}u) { ${load.join('\n')}\n${body(names.x, names.z)} }`,
    };
  }
  const rows = tileRows(d);
  const size = rows * parts.count;
  const load = range(step).map((r) =>
    range(parts.count)
      .map(
        (i) =>
          `let x${r}_${i} = tile_x[(j - start + ${r}u) * ${parts.count}u + ${i}u]; let z${r}_${i} = tile_z[(j - start + ${r}u) * ${parts.count}u + ${i}u];`,
      )
      .join(' '),
  );
  return {
    declarations: `var<workgroup> tile_x: array<${parts.T}, ${size}>;\nvar<workgroup> tile_z: array<${parts.T}, ${size}>;`,
    loop: `for (var start = 0u; start < ${length}; start += ${rows}u) {
    workgroupBarrier();
    for (var item = lane; item < ${size}u; item += ${WORKGROUP}u) {
      let row = min(start + item / ${parts.count}u, ${length} - 1u);
      tile_x[item] = ${first.name}[${first.at('row')} + item % ${parts.count}u];
      tile_z[item] = ${second.name}[${second.at('row')} + item % ${parts.count}u];
    }
    workgroupBarrier();
    let stop = min(start + ${rows}u, ${length});
    for (var j = start; j < stop; j += ${step}u) { ${load.join('\n')}\n${body(names.x, names.z)} }
  }`,
  };
}

/**
 * The frame of all three kernels: which rows an invocation owns. With tiles, a workgroup lies within one head (its invocations share
 * the keys); else invocations are numbered through.
 */
function frame(form: AttentionForm, count: string, declarations: string, body: string): string {
  const { shared, rows } = form;
  const place = shared
    ? `let perHead = (${count} + ${WORKGROUP * rows - 1}u) / ${WORKGROUP * rows}u;
  let g = flatGroup(group, groups);
  if (g >= perHead * u.batch * u.heads) { return; }
  let bh = g / perHead;
  let row = ((g % perHead) * ${WORKGROUP}u + lane) * ${rows}u;`
    : `let perHead = (${count} + ${rows - 1}u) / ${rows}u;
  let id = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (id >= perHead * u.batch * u.heads) { return; }
  let bh = id / perHead;
  let row = (id % perHead) * ${rows}u;`;
  return `${FLAT_GROUP}
${declarations}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  ${place}
  let b = bh / u.heads;
  let h = bh % u.heads;
  ${body}
}`;
}

function groupsOf(
  form: AttentionForm,
  { batch, heads }: AttentionSizes,
  count: number,
): [number, number, number] {
  const heads_ = batch * heads;
  if (form.shared) return flatGroups(heads_ * Math.ceil(count / (WORKGROUP * form.rows)));
  return flatGroups(Math.ceil((heads_ * Math.ceil(count / form.rows)) / WORKGROUP));
}

/** WGSL of the index of the first part of head h in a row of an operand. */
const at =
  (name: string, rowsName: string, d: number, { width }: Parts) =>
  (row: string): string =>
    `((b * u.${rowsName} + ${row}) * u.${name}Stride + u.${name}Offset + h * ${d}u) / ${width}u`;

function uniformsOf(
  { batch, n, m, heads, scale }: AttentionSizes,
  rows: Readonly<Record<string, HeadRows>>,
): NonNullable<Launch['uniforms']> {
  const places = Object.entries(rows).flatMap(([name, { offset, stride }]) => [
    [`${name}Offset`, ['u32', offset]] as const,
    [`${name}Stride`, ['u32', stride]] as const,
  ]);
  return {
    batch: ['u32', batch],
    n: ['u32', n],
    m: ['u32', m],
    heads: ['u32', heads],
    scale: ['f32', scale],
    ...Object.fromEntries(places),
  };
}

const KEYS = 4;

function forwardWgsl(d: number, form: AttentionForm, parts: Parts, masked: boolean): string {
  const rows = range(form.rows);
  const p = range(parts.count);
  const { T } = parts;
  const { declarations, loop } = walk({
    parts,
    shared: form.shared,
    d,
    first: { name: 'k', at: at('k', 'm', d, parts) },
    second: { name: 'v', at: at('v', 'm', d, parts) },
    length: 'u.m',
    step: KEYS,
    body: (x, z) =>
      `${range(KEYS)
        .map(
          (r) =>
            `let open${r} = j + ${r}u < u.m${masked ? ` && keyMask[b * u.m + min(j + ${r}u, u.m - 1u)] != 0.0` : ''};`,
        )
        .join(' ')}
    ${rows
      .map((i) => {
        const scores = range(KEYS).map(
          (r) =>
            `var s${r} = select(${LOWEST}, (${inner(
              parts,
              (c) => `q${i}_${c}`,
              (c) => x(r, c),
            )}) * u.scale, open${r});`,
        );
        const weights = range(KEYS).map((r) => `let p${r} = select(0.0, exp(s${r} - top), open${r});`);
        const sums = p.map(
          (c) =>
            `acc${i}_${c} = acc${i}_${c} * keep + (${range(KEYS)
              .map((r) => `p${r} * ${z(r, c)}`)
              .join(' + ')});`,
        );
        return `{ ${scores.join(' ')}
      let top = max(top${i}, max(max(s0, s1), max(s2, s3)));
      let keep = exp(top${i} - top);
      ${weights.join(' ')}
      sum${i} = sum${i} * keep + ((p0 + p1) + (p2 + p3));
      ${sums.join(' ')}
      top${i} = top; }`;
      })
      .join('\n')}`,
  });
  return frame(
    form,
    'u.n',
    declarations,
    `${rows
      .map(
        (i) => `let aq${i} = ${at('q', 'n', d, parts)(`min(row + ${i}u, u.n - 1u)`)};
  ${p.map((c) => `let q${i}_${c} = q[aq${i} + ${c}u]; var acc${i}_${c} = ${T}(0.0);`).join(' ')}
  var top${i} = ${LOWEST}; var sum${i} = 0.0;`,
      )
      .join('\n')}
  ${loop}
  ${rows
    .map(
      (i) => `if (row + ${i}u < u.n) {
    let over = select(0.0, 1.0 / sum${i}, sum${i} > 0.0);
    let o = ((b * u.n + row + ${i}u) * u.heads * ${d}u + h * ${d}u) / ${parts.width}u;
    ${p.map((c) => `y[o + ${c}u] = acc${i}_${c} * over;`).join(' ')}
    logsum[bh * u.n + row + ${i}u] = select(3.0e38, top${i} + log(sum${i}), sum${i} > 0.0);
  }`,
    )
    .join('\n')}`,
  );
}

/** dq and D per query row. */
function queryWgsl(d: number, form: AttentionForm, parts: Parts, masked: boolean): string {
  const rows = range(form.rows);
  const p = range(parts.count);
  const { T, width } = parts;
  const step = 2;
  const { declarations, loop } = walk({
    parts,
    shared: form.shared,
    d,
    first: { name: 'k', at: at('k', 'm', d, parts) },
    second: { name: 'v', at: at('v', 'm', d, parts) },
    length: 'u.m',
    step,
    body: (x, z) =>
      `${range(step)
        .map(
          (r) =>
            `let open${r} = j + ${r}u < u.m${masked ? ` && keyMask[b * u.m + min(j + ${r}u, u.m - 1u)] != 0.0` : ''};`,
        )
        .join(' ')}
    ${rows
      .map(
        (i) => `{ ${range(step)
          .map(
            (r) => `let s${r} = (${inner(
              parts,
              (c) => `q${i}_${c}`,
              (c) => x(r, c),
            )}) * u.scale;
      let p${r} = select(0.0, exp(s${r} - l${i}), open${r});
      let g${r} = p${r} * ((${inner(
        parts,
        (c) => `dy${i}_${c}`,
        (c) => z(r, c),
      )}) - d${i});`,
          )
          .join(' ')}
      ${p
        .map(
          (c) =>
            `dq${i}_${c} += ${range(step)
              .map((r) => `g${r} * ${x(r, c)}`)
              .join(' + ')};`,
        )
        .join(' ')} }`,
      )
      .join('\n')}`,
  });
  const out = (row: string): string => `((b * u.n + ${row}) * u.heads * ${d}u + h * ${d}u) / ${width}u`;
  return frame(
    form,
    'u.n',
    declarations,
    `${rows
      .map(
        (i) => `let r${i} = min(row + ${i}u, u.n - 1u);
  let aq${i} = ${at('q', 'n', d, parts)(`r${i}`)}; let ay${i} = ${out(`r${i}`)};
  ${p.map((c) => `let q${i}_${c} = q[aq${i} + ${c}u]; let dy${i}_${c} = dy[ay${i} + ${c}u]; var dq${i}_${c} = ${T}(0.0);`).join(' ')}
  let d${i} = ${inner(
    parts,
    (c) => `dy${i}_${c}`,
    (c) => `y[ay${i} + ${c}u]`,
  )};
  let l${i} = logsum[bh * u.n + r${i}];`,
      )
      .join('\n')}
  ${loop}
  ${rows
    .map(
      (i) => `if (row + ${i}u < u.n) {
    let o = ((b * u.n + row + ${i}u) * u.dqStride + u.dqOffset + h * ${d}u) / ${width}u;
    ${p.map((c) => `dq[o + ${c}u] = dq${i}_${c} * u.scale;`).join(' ')}
    stats[bh * u.n + row + ${i}u] = vec2<f32>(l${i}, d${i});
  }`,
    )
    .join('\n')}`,
  );
}

/** dk and dv per key row. */
function keyWgsl(d: number, form: AttentionForm, parts: Parts, masked: boolean, packed: boolean): string {
  const rows = range(form.rows);
  const p = range(parts.count);
  const { T, width } = parts;
  const step = 1;
  const { declarations, loop } = walk({
    parts,
    shared: form.shared,
    d,
    first: { name: 'q', at: at('q', 'n', d, parts) },
    second: { name: 'dy', at: (row) => `((b * u.n + ${row}) * u.heads * ${d}u + h * ${d}u) / ${width}u` },
    length: 'u.n',
    step,
    body: (x, z) => `let l = stats[bh * u.n + j].x; let rd = stats[bh * u.n + j].y;
    ${rows
      .map(
        (i) => `{ let s = (${inner(
          parts,
          (c) => x(0, c),
          (c) => `k${i}_${c}`,
        )}) * u.scale;
      let pr = exp(s - l);
      let g = pr * ((${inner(
        parts,
        (c) => z(0, c),
        (c) => `v${i}_${c}`,
      )}) - rd);
      ${p.map((c) => `dk${i}_${c} += g * ${x(0, c)}; dv${i}_${c} += pr * ${z(0, c)};`).join(' ')} }`,
      )
      .join('\n')}`,
  });
  const [dk, dv] = packed ? ['dqkv', 'dqkv'] : ['dk', 'dv'];
  return frame(
    form,
    'u.m',
    declarations,
    `${rows
      .map(
        (i) => `let r${i} = min(row + ${i}u, u.m - 1u);
  let ak${i} = ${at('k', 'm', d, parts)(`r${i}`)}; let av${i} = ${at('v', 'm', d, parts)(`r${i}`)};
  ${p.map((c) => `let k${i}_${c} = k[ak${i} + ${c}u]; let v${i}_${c} = v[av${i} + ${c}u]; var dk${i}_${c} = ${T}(0.0); var dv${i}_${c} = ${T}(0.0);`).join(' ')}`,
      )
      .join('\n')}
  ${loop}
  ${rows
    .map(
      (i) => `if (row + ${i}u < u.m) {
    let open = ${masked ? `select(0.0, 1.0, keyMask[b * u.m + row + ${i}u] != 0.0)` : '1.0'};
    let ok = ((b * u.m + row + ${i}u) * u.dkStride + u.dkOffset + h * ${d}u) / ${width}u;
    let ov = ((b * u.m + row + ${i}u) * u.dvStride + u.dvOffset + h * ${d}u) / ${width}u;
    ${p.map((c) => `${dk}[ok + ${c}u] = ${masked ? `select(${T}(0.0), dk${i}_${c} * u.scale, open != 0.0)` : `dk${i}_${c} * u.scale`}; ${dv}[ov + ${c}u] = ${masked ? `select(${T}(0.0), dv${i}_${c}, open != 0.0)` : `dv${i}_${c}`};`).join(' ')}
  }`,
    )
    .join('\n')}`,
  );
}

const variantOf = (d: number, form: AttentionForm, parts: Parts, masked: boolean): string =>
  `d${d} ${form.shared ? 'tile' : 'direct'} r${form.rows} w${parts.width}${masked ? ' mask' : ''}`;

function checked({ d, n, m }: AttentionSizes): void {
  if (d < 1 || d > 128 || n < 1 || m < 1) {
    throw new Error(`attention: ${n} queries, ${m} keys, heads of ${d} channels; heads may have 1 to 128`);
  }
}

/**
 * softmax(q k^T scale) v.
 * @returns y [batch, n, heads d] and the rows' log-sum-exp [batch, heads, n].
 */
export function attentionForward(
  operands: AttentionOperands,
  sizes: AttentionSizes,
  form: AttentionForm = attentionForm(sizes.d),
): { y: tf.Tensor3D; logsum: tf.Tensor } {
  checked(sizes);
  const { q, k, v, keyMask = null } = operands;
  const { batch, n, heads, d } = sizes;
  const parts = partsOf(d, [q, k, v]);
  const [y, logsum] = launch({
    name: 'attention',
    variant: variantOf(d, form, parts, keyMask !== null),
    inputs: {
      q: { tensor: q.tensor, type: parts.T },
      k: { tensor: k.tensor, type: parts.T },
      v: { tensor: v.tensor, type: parts.T },
      ...(keyMask === null ? {} : { keyMask: { tensor: keyMask, type: 'f32' } }),
    },
    outputs: {
      y: { shape: [batch, n, heads * d], type: parts.T },
      logsum: { shape: [batch, heads, n], type: 'f32' },
    },
    uniforms: uniformsOf(sizes, { q, k, v }),
    groups: groupsOf(form, sizes, n),
    wgsl: () => forwardWgsl(d, form, parts, keyMask !== null),
  });
  return { y: y as tf.Tensor3D, logsum: logsum as tf.Tensor };
}

/**
 * Gradients of `attentionForward`, in two dispatches.
 * @param packed true where q, k, v are parts of one tensor [batch, n, 3 heads d]: one gradient of that shape comes back, else dq, dk, dv.
 */
export function attentionBackward(
  dy: tf.Tensor,
  y: tf.Tensor,
  logsum: tf.Tensor,
  operands: AttentionOperands,
  sizes: AttentionSizes,
  packed: boolean,
  form: AttentionForm = attentionForm(sizes.d),
): tf.Tensor[] {
  const { q, k, v, keyMask = null } = operands;
  const { batch, n, m, heads, d } = sizes;
  const c = heads * d;
  const parts = partsOf(d, [q, k, v]);
  const masked = keyMask !== null;
  const variant = `${variantOf(d, form, parts, masked)}${packed ? ' packed' : ''}`;
  // A joint tensor is bound three times; its parts differ in their offsets only.
  const shared: Launch['inputs'] = {
    q: { tensor: q.tensor, type: parts.T },
    k: { tensor: k.tensor, type: parts.T },
    v: { tensor: v.tensor, type: parts.T },
    dy: { tensor: dy, type: parts.T },
    ...(masked ? { keyMask: { tensor: keyMask, type: 'f32' } } : {}),
  };
  const width = packed ? 3 * c : c;
  const place = (offset: number): HeadRows => ({ tensor: dy, offset: packed ? offset : 0, stride: width });
  const [dq, stats] = launch({
    name: 'attention-dq',
    variant,
    inputs: {
      ...shared,
      y: { tensor: y, type: parts.T },
      logsum: { tensor: logsum, type: 'f32' },
    },
    outputs: {
      dq: { shape: [batch, n, width], type: parts.T },
      stats: { shape: [batch, heads, n, 2], type: 'vec2<f32>' }, // L and D
    },
    uniforms: uniformsOf(sizes, { q, k, v, dq: place(0) }),
    groups: groupsOf(form, sizes, n),
    wgsl: () => queryWgsl(d, form, parts, masked),
  }) as [tf.Tensor, tf.Tensor];
  const shape = [batch, m, c];
  const made = launch({
    name: 'attention-dkv',
    variant,
    inputs: { ...shared, stats: { tensor: stats, type: 'vec2<f32>' } },
    ...(packed
      ? { updates: { dqkv: { tensor: dq, type: parts.T } } }
      : { outputs: { dk: { shape, type: parts.T }, dv: { shape, type: parts.T } } }),
    uniforms: uniformsOf(sizes, { q, k, v, dk: place(c), dv: place(2 * c) }),
    groups: groupsOf(form, sizes, m),
    wgsl: () => keyWgsl(d, form, parts, masked, packed),
  });
  stats.dispose();
  return [dq, ...made];
}
