/**
 * @file What the matrix-product kernels share: the description of a product and the WGSL of its last step. Pure.
 */
import { erfWgsl } from './elementwise';

/** What changes the WGSL of a product C = act(op(A) op(B) + bias) + residual. */
export interface ProductShape {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Operands are read as vec4 along their contiguous axis (its length is a multiple of 4). */
  readonly vectorA: boolean;
  readonly vectorB: boolean;
  /** B holds two halves per u32 along its contiguous axis (f16 storage); then vectorB says that four are read at once. */
  readonly halfB: boolean;
  /** C is written as vec4 (N is a multiple of 4). */
  readonly vectorC: boolean;
  readonly bias: boolean;
  readonly activation: 'none' | 'gelu' | 'relu';
  readonly residual: boolean;
  /** Also writes op(A) op(B) + bias, which the gradient of an activation needs. */
  readonly keepInput: boolean;
  /** Also writes the row sums of op(A) (the bias gradient where A = dY^T). */
  readonly sums: boolean;
}

/** Text that identifies a product's WGSL. */
export function shapeKey(s: ProductShape): string {
  const flags = [
    s.transposeA,
    s.transposeB,
    s.vectorA,
    s.vectorB,
    s.halfB,
    s.vectorC,
    s.bias,
    s.residual,
    s.keepInput,
    s.sums,
  ];
  return `${flags.map(Number).join('')}-${s.activation}`;
}

/** WGSL functions that the last step needs. T: type of the written items. */
export function finishFunctions(s: ProductShape): string {
  const T = s.vectorC ? 'vec4<f32>' : 'f32';
  const activation =
    s.activation === 'gelu' ? `${erfWgsl(T)}\nfn act(x: ${T}) -> ${T} { return x * normalCdf(x); }` : '';
  return s.activation === 'relu' ? `fn act(x: ${T}) -> ${T} { return max(x, ${T}(0.0)); }` : activation;
}

/**
 * WGSL that writes one item of C: bias, activation, residual.
 * @param value expression of type T. @param at index of the item in C. @param column index of the item in its row.
 */
export function finishItem(s: ProductShape, value: string, at: string, column: string): string {
  const lines = [`var v = ${value};`];
  if (s.bias) lines.push(`v += bias[${column}];`);
  if (s.keepInput) lines.push(`pre[${at}] = v;`);
  if (s.activation !== 'none') lines.push('v = act(v);');
  if (s.residual) lines.push(`v += residual[${at}];`);
  lines.push(`c[${at}] = v;`);
  return `{ ${lines.join(' ')} }`;
}
