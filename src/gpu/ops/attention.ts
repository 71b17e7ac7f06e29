/**
 * @file Multi-head attention as one tape node. Imports tfjs-core only.
 *
 * WebGPU: kernels/attention.ts, which keeps q, k, v, the output and one number per row. Elsewhere q, k, v and the probabilities are kept.
 * With kernels off and on the reference backend: batched products over (batch x heads). WASM: its batched product runs at 2 GFLOP/s and
 * its slices copy the whole source, so heads are separate matrices from the start, each product served by XNNPACK (25 GFLOP/s).
 */
import * as tf from '@tensorflow/tfjs-core';
import { attentionBackward, attentionForward, type AttentionOperands } from '../kernels/attention';
import { kernelsOn } from '../launch';
import { differentiable, together } from './differentiable';
import { product } from './matmul';
import { softmaxGradient, softmaxValues } from './softmax';

/** [b, n, h d] -> [b h, n, d] */
function splitHeads(x: tf.Tensor3D, heads: number): tf.Tensor3D {
  const [b, n, c] = x.shape;
  const split = tf.transpose(tf.reshape(x, [b, n, heads, c / heads]), [0, 2, 1, 3]);
  return tf.reshape(split, [b * heads, n, c / heads]);
}

/** [b h, n, d] -> [b, n, h d] */
function joinHeads(x: tf.Tensor3D, heads: number): tf.Tensor3D {
  const [bh, n, d] = x.shape;
  const b = bh / heads;
  return tf.reshape(tf.transpose(tf.reshape(x, [b, heads, n, d]), [0, 2, 1, 3]), [b, n, heads * d]);
}

/** The matrices of a batch, in order; by image first, since a WASM slice costs a copy of all it cuts from. */
function matrices(x: tf.Tensor3D, heads: number): tf.Tensor2D[] {
  const [bh, n, d] = x.shape;
  const images = bh === heads ? [x] : tf.split(x, bh / heads, 0);
  return images.flatMap((image) =>
    heads === 1 ? [tf.reshape(image, [n, d])] : tf.unstack(image),
  ) as tf.Tensor2D[];
}

interface Kernel {
  /** Output [b h, n, d] and the probabilities, to keep. */
  forward(
    q: tf.Tensor3D,
    k: tf.Tensor3D,
    v: tf.Tensor3D,
    scale: number,
    heads: number,
  ): { y: tf.Tensor3D; probabilities: tf.Tensor[] };
  backward(
    dy: tf.Tensor3D,
    q: tf.Tensor3D,
    k: tf.Tensor3D,
    v: tf.Tensor3D,
    probabilities: readonly tf.Tensor[],
    scale: number,
    heads: number,
  ): { q: tf.Tensor3D; k: tf.Tensor3D; v: tf.Tensor3D };
}

const batched: Kernel = {
  forward(q, k, v, scale) {
    const p = softmaxValues(product<tf.Tensor3D>(tf.mul(q, scale), k, false, true));
    return { y: product(p, v), probabilities: [p] };
  },
  backward(dy, q, k, v, probabilities, scale) {
    const p = probabilities[0] as tf.Tensor3D;
    const ds = softmaxGradient(product<tf.Tensor3D>(dy, v, false, true), p);
    return {
      q: tf.mul(product<tf.Tensor3D>(ds, k), scale),
      k: tf.mul(product<tf.Tensor3D>(ds, q, true, false), scale),
      v: product(p, dy, true, false),
    };
  },
};

const perHead: Kernel = {
  forward(q, k, v, scale, heads) {
    const kt = matrices(tf.transpose(k, [0, 2, 1]), heads); // each (d, m)
    const vs = matrices(v, heads);
    const probabilities: tf.Tensor2D[] = [];
    const ys = matrices(tf.mul(q, scale), heads).map((qi, i) => {
      const p = tf.softmax<tf.Tensor2D>(tf.matMul(qi, kt[i] as tf.Tensor2D)); // (n, m)
      probabilities.push(p);
      return tf.matMul(p, vs[i] as tf.Tensor2D);
    });
    return { y: tf.stack(ys) as tf.Tensor3D, probabilities };
  },
  backward(dy, q, k, v, probabilities, scale, heads) {
    const vt = matrices(tf.transpose(v, [0, 2, 1]), heads);
    const qs = matrices(tf.mul(q, scale), heads);
    const ks = matrices(tf.mul(k, scale), heads);
    const grads = matrices(dy, heads).map((dyi, i) =>
      tf.tidy(() => {
        const p = probabilities[i] as tf.Tensor2D;
        const ds = softmaxGradient<tf.Tensor2D>(tf.matMul(dyi, vt[i] as tf.Tensor2D), p);
        return {
          q: tf.matMul(ds, ks[i] as tf.Tensor2D),
          k: tf.matMul(tf.transpose(ds), qs[i] as tf.Tensor2D),
          v: tf.matMul(tf.transpose(p), dyi),
        };
      }),
    );
    const stacked = (key: 'q' | 'k' | 'v'): tf.Tensor3D => tf.stack(grads.map((g) => g[key])) as tf.Tensor3D;
    return { q: stacked('q'), k: stacked('k'), v: stacked('v') };
  },
};

const defaultScale = (channels: number, heads: number): number => 1 / Math.sqrt(channels / heads);

/** Our kernels on rows of q, k and v, which may lie in one tensor. */
function fused(
  inputs: Readonly<Record<string, tf.Tensor>>,
  operandsOf: (tensors: readonly tf.Tensor[]) => AttentionOperands,
  n: number,
  m: number,
  heads: number,
  scale: number,
): tf.Tensor3D {
  const names = Object.keys(inputs);
  const given = Object.values(inputs) as [tf.Tensor3D, ...tf.Tensor3D[]];
  const packed = names.length === 1;
  const batch = given[0].shape[0];
  const d = given[0].shape[2] / (packed ? 3 : 1) / heads;
  const sizes = { batch, n, m, heads, d, scale };
  return differentiable(
    inputs as Record<string, tf.Tensor>,
    (save) => {
      const { y, logsum } = attentionForward(operandsOf(given), sizes);
      save([...given, y, logsum]);
      return y;
    },
    (dy, saved) => {
      const tensors = saved.slice(0, names.length);
      const [y, logsum] = saved.slice(names.length) as [tf.Tensor, tf.Tensor];
      const all = together(() => attentionBackward(dy, y, logsum, operandsOf(tensors), sizes, packed));
      return Object.fromEntries(names.map((name, i) => [name, () => all(i)]));
    },
  );
}

/**
 * softmax(q k^T scale) v per head.
 * @param q [b, n, c]
 * @param k [b, m, c]
 * @param v [b, m, c]
 * @param heads divides c; with our kernels c / heads is at most 128.
 * @param scale of the scores; 1 / sqrt(c / heads) unless given.
 * @returns [b, n, c], heads side by side.
 */
export function attention(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  heads: number,
  scale: number = defaultScale(q.shape[2], heads),
): tf.Tensor3D {
  const c = q.shape[2];
  if (kernelsOn() && c / heads <= MAX_HEAD) {
    const rows = (tensor: tf.Tensor | undefined) => ({ tensor: tensor as tf.Tensor, offset: 0, stride: c });
    const operands = ([a, b, e]: readonly tf.Tensor[]) => ({ q: rows(a), k: rows(b), v: rows(e) });
    return fused({ q, k, v }, operands, q.shape[1], k.shape[1], heads, scale);
  }
  return stored(q, k, v, heads, scale);
}

/** Widest head of our kernels. */
const MAX_HEAD = 128;

/**
 * Self-attention of a joint query-key-value product.
 * @param qkv [b, n, 3 c]: q, k and v side by side.
 * @returns [b, n, c]
 */
export function attentionPacked(
  qkv: tf.Tensor3D,
  heads: number,
  scale: number = defaultScale(qkv.shape[2] / 3, heads),
): tf.Tensor3D {
  const [, n, width] = qkv.shape;
  const c = width / 3;
  if (kernelsOn() && c / heads <= MAX_HEAD) {
    const part = (tensor: tf.Tensor | undefined, i: number) => ({
      tensor: tensor as tf.Tensor,
      offset: i * c,
      stride: width,
    });
    const operands = ([t]: readonly tf.Tensor[]) => ({ q: part(t, 0), k: part(t, 1), v: part(t, 2) });
    return fused({ qkv }, operands, n, n, heads, scale);
  }
  const [q, k, v] = tf.split(qkv, 3, 2) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
  return stored(q, k, v, heads, scale);
}

/** With the probabilities kept. */
function stored(q: tf.Tensor3D, k: tf.Tensor3D, v: tf.Tensor3D, heads: number, scale: number): tf.Tensor3D {
  const kernel = tf.getBackend() === 'wasm' ? perHead : batched;
  return differentiable(
    { q, k, v },
    (save) => {
      const [qh, kh, vh] = [q, k, v].map((t) => splitHeads(t, heads)) as [
        tf.Tensor3D,
        tf.Tensor3D,
        tf.Tensor3D,
      ];
      const { y, probabilities } = kernel.forward(qh, kh, vh, scale, heads);
      save([qh, kh, vh, ...probabilities]);
      return joinHeads(y, heads);
    },
    (dy, saved) => {
      const [qh, kh, vh, ...probabilities] = saved as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D, ...tf.Tensor[]];
      // The three gradients share their intermediates; they are computed together and handed out one by one.
      const grads = tf.tidy(() => {
        const g = kernel.backward(splitHeads(dy, heads), qh, kh, vh, probabilities, scale, heads);
        return { q: joinHeads(g.q, heads), k: joinHeads(g.k, heads), v: joinHeads(g.v, heads) };
      });
      return { q: () => grads.q, k: () => grads.k, v: () => grads.v };
    },
  );
}
