/**
 * @file Multi-head attention on the tape. Imports tfjs.
 *
 * WebGPU: kernels/attention.ts, one node that keeps q, k, v, the output and two numbers per row. Elsewhere, and for what the kernels cannot
 * take (heads of more than 128 channels, more tensors than the adapter binds): attentionTwin.ts.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { split } from '@tensorflow/tfjs-core';
import {
  attentionBackward,
  attentionFits,
  attentionForward,
  type AttentionOperands,
  type AttentionSizes,
  type HeadRows,
} from '../kernels/attention';
import { ropeBackward, ropeForward } from '../kernels/attentionRope';
import { kernelsOn } from '../launch';
import { composed, stored, type AttentionOptions } from './attentionTwin';
import { differentiable, together } from './differentiable';

export type { AttentionOptions } from './attentionTwin';

type Tensors = Readonly<Record<string, tf.Tensor>>;
type Given = Tensors &
  (
    | { readonly qkv: tf.Tensor3D }
    | { readonly q: tf.Tensor3D; readonly k: tf.Tensor3D; readonly v: tf.Tensor3D }
  );

const channels = (size: number, heads: number): number => {
  if (!Number.isInteger(size / heads)) throw new Error(`attention: ${size} channels in ${heads} heads`);
  return size / heads;
};

const defaultScale = (size: number, heads: number): number => 1 / Math.sqrt(size / heads);

/** Where q, k and v lie. */
function rowsOf(given: Given): { q: HeadRows; k: HeadRows; v: HeadRows } {
  if ('qkv' in given) {
    const tensor = given.qkv as tf.Tensor;
    const stride = tensor.shape[2] as number;
    const part = (i: number): HeadRows => ({ tensor, offset: (i * stride) / 3, stride });
    return { q: part(0), k: part(1), v: part(2) };
  }
  const whole = (tensor: tf.Tensor): HeadRows => ({ tensor, offset: 0, stride: tensor.shape[2] as number });
  return { q: whole(given.q as tf.Tensor), k: whole(given.k as tf.Tensor), v: whole(given.v as tf.Tensor) };
}

/** Throws Error naming what does not fit. */
function checkOptions({ batch, n, m, heads, d }: AttentionSizes, options: AttentionOptions): void {
  const need = (name: string, tensor: tf.Tensor | null | undefined, ...shapes: number[][]): void => {
    if (tensor && !shapes.some((shape) => shape.join() === tensor.shape.join())) {
      throw new Error(
        `attention: ${name} has shape [${tensor.shape}]; expected [${(shapes[0] as number[]).join()}]`,
      );
    }
  };
  const { keyMask, bias, relativePosition: rel, rope } = options;
  need('keyMask', keyMask, [batch, m]);
  need('bias', bias, [heads, n, m], [1, n, m]);
  need('relH', rel?.relH, [batch * heads, n, rel?.kh ?? 0]);
  need('relW', rel?.relW, [batch * heads, n, rel?.kw ?? 0]);
  if (rel && rel.kh * rel.kw !== m)
    throw new Error(`attention: ${m} keys are no grid of ${rel.kh} x ${rel.kw}`);
  need('rope.cos', rope?.cos, [n, d]);
  need('rope.sin', rope?.sin, [n, d]);
  if (rope && (n !== m || d % 2 === 1))
    throw new Error(`attention: rope with ${n} queries, ${m} keys, heads of ${d}`);
}

interface Call {
  readonly given: Given;
  readonly sizes: AttentionSizes;
  readonly options: AttentionOptions;
}

/** What the kernels read: the differentiable tensors, mask and tables of `t`; rotated q and k in `qk`. */
function operandsOf({ options }: Call, t: Tensors): AttentionOperands {
  const rows = rowsOf(t as Given);
  const c = t.qk ? (t.qk.shape[2] as number) / 2 : 0;
  const turned = (offset: number): HeadRows => ({ tensor: t.qk as tf.Tensor, offset, stride: 2 * c });
  const rel = options.relativePosition;
  return {
    ...rows,
    ...(t.qk ? { q: turned(0), k: turned(c) } : {}),
    keyMask: t.keyMask ?? null,
    bias: t.bias ?? null,
    relativePosition: rel
      ? { relH: t.relH as tf.Tensor, relW: t.relW as tf.Tensor, kh: rel.kh, kw: rel.kw }
      : null,
  };
}

function fused(call: Call): tf.Tensor3D {
  const { given, sizes, options } = call;
  const { keyMask, bias, relativePosition: rel, rope } = options;
  // The tape asks in this order; what the bias asks for is computed with the rest, so it comes first.
  const inputs: Tensors = {
    ...(bias ? { bias } : {}),
    ...given,
    ...(rel ? { relH: rel.relH, relW: rel.relW } : {}),
  };
  const aside: Tensors = {
    ...(keyMask ? { keyMask } : {}),
    ...(rope ? { cos: rope.cos, sin: rope.sin } : {}),
  };
  const packed = 'qkv' in given;
  let names: string[] = [];
  return differentiable<string, tf.Tensor3D>(
    inputs,
    (save) => {
      const rows = rowsOf(given);
      const made: Tensors = rope ? { qk: ropeForward(rows.q, rows.k, rope, sizes) } : {};
      const tensors: Tensors = { ...inputs, ...aside, ...made };
      const { y, stats } = attentionForward(operandsOf(call, tensors), sizes);
      names = [...Object.keys(tensors), 'y', 'stats'];
      save([...Object.values(tensors), y, stats]);
      return y;
    },
    (dy, saved) => {
      const t: Tensors = Object.fromEntries(names.map((name, i) => [name, saved[i] as tf.Tensor]));
      let needsBias = false;
      const all = together(() => {
        const results = attentionBackward(
          dy,
          t.y as tf.Tensor,
          t.stats as tf.Tensor,
          operandsOf(call, t),
          sizes,
          packed,
          needsBias,
        );
        if (rope) {
          const d = packed
            ? rowsOf({ qkv: results[0] as tf.Tensor3D })
            : rowsOf({ q: results[0], k: results[1], v: results[2] } as Given);
          ropeBackward(d.q, d.k, { cos: t.cos as tf.Tensor, sin: t.sin as tf.Tensor }, sizes);
        }
        return results;
      });
      const own = [...Object.keys(given), ...(rel ? ['relH', 'relW'] : [])];
      const gradients: Record<string, () => tf.Tensor> = Object.fromEntries(
        own.map((name, i) => [name, () => all(i)]),
      );
      if (bias) {
        gradients.bias = () => {
          needsBias = true;
          return all(own.length);
        };
      }
      return gradients;
    },
  );
}

/**
 * softmax(q k^T scale + options) v per head.
 * @param q [b, n, c]
 * @param k [b, m, c]
 * @param v [b, m, c]
 * @param heads divides c.
 * @param scale of the scores; 1 / sqrt(c / heads) unless given.
 * @returns [b, n, c], heads side by side.
 */
export function attention(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  heads: number,
  scale: number = defaultScale(q.shape[2], heads),
  options: AttentionOptions = {},
): tf.Tensor3D {
  const [batch, n, c] = q.shape;
  const sizes = { batch, n, m: k.shape[1], heads, d: channels(c, heads), scale };
  return run({ given: { q, k, v }, sizes, options }, () => [q, k, v]);
}

/**
 * Self-attention of a joint query-key-value product, read in place.
 * @param qkv [b, n, 3 c]: q, k and v side by side.
 * @returns [b, n, c]
 */
export function attentionPacked(
  qkv: tf.Tensor3D,
  heads: number,
  scale: number = defaultScale(qkv.shape[2] / 3, heads),
  options: AttentionOptions = {},
): tf.Tensor3D {
  const [batch, n, width] = qkv.shape;
  const sizes = { batch, n, m: n, heads, d: channels(width / 3, heads), scale };
  return run(
    { given: { qkv }, sizes, options },
    () => split(qkv, 3, 2) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D],
  );
}

/** Rotated queries and keys are one tensor more than a joint product. */
function fits(call: Call): boolean {
  const { given, sizes, options } = call;
  const tensors: Tensors = {
    ...given,
    ...(options.keyMask ? { keyMask: options.keyMask } : {}),
    ...(options.bias ? { bias: options.bias } : {}),
    ...(options.relativePosition
      ? { relH: options.relativePosition.relH, relW: options.relativePosition.relW }
      : {}),
  };
  return attentionFits(sizes, operandsOf(call, tensors), 'qkv' in given, Boolean(options.rope));
}

function run(call: Call, separate: () => [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D]): tf.Tensor3D {
  const { sizes, options } = call;
  checkOptions(sizes, options);
  if (kernelsOn() && fits(call)) return fused(call);
  const [q, k, v] = separate();
  const plain = !(options.keyMask || options.bias || options.relativePosition || options.rope);
  return plain
    ? stored(q, k, v, sizes.heads, sizes.scale)
    : composed(q, k, v, sizes.heads, sizes.scale, options);
}
