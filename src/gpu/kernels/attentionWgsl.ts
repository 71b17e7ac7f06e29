/** @file WGSL of attention's kernels: output, gradients by query row, by key row, and of the additive bias. See attention.ts. Text only. */
import { FLAT_GROUP } from '../launch';
import { at, atQuery, frame, inner, lines, LOWEST, openKey, type Plan, range, scoreOf, walk, WORKGROUP } from './attentionParts'; // prettier-ignore

const KEYS = 4;

/** Declares open<r> and key<r> (within bounds) of the keys of a turn. */
const keysOf = (plan: Plan, step: number): string =>
  range(step)
    .map(
      (r) =>
        `let key${r} = min(j + ${r}u, u.m - 1u); let open${r} = j + ${r}u < u.m && ${openKey(plan, `key${r}`)};`,
    ) // prettier-ignore
    .join(' ');

/** y and the rows' log-sum-exp: a running maximum and sum per row, rescaled once per four keys. */
export function forwardWgsl(plan: Plan): string {
  const { form, own, T } = plan;
  const parts = (line: (c: number) => string): string => range(own).map(line).join(' ');
  const { declarations, loop } = walk({
    plan,
    x: { name: plan.bound.k, at: at('k', 'm', plan) },
    z: { name: plan.bound.v, at: at('v', 'm', plan) },
    length: 'u.m',
    step: KEYS,
    dots: [['q', 'x']],
    body: (dot, _, z) => {
      const row = (i: number): string => `{
      ${range(KEYS).map((r) => `let s${r} = select(${LOWEST}, ${scoreOf(plan, dot(i, 0, r), `r${i}`, `key${r}`)}, open${r});`).join(' ')}
      let top = max(top${i}, max(max(s0, s1), max(s2, s3)));
      let keep = exp(top${i} - top);
      ${range(KEYS).map((r) => `let p${r} = select(0.0, exp(s${r} - top), open${r});`).join(' ')}
      sum${i} = sum${i} * keep + ((p0 + p1) + (p2 + p3));
      ${parts((c) => `acc${i}_${c} = acc${i}_${c} * keep + (${range(KEYS).map((r) => `p${r} * ${z(r, c)}`).join(' + ')});`)}
      top${i} = top; }`; // prettier-ignore
      return `${keysOf(plan, KEYS)}\n  ${lines(form.rows, row)}`;
    },
  });
  return frame(
    plan,
    'n',
    declarations,
    `${lines(
      form.rows,
      (i) => `let r${i} = min(row + ${i}u, u.n - 1u); let aq${i} = ${at('q', 'n', plan)(`r${i}`)} + first;
  ${parts((c) => `let q${i}_${c} = q[aq${i} + ${c}u]; var acc${i}_${c} = ${T}(0.0);`)}
  var top${i} = ${LOWEST}; var sum${i} = 0.0;`,
    )}
  ${loop}
  ${lines(
    form.rows,
    (i) => `if (row + ${i}u < u.n) {
    let over = select(0.0, 1.0 / sum${i}, sum${i} > 0.0);
    let o = ${atQuery(plan)(`r${i}`)} + first;
    ${parts((c) => `y[o + ${c}u] = acc${i}_${c} * over;`)}
    if (first == 0u) { stats[bh * u.n + r${i}] = vec2<f32>(select(3.0e38, top${i} + log(sum${i}), sum${i} > 0.0), 0.0); }
  }`,
  )}`,
  );
}

/** D per row, where the next kernel has no binding left for y. Row sums in stats: (L, D). */
export function rowDotWgsl(plan: Plan): string {
  return `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (id >= u.batch * u.heads * u.n) { return; }
  let h = id / u.n % u.heads;
  let b = id / (u.n * u.heads);
  let start = ${atQuery(plan)('id % u.n')};
  var sum = 0.0;
  for (var c = 0u; c < ${plan.count}u; c++) { sum += ${plan.width === 4 ? 'dot(dy[start + c], y[start + c])' : 'dy[start + c] * y[start + c]'}; }
  stats[id].y = sum;
}`;
}

/** dq per query row, and D into stats unless \`ready\`; with relative positions also their gradients. */
export function queryWgsl(plan: Plan, ready: boolean): string {
  const { form, own, T, width, d, split, relative } = plan;
  const parts = (line: (c: number) => string): string => range(own).map(line).join(' ');
  const step = 2;
  const { declarations, loop } = walk({
    plan,
    x: { name: plan.bound.k, at: at('k', 'm', plan) },
    z: { name: plan.bound.v, at: at('v', 'm', plan) },
    length: 'u.m',
    step,
    dots: [['q', 'x'], ['dy', 'z']], // prettier-ignore
    body: (dot, x) => {
      const pair = (i: number) => (r: number): string => `let p${r} = select(0.0, exp(${scoreOf(plan, dot(i, 0, r), `r${i}`, `key${r}`)} - stat${i}.x), open${r});
      let g${r} = p${r} * ((${dot(i, 1, r)}) - d${i});
      ${relative ? `if (once${i} && open${r}) { dRelH[bh * u.n * u.kh + r${i} * u.kh + key${r} / u.kw] += g${r}; dRelW[bh * u.n * u.kw + r${i} * u.kw + key${r} % u.kw] += g${r}; }` : ''}`; // prettier-ignore
      const row = (i: number): string => `{ ${lines(step, pair(i))}
      ${parts((c) => `dq${i}_${c} += ${range(step).map((r) => `g${r} * ${x(r, c)}`).join(' + ')};`)} }`; // prettier-ignore
      return `${keysOf(plan, step)}\n  ${lines(form.rows, row)}`;
    },
  });
  // D: with split rows the shares of it are added as those of the products.
  const own0 = (i: number): string => inner(plan, (c) => `dy${i}_${c}`, (c) => `y[ay${i} + ${c}u]`); // prettier-ignore
  const dot = (i: number): string => {
    if (ready) return `let d${i} = stat${i}.y;`;
    if (split === 1) return `let d${i} = ${own0(i)};`;
    return `shares[lane] = ${own0(i)}; workgroupBarrier(); let d${i} = ${range(split).map((s) => `shares[lane0 + ${s}u]`).join(' + ')}; workgroupBarrier();`; // prettier-ignore
  };
  const start = (i: number): string => `let r${i} = min(row + ${i}u, u.n - 1u);
  let aq${i} = ${at('q', 'n', plan)(`r${i}`)} + first; let ay${i} = ${atQuery(plan)(`r${i}`)} + first;
  ${parts((c) => `let q${i}_${c} = q[aq${i} + ${c}u]; let dy${i}_${c} = dy[ay${i} + ${c}u]; var dq${i}_${c} = ${T}(0.0);`)}
  let once${i} = row + ${i}u < u.n && first == 0u;
  let stat${i} = stats[bh * u.n + r${i}];
  ${dot(i)}
  ${relative ? `if (once${i}) { for (var e = 0u; e < u.kh; e++) { dRelH[bh * u.n * u.kh + r${i} * u.kh + e] = 0.0; } for (var e = 0u; e < u.kw; e++) { dRelW[bh * u.n * u.kw + r${i} * u.kw + e] = 0.0; } }` : ''}`;
  const end = (i: number): string => `if (row + ${i}u < u.n) {
    let o = ((b * u.n + r${i}) * u.dqStride + u.dqOffset + h * ${d}u) / ${width}u + first;
    ${parts((c) => `dq[o + ${c}u] = dq${i}_${c} * u.scale;`)}
    ${ready ? '' : `if (once${i}) { stats[bh * u.n + r${i}].y = d${i}; }`}
  }`;
  return frame(plan, 'n', declarations, `${lines(form.rows, start)}\n  ${loop}\n  ${lines(form.rows, end)}`);
}

/** dk and dv per key row. */
export function keyWgsl(plan: Plan, packed: boolean): string {
  const { form, own, T, width, d } = plan;
  const parts = (line: (c: number) => string): string => range(own).map(line).join(' ');
  const { declarations, loop } = walk({
    plan,
    x: { name: 'q', at: at('q', 'n', plan) },
    z: { name: 'dy', at: atQuery(plan) },
    length: 'u.n',
    step: 1,
    dots: [['k', 'x'], ['v', 'z']], // prettier-ignore
    body: (dot, x, z) => {
      const row = (i: number): string => `{
      let p = select(0.0, exp(${scoreOf(plan, dot(i, 0, 0), 'j', `r${i}`)} - stat.x), open${i});
      let g = p * ((${dot(i, 1, 0)}) - stat.y);
      ${parts((c) => `dk${i}_${c} += g * ${x(0, c)}; dv${i}_${c} += p * ${z(0, c)};`)} }`;
      return `let stat = stats[bh * u.n + j];\n  ${lines(form.rows, row)}`;
    },
  });
  const [dk, dv] = packed ? ['dqkv', 'dqkv'] : ['dk', 'dv'];
  const start = (
    i: number,
  ): string => `let r${i} = min(row + ${i}u, u.m - 1u); let open${i} = ${openKey(plan, `r${i}`)};
  let ak${i} = ${at('k', 'm', plan)(`r${i}`)} + first; let av${i} = ${at('v', 'm', plan)(`r${i}`)} + first;
  ${parts((c) => `let k${i}_${c} = ${plan.bound.k}[ak${i} + ${c}u]; let v${i}_${c} = ${plan.bound.v}[av${i} + ${c}u]; var dk${i}_${c} = ${T}(0.0); var dv${i}_${c} = ${T}(0.0);`)}`;
  const end = (i: number): string => `if (row + ${i}u < u.m) {
    let ok = ((b * u.m + r${i}) * u.dkStride + u.dkOffset + h * ${d}u) / ${width}u + first;
    let ov = ((b * u.m + r${i}) * u.dvStride + u.dvOffset + h * ${d}u) / ${width}u + first;
    ${parts((c) => `${dk}[ok + ${c}u] = dk${i}_${c} * u.scale; ${dv}[ov + ${c}u] = dv${i}_${c};`)}
  }`;
  return frame(plan, 'm', declarations, `${lines(form.rows, start)}\n  ${loop}\n  ${lines(form.rows, end)}`);
}

/** Gradient of the bias: an invocation per element adds over the images, and over the heads where they share it, in order. */
export function biasWgsl(plan: Plan): string {
  const { count, width } = plan;
  const product = (a: string, c: string): string => (width === 4 ? `dot(${a}, ${c})` : `${a} * ${c}`);
  return `${FLAT_GROUP}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32) {
  let id = flatGroup(group, groups) * ${WORKGROUP}u + lane;
  if (id >= u.biasHeads * u.n * u.m) { return; }
  let j = id % u.m;
  let i = id / u.m % u.n;
  var total = 0.0;
  for (var b = 0u; b < u.batch; b++) {
    if (!(${openKey(plan, 'j')})) { continue; }
    for (var h = id / (u.m * u.n); h < u.heads; h += u.biasHeads) {
      let bh = b * u.heads + h;
      let aq = ${at('q', 'n', plan)('i')}; let ak = ${at('k', 'm', plan)('j')}; let av = ${at('v', 'm', plan)('j')}; let ay = ${atQuery(plan)('i')};
      var s = 0.0; var dp = 0.0;
      for (var c = 0u; c < ${count}u; c++) {
        s += ${product('q[aq + c]', `${plan.bound.k}[ak + c]`)};
        dp += ${product('dy[ay + c]', `${plan.bound.v}[av + c]`)};
      }
      let stat = stats[bh * u.n + i];
      total += exp(${scoreOf(plan, 's', 'i', 'j')} - stat.x) * (dp - stat.y);
    }
  }
  dBias[id] = total;
}`;
}
