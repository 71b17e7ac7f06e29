/**
 * @file Building blocks for lists of parameters, in torch's names, shapes and initial distributions.
 */
import type { Initializer, ParameterSpec } from './types';

const ZEROS: Initializer = { kind: 'zeros' };
const ONES: Initializer = { kind: 'ones' };

/** One trained tensor; matrices and kernels decay, vectors do not. */
export function parameter(
  name: string,
  shape: readonly number[],
  init: Initializer,
  decay = shape.length > 1,
): ParameterSpec {
  return { name, shape, kind: 'parameter', init, decay };
}

/** Linear: weight (out, in) and bias (out) = 0. */
export function linearSpecs(name: string, out: number, inputs: number, weight: Initializer): ParameterSpec[] {
  return [parameter(`${name}.weight`, [out, inputs], weight), parameter(`${name}.bias`, [out], ZEROS)];
}

/** LayerNorm: weight 1, bias 0. */
export function normSpecs(name: string, channels: number): ParameterSpec[] {
  return [parameter(`${name}.weight`, [channels], ONES), parameter(`${name}.bias`, [channels], ZEROS)];
}

/** BatchNorm2d: weight 1, bias 0, running mean 0, running variance 1, and its counter. */
export function batchNormSpecs(name: string, channels: number): ParameterSpec[] {
  const buffer = { kind: 'buffer', decay: false } as const;
  return [
    ...normSpecs(name, channels),
    { ...buffer, name: `${name}.running_mean`, shape: [channels], init: ZEROS },
    { ...buffer, name: `${name}.running_var`, shape: [channels], init: ONES },
    { name: `${name}.num_batches_tracked`, shape: [], kind: 'counter', init: ZEROS, decay: false },
  ];
}

/** Conv2d with torch's own initialisation: weight and bias uniform in +-1 / sqrt(fan in) (kaiming_uniform with a = sqrt 5). */
export function torchConvSpecs(name: string, out: number, inputs: number, kernel: number): ParameterSpec[] {
  const init: Initializer = { kind: 'uniform', bound: 1 / Math.sqrt(inputs * kernel * kernel) };
  return [
    parameter(`${name}.weight`, [out, inputs, kernel, kernel], init),
    parameter(`${name}.bias`, [out], init),
  ];
}

/** Conv2d with a given weight distribution and bias 0. */
export function convSpecs(name: string, shape: readonly number[], weight: Initializer): ParameterSpec[] {
  return [parameter(`${name}.weight`, shape, weight), parameter(`${name}.bias`, [shape[0] as number], ZEROS)];
}
