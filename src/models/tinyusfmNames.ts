/**
 * @file TinyUSFM weights: the pretrained backbone file (prefix `model.`), full checkpoints (prefix `backbone.`), and position
 * embeddings of another image size. Pure, host side. Reference: TinyUSFM utils/load_model_seg.py.
 */
import { float32Tensor, type HostTensor, type TensorMap } from '../formats/tensor';
import { toFloat32 } from '../formats/tensorConvert';
import type { TinyUsfmArchitecture } from './tinyusfm';
import type { LoadReport } from './types';

/** PyTorch's cubic convolution coefficient. */
const CUBIC_A = -0.75;

function cubic(x: number): number {
  const d = Math.abs(x);
  if (d <= 1) return ((CUBIC_A + 2) * d - (CUBIC_A + 3)) * d * d + 1;
  if (d < 2) return ((CUBIC_A * d - 5 * CUBIC_A) * d + 8 * CUBIC_A) * d - 4 * CUBIC_A;
  return 0;
}

/** Four source positions and weights per target position: interpolate(mode="bicubic", align_corners=False). */
function cubicTaps(outSize: number, inSize: number): { at: number[]; weight: number[] }[] {
  return Array.from({ length: outSize }, (_, i) => {
    const centre = ((i + 0.5) * inSize) / outSize - 0.5;
    const low = Math.floor(centre);
    const at = [-1, 0, 1, 2].map((o) => Math.min(inSize - 1, Math.max(0, low + o)));
    return { at, weight: [-1, 0, 1, 2].map((o) => cubic(centre - low - o)) };
  });
}

/**
 * Position embeddings [1, 1 + g g, c] for another grid: the class token's stays, the grid is resized bicubically, as timm does
 * (timm 0.5.4 resize_pos_embed).
 */
export function resizePositions(positions: HostTensor, grid: number): HostTensor {
  const c = positions.shape[2] as number;
  const from = Math.round(Math.sqrt((positions.shape[1] as number) - 1));
  const source = toFloat32(positions);
  const out = new Float32Array((1 + grid * grid) * c);
  out.set(source.subarray(0, c));
  const taps = cubicTaps(grid, from);
  taps.forEach((ty, y) => {
    taps.forEach((tx, x) => {
      for (let ch = 0; ch < c; ch++) {
        let sum = 0;
        for (let i = 0; i < 4; i++) {
          for (let j = 0; j < 4; j++) {
            const at = (ty.at[i] as number) * from + (tx.at[j] as number);
            const weight = (ty.weight[i] as number) * (tx.weight[j] as number);
            sum += weight * (source[(1 + at) * c + ch] as number);
          }
        }
        out[(1 + y * grid + x) * c + ch] = sum;
      }
    });
  });
  return float32Tensor([1, 1 + grid * grid, c], out);
}

/** Names without DataParallel's prefix. */
const bare = (name: string): string => name.replace(/^module\./, '');

/** Says which kind of file it is and gives each name as this model has it. */
function recognise(names: readonly string[]): { title: string; rename: (name: string) => string } {
  const has = (prefix: string): boolean => names.some((name) => bare(name).startsWith(prefix));
  if (has('backbone.')) {
    const full = has('decode_head.');
    return { title: full ? 'TinyUSFM segmentation checkpoint' : 'TinyUSFM backbone', rename: bare };
  }
  if (has('model.')) {
    const rename = (name: string): string => bare(name).replace(/^model\./, 'backbone.');
    return { title: 'TinyUSFM pretrained backbone', rename };
  }
  const inBackbone = /^(cls_token|pos_embed|patch_embed\.|blocks\.|norm\.)/;
  return {
    title: 'Vision transformer backbone without prefix',
    rename: (name) => (inBackbone.test(bare(name)) ? `backbone.${bare(name)}` : bare(name)),
  };
}

/** Renames to this model's names; resizes position embeddings whose (square) grid differs. */
export function adaptTinyUsfm(
  a: TinyUsfmArchitecture,
  tensors: TensorMap,
): { tensors: TensorMap; recognisedAs: string; reshaped: LoadReport['reshaped'] } {
  const { title, rename } = recognise([...tensors.keys()]);
  const out: TensorMap = new Map([...tensors].map(([name, t]) => [rename(name), t]));
  const name = 'backbone.pos_embed';
  const positions = out.get(name);
  const grid = a.imageSize / a.patchSize;
  const count = 1 + grid * grid;
  if (positions === undefined || positions.shape.length !== 3 || positions.shape[1] === count) {
    return { tensors: out, recognisedAs: title, reshaped: [] };
  }
  const from = Math.sqrt((positions.shape[1] as number) - 1);
  if (positions.shape[2] !== a.embedDim || !Number.isInteger(from) || from < 1) {
    return { tensors: out, recognisedAs: title, reshaped: [] }; // reported as a mismatch of shapes
  }
  const resized = resizePositions(positions, grid);
  out.set(name, resized);
  const how = `position grid ${from} x ${from} resized bicubically to ${grid} x ${grid}, class token kept`;
  return {
    tensors: out,
    recognisedAs: title,
    reshaped: [{ name, from: positions.shape, to: resized.shape, how }],
  };
}
