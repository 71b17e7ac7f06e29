/**
 * @file Initial tensors: every element a pure function of seed, tensor name and index, the same on every machine.
 */
import type { HostTensor, TensorMap } from '../formats/tensor';
import { Random } from '../lib/random';
import type { Initializer, ParameterSpec } from './types';

const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Truncated at +-2 in absolute value, as timm's trunc_normal_: with std 0.02 that is never reached but by a broken generator. */
const TRUNCATION = 2;

function draw(init: Initializer, random: Random): number {
  switch (init.kind) {
    case 'zeros':
      return 0;
    case 'ones':
      return 1;
    case 'constant':
      return init.value;
    case 'normal':
      return init.std * random.normal();
    case 'truncNormal': {
      let value = init.std * random.normal();
      while (Math.abs(value) > TRUNCATION) value = init.std * random.normal();
      return value;
    }
    case 'uniform':
      return random.uniform(-init.bound, init.bound);
  }
}

function initialTensor(spec: ParameterSpec, seed: number): HostTensor {
  if (spec.kind === 'counter') return { dtype: 'int64', shape: [], data: new BigInt64Array(1) };
  const random = new Random('init', seed, spec.name);
  const data = new Float32Array(elements(spec.shape));
  for (let i = 0; i < data.length; i++) data[i] = draw(spec.init, random);
  return { dtype: 'float32', shape: spec.shape, data };
}

/** All tensors of a model at their initial values, in the order of `specs`. */
export function initialTensors(specs: readonly ParameterSpec[], seed: number): TensorMap {
  return new Map(specs.map((spec) => [spec.name, initialTensor(spec, seed)]));
}
