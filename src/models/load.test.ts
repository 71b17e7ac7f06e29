/**
 * @file Weights files under every generation of names, and what the report says.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { HostTensor, TensorMap } from '../formats/tensor';
import { initialTensors } from './initialize';
import { fitTensors } from './load';
import { getModel } from './registry';
import { SMALL_SEGFORMER_KEYS, TINY_KEYS } from './testArchitectures';
import { tensorsOf } from './testSupport';
import { resizePositions } from './tinyusfmNames';

const tiny = getModel('tinyusfm');
const tinyArchitecture = tiny.architecture(TINY_KEYS, 1);
const seg = getModel('segformer_b0');
const segArchitecture = seg.architecture(SMALL_SEGFORMER_KEYS, 2);
const segTensors = initialTensors(seg.parameters(segArchitecture), 7);

const renamed = (tensors: TensorMap, rename: (name: string) => string | null): TensorMap =>
  new Map([...tensors].flatMap(([name, t]) => (rename(name) === null ? [] : [[rename(name) as string, t]])));

describe('TinyUSFM', () => {
  const backbone = renamed(initialTensors(tiny.parameters(tinyArchitecture), 5), (name) =>
    name.startsWith('backbone.') ? name.replace('backbone.', 'model.') : null,
  );

  it.each(['', 'module.'])('pretrained backbone, prefix %j + "model."', (prefix) => {
    const file = renamed(backbone, (name) => prefix + name);
    file.set(`${prefix}model.head.weight`, { dtype: 'float32', shape: [1, 1], data: new Float32Array(1) });
    const { tensors, report } = fitTensors(tiny, tinyArchitecture, file, 'TinyUSFM.pth');
    expect(report.recognisedAs).toBe('TinyUSFM pretrained backbone');
    expect(report.loaded.length).toBe(backbone.size);
    expect(report.missing.every((name) => /^(neck|decode_head)\./.test(name))).toBe(true);
    expect(report.unexpected).toEqual(['backbone.head.weight']);
    expect(tensors.get('backbone.cls_token')?.data).toEqual(backbone.get('model.cls_token')?.data);
  });

  it('resizes position embeddings to another grid and says so', () => {
    const larger = tiny.architecture({ ...TINY_KEYS, image_size: 64 }, 1);
    const { tensors, report } = fitTensors(tiny, larger, backbone, 'TinyUSFM.pth');
    expect(report.reshaped).toMatchObject([
      { name: 'backbone.pos_embed', from: [1, 17, 12], to: [1, 65, 12] },
    ]);
    const [before, after] = [backbone.get('model.pos_embed'), tensors.get('backbone.pos_embed')];
    expect(after?.data.slice(0, 12)).toEqual(before?.data.slice(0, 12)); // the class token's
    expect(report.mismatched).toEqual([]);
  });

  it('resizes as torch does', () => {
    const { cases } = JSON.parse(readFileSync('e2e/fixtures/keys/bicubic.json', 'utf8')) as {
      cases: { from: number; to: number; input: number[]; output: number[] }[];
    };
    for (const c of cases) {
      const data = Float32Array.from([8, 9, ...c.input]);
      const resized = resizePositions({ dtype: 'float32', shape: [1, 1 + c.from ** 2, 2], data }, c.to);
      expect(resized.shape).toEqual([1, 1 + c.to ** 2, 2]);
      [8, 9, ...c.output].forEach((v, i) => expect(resized.data[i]).toBeCloseTo(v, 5));
    }
  });

  it("reads the studio's own full checkpoint whole", () => {
    const full = initialTensors(tiny.parameters(tinyArchitecture), 5);
    const { tensors, report } = fitTensors(tiny, tinyArchitecture, full, 'best.safetensors');
    expect([report.missing, report.unexpected, report.mismatched, report.reshaped]).toEqual([[], [], [], []]);
    expect(tensors).toEqual(full);
  });
});

/** Independent of the product's table: canonical to NVlabs, from reference/models.md section 4.2. */
function toNvlabs(tensors: TensorMap): TensorMap {
  const out: TensorMap = new Map();
  const joined = new Map<string, HostTensor>();
  for (const [name, t] of tensors) {
    let n = name
      .replace(
        /^segformer\.encoder\.patch_embeddings\.(\d)/,
        (_, i) => `backbone.patch_embed${Number(i) + 1}`,
      )
      .replace(/^segformer\.encoder\.block\.(\d)/, (_, i) => `backbone.block${Number(i) + 1}`)
      .replace(/^segformer\.encoder\.layer_norm\.(\d)/, (_, i) => `backbone.norm${Number(i) + 1}`)
      .replace(/layer_norm_([12])/, 'norm$1');
    if (n.includes('patch_embed')) n = n.replace('layer_norm', 'norm');
    n = n
      .replace('attention.self.query', 'attn.q')
      .replace('attention.self.sr', 'attn.sr')
      .replace('attention.self.layer_norm', 'attn.norm')
      .replace('attention.output.dense', 'attn.proj')
      .replace(/mlp\.dense([12])/, 'mlp.fc$1')
      .replace(/linear_c\.(\d)/, (_, i) => `linear_c${Number(i) + 1}`)
      .replace('linear_fuse.weight', 'linear_fuse.conv.weight')
      .replace('batch_norm', 'linear_fuse.bn')
      .replace('classifier', 'linear_pred');
    const kv = /^(.*)attention\.self\.(key|value)\.(weight|bias)$/.exec(n);
    if (kv === null) {
      out.set(n, t);
      continue;
    }
    const key = `${kv[1]}attn.kv.${kv[3]}`;
    const first = joined.get(key);
    if (first === undefined) {
      joined.set(key, t); // key comes before value
    } else {
      const data = Float32Array.from([...(first.data as Float32Array), ...(t.data as Float32Array)]);
      out.set(key, { dtype: 'float32', shape: [2 * (t.shape[0] as number), ...t.shape.slice(1)], data });
    }
  }
  return out;
}

function toV5(name: string): string {
  return name
    .replace(/encoder\.patch_embeddings\.(\d)/, 'stages.$1.patch_embeddings')
    .replace(/encoder\.block\.(\d)\.(\d+)/, 'stages.$1.blocks.$2')
    .replace(/encoder\.layer_norm\.(\d)/, 'stages.$1.layer_norm')
    .replace('layer_norm_1', 'layernorm_before')
    .replace('layer_norm_2', 'layernorm_after')
    .replace('attention.self.layer_norm', 'attention.sequence_reduction.layer_norm')
    .replace('attention.self.sr', 'attention.sequence_reduction.sequence_reduction')
    .replace(/attention\.self\.([qkv])(uery|ey|alue)/, 'attention.$1_proj')
    .replace('attention.output.dense', 'attention.o_proj')
    .replace(/mlp\.dense([12])/, 'mlp.fc$1')
    .replace(/linear_c\.(\d)/, 'linear_projections.$1');
}

describe('SegFormer', () => {
  it.each([
    ['SegFormer, published names (transformers v4)', segTensors],
    ['SegFormer, transformers v5 names', renamed(segTensors, toV5)],
    ['SegFormer, original NVlabs names', toNvlabs(segTensors)],
  ] as const)('%s', (title, file) => {
    const { tensors, report } = fitTensors(seg, segArchitecture, file, 'model.safetensors');
    expect(report.recognisedAs).toBe(title);
    expect([report.missing, report.unexpected, report.mismatched]).toEqual([[], [], []]);
    for (const [name, t] of segTensors) expect(tensors.get(name), name).toEqual(t);
  });

  it('a classifier of another class count stays initial, the rest is loaded', () => {
    const other = seg.architecture(SMALL_SEGFORMER_KEYS, 5);
    const { tensors, report } = fitTensors(seg, other, segTensors, 'model.safetensors');
    expect(report.mismatched).toEqual([
      { name: 'decode_head.classifier.weight', file: [2, 6, 1, 1], model: [5, 6, 1, 1] },
      { name: 'decode_head.classifier.bias', file: [2], model: [5] },
    ]);
    expect(tensors.has('decode_head.classifier.weight')).toBe(false);
    expect(report.loaded.length).toBe(segTensors.size - 2);
  });

  it('reads a file as transformers writes it', () => {
    const file = tensorsOf('public/cases/segformer-binary/model.safetensors') as TensorMap;
    const keys = JSON.parse(readFileSync('public/cases/segformer-binary/config.json', 'utf8')) as object;
    const a = seg.architecture({ ...SMALL_SEGFORMER_KEYS, ...keys, image_size: 64 }, 2);
    const { report } = fitTensors(seg, a, file, 'model.safetensors');
    expect([report.missing, report.unexpected, report.mismatched]).toEqual([[], [], []]);
  });
});

it('refuses a file of which nothing fits, with the file and a reason', () => {
  expect(() => fitTensors(tiny, tinyArchitecture, segTensors, 'b0.safetensors')).toThrow(
    expect.objectContaining({ code: 'weights-unfit', subject: 'b0.safetensors' }) as Error,
  );
});
