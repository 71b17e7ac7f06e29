/**
 * @file Weights and inputs that numeric cases give by rule instead of by file (cases/README.md, the "rule" of case.json). Pure.
 */
import { float32Tensor, type HostTensor } from '../formats/tensor';
import { fmix32, fnv1a32 } from '../lib/random';

/** Values in [-1, 1) by name and row-major index. */
export function ruleValues(name: string, count: number, salt: string): Float64Array {
  const key = fnv1a32(salt + name);
  return Float64Array.from({ length: count }, (_, i) => fmix32(key ^ Math.imul(i, 2654435761)) / 2 ** 31 - 1);
}

/** A weight by rule: norm weights near 1, other vectors small, matrices scaled by their fan-in. */
export function ruleTensor(name: string, shape: readonly number[], salt: string): HostTensor {
  const count = shape.reduce((a, b) => a * b, 1);
  const fanIn = shape.slice(1).reduce((a, b) => a * b, 1);
  let [offset, scale] = [0, 0.1];
  if (name.endsWith('running_var')) [offset, scale] = [1, 0.5];
  else if (name.endsWith('running_mean')) [offset, scale] = [0, 0.1];
  else if (shape.length > 1) scale = Math.sqrt(3 / fanIn);
  else if (name.endsWith('.weight')) offset = 1;
  const values = ruleValues(name, count, salt);
  return float32Tensor(
    shape,
    Float32Array.from(values, (v) => offset + scale * v),
  );
}

/** Input images by rule, [n, 3, size, size]. */
export function ruleImages(n: number, size: number, salt: string): HostTensor {
  const values = ruleValues(`input.images.${n}.${size}`, n * 3 * size * size, salt);
  return float32Tensor([n, 3, size, size], Float32Array.from(values));
}
