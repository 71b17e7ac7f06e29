/**
 * @file Attention of tfjs operations, with the probabilities kept: what runs where our kernels do not. Imports tfjs-core only.
 *
 * With kernels off and on the reference backend: batched products over (batch x heads). WASM: its batched product runs at 2 GFLOP/s and
 * its slices copy the whole source, so heads are separate matrices from the start, each product served by XNNPACK (25 GFLOP/s).
 * With masks, biases or positions, everywhere: composed of differentiable operations.
 */
import * as tf from '@tensorflow/tfjs-core';
import { differentiable } from './differentiable';
import { matMul, product } from './matmul';
import { softmax, softmaxGradient, softmaxValues } from './softmax';

export interface AttentionOptions {
  /** [b, m], 0 = not attended to. A query without keys gives zeros. */
  readonly keyMask?: tf.Tensor2D | null;
  /** [heads or 1, n, m], added to the scaled scores of every image; differentiable. */
  readonly bias?: tf.Tensor3D | null;
  /**
   * SAM's decomposed position: score(i, j) += relH[i, floor(j / kw)] + relW[i, j mod kw], m = kh kw. relH [b heads, n, kh] and relW [b heads, n, kw]
   * are products of the unscaled queries with the tables, which the caller forms; differentiable.
   */
  readonly relativePosition?: {
    readonly relH: tf.Tensor3D;
    readonly relW: tf.Tensor3D;
    readonly kh: number;
    readonly kw: number;
  } | null;
  /** Rotation of adjacent channels of q and k by tables [n, d] (SAM 3), not differentiable; n = m. */
  readonly rope?: { readonly cos: tf.Tensor2D; readonly sin: tf.Tensor2D } | null;
}

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

/** Without options, as one tape node. */
export function stored(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  heads: number,
  scale: number,
): tf.Tensor3D {
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

/** Turns pairs of adjacent channels: x cos + (-x_2i+1, x_2i) sin. */
function rotate(x: tf.Tensor3D, heads: number, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor3D {
  const [b, n, c] = x.shape;
  const [even, odd] = tf.split(tf.reshape(x, [-1, 2]), 2, 1) as [tf.Tensor2D, tf.Tensor2D];
  const perHead = (t: tf.Tensor): tf.Tensor => tf.reshape(t, [b, n, heads, c / heads]);
  const table = (t: tf.Tensor): tf.Tensor => tf.reshape(t, [1, n, 1, c / heads]);
  const turned = perHead(tf.concat([tf.neg(odd), even], 1));
  return tf.reshape(tf.add(tf.mul(perHead(x), table(cos)), tf.mul(turned, table(sin))), [b, n, c]);
}

/** With masks, biases or positions; its gradient is that of its parts. */
export function composed(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  heads: number,
  scale: number,
  { keyMask, bias, relativePosition: rel, rope }: AttentionOptions,
): tf.Tensor3D {
  const turn = (x: tf.Tensor3D): tf.Tensor3D => (rope ? rotate(x, heads, rope.cos, rope.sin) : x);
  const [b, n] = q.shape;
  const m = k.shape[1];
  const scores = matMul(splitHeads(tf.mul(turn(q), scale), heads), splitHeads(turn(k), heads), false, true);
  let s: tf.Tensor = tf.reshape(scores, [b, heads, n, m]);
  if (bias) s = tf.add(s, bias);
  if (rel) {
    const rows = tf.reshape(rel.relH, [b * heads, n, rel.kh, 1]);
    const columns = tf.reshape(rel.relW, [b * heads, n, 1, rel.kw]);
    s = tf.add(s, tf.reshape(tf.add(rows, columns), [b, heads, n, m]));
  }
  const open = keyMask
    ? tf.reshape(tf.cast(tf.notEqual(keyMask, tf.zerosLike(keyMask)), 'float32'), [b, 1, 1, m])
    : null;
  if (open) s = tf.add(s, tf.mul(tf.sub(open, 1), 1e30));
  let p = softmax(s);
  if (open) p = tf.mul(p, open); // rows without keys give zeros
  return joinHeads(matMul(tf.reshape(p, [b * heads, n, m]) as tf.Tensor3D, splitHeads(v, heads)), heads);
}
