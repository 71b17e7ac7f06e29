/**
 * @file SegFormer weights under their three generations of names (reference/models.md section 4.2). Pure, host side.
 *   NVlabs:            backbone.block1.0.attn.q, .kv (key rows first, then value rows), decode_head.linear_pred
 *   transformers v4:   segformer.encoder.block.0.0.attention.self.query, ...   (the published files; our own names)
 *   transformers v5:   segformer.stages.0.blocks.0.attention.q_proj, ...
 */
import type { HostTensor, TensorMap } from '../formats/tensor';
import type { SegFormerArchitecture } from './segformer';
import type { LoadReport } from './types';

type Rule = readonly [pattern: RegExp, replacement: string | ((...groups: string[]) => string)];

const minusOne = (n: string): number => Number(n) - 1;

/** Parts inside an NVlabs block. */
const NVLABS_BLOCK: readonly Rule[] = [
  [/^norm([12])\./, 'layer_norm_$1.'],
  [/^attn\.q\./, 'attention.self.query.'],
  [/^attn\.sr\./, 'attention.self.sr.'],
  [/^attn\.norm\./, 'attention.self.layer_norm.'],
  [/^attn\.proj\./, 'attention.output.dense.'],
  [/^mlp\.fc([12])\./, 'mlp.dense$1.'],
];

/** Parts inside a transformers v5 block. */
const V5_BLOCK: readonly Rule[] = [
  [/^layernorm_before\./, 'layer_norm_1.'],
  [/^layernorm_after\./, 'layer_norm_2.'],
  [/^attention\.q_proj\./, 'attention.self.query.'],
  [/^attention\.k_proj\./, 'attention.self.key.'],
  [/^attention\.v_proj\./, 'attention.self.value.'],
  [/^attention\.sequence_reduction\.sequence_reduction\./, 'attention.self.sr.'],
  [/^attention\.sequence_reduction\.layer_norm\./, 'attention.self.layer_norm.'],
  [/^attention\.o_proj\./, 'attention.output.dense.'],
  [/^mlp\.fc([12])\./, 'mlp.dense$1.'],
];

function apply(rules: readonly Rule[], name: string): string {
  for (const [pattern, replacement] of rules) {
    if (pattern.test(name)) return name.replace(pattern, replacement as string);
  }
  return name;
}

const NVLABS: readonly Rule[] = [
  [
    /^(?:backbone\.)?patch_embed([1-4])\.(proj|norm)\./,
    (_, i, part) =>
      `segformer.encoder.patch_embeddings.${minusOne(i as string)}.${part === 'norm' ? 'layer_norm' : 'proj'}.`,
  ],
  [
    /^(?:backbone\.)?block([1-4])\.(\d+)\.(.*)$/,
    (_, i, j, rest) =>
      `segformer.encoder.block.${minusOne(i as string)}.${j}.${apply(NVLABS_BLOCK, rest as string)}`,
  ],
  [/^(?:backbone\.)?norm([1-4])\./, (_, i) => `segformer.encoder.layer_norm.${minusOne(i as string)}.`],
  [/^decode_head\.linear_c([1-4])\.proj\./, (_, i) => `decode_head.linear_c.${minusOne(i as string)}.proj.`],
  [/^decode_head\.linear_fuse\.conv\./, 'decode_head.linear_fuse.'],
  [/^decode_head\.linear_fuse\.bn\./, 'decode_head.batch_norm.'],
  [/^decode_head\.linear_pred\./, 'decode_head.classifier.'],
];

const V5: readonly Rule[] = [
  [/^segformer\.stages\.(\d+)\.patch_embeddings\./, 'segformer.encoder.patch_embeddings.$1.'],
  [
    /^segformer\.stages\.(\d+)\.blocks\.(\d+)\.(.*)$/,
    (_, i, j, rest) => `segformer.encoder.block.${i}.${j}.${apply(V5_BLOCK, rest as string)}`,
  ],
  [/^segformer\.stages\.(\d+)\.layer_norm\./, 'segformer.encoder.layer_norm.$1.'],
  [/^decode_head\.linear_projections\.(\d+)\.proj\./, 'decode_head.linear_c.$1.proj.'],
];

/** Rows [from, to) of the first axis, sharing memory. */
function rows(t: HostTensor, from: number, to: number): HostTensor {
  const width = t.shape.slice(1).reduce((a, b) => a * b, 1);
  const data = t.data.subarray(from * width, to * width) as HostTensor['data'];
  return { dtype: t.dtype, shape: [to - from, ...t.shape.slice(1)], data };
}

/** Recognises a generation by names that only it has. */
function generation(names: readonly string[]): { rules: readonly Rule[]; title: string } {
  if (names.some((n) => /^segformer\.stages\.\d/.test(n))) {
    return { rules: V5, title: 'SegFormer, transformers v5 names' };
  }
  if (names.some((n) => /^(backbone\.)?(patch_embed[1-4]|block[1-4])\./.test(n))) {
    return { rules: NVLABS, title: 'SegFormer, original NVlabs names' };
  }
  return { rules: [], title: 'SegFormer, published names (transformers v4)' };
}

/** Renames any generation to the published names and splits NVlabs' joint key and value matrices. */
export function adaptSegFormer(
  _: SegFormerArchitecture,
  tensors: TensorMap,
): { tensors: TensorMap; recognisedAs: string; reshaped: LoadReport['reshaped'] } {
  const bare = new Map([...tensors].map(([name, t]) => [name.replace(/^module\./, ''), t] as const));
  const { rules, title } = generation([...bare.keys()]);
  const out: TensorMap = new Map();
  for (const [name, t] of bare) {
    const joint = /^(.*)\.attn\.kv\.(weight|bias)$/.exec(name);
    if (rules === NVLABS && joint !== null) {
      const self = apply(rules, `${joint[1]}.attn.q.${joint[2]}`).replace(/query\.(weight|bias)$/, '');
      const half = (t.shape[0] as number) / 2;
      out.set(`${self}key.${joint[2]}`, rows(t, 0, half));
      out.set(`${self}value.${joint[2]}`, rows(t, half, 2 * half));
    } else {
      const encoderOnly = /^encoder\.(patch_embeddings|block|layer_norm)\./.test(name);
      out.set(apply(rules, encoderOnly ? `segformer.${name}` : name), t);
    }
  }
  return { tensors: out, recognisedAs: title, reshaped: [] };
}
