/**
 * @file Fits the tensors of a weights file to a model and says what became of each. Host side.
 */
import type { HostTensor, TensorMap } from '../formats/tensor';
import { toFloat32 } from '../formats/tensorConvert';
import { UserError } from '../lib/errors';
import type { LoadReport, ModelDefinition } from './types';

export interface FittedTensors {
  /** Tensors that fit, under the model's names, float32 (counters int64); the others keep their initial values. */
  readonly tensors: TensorMap;
  readonly report: LoadReport;
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((n, i) => n === b[i]);

/**
 * @param fileTensors as read from the file.
 * @param fileName for the report and errors.
 * @throws UserError 'weights-unfit' when nothing in the file fits the model.
 */
export function fitTensors<A>(
  model: ModelDefinition<A>,
  architecture: A,
  fileTensors: TensorMap,
  fileName: string,
): FittedTensors {
  const adapted = model.adapt(architecture, fileTensors);
  const specs = model.parameters(architecture);
  const tensors: TensorMap = new Map();
  const missing: string[] = [];
  const mismatched: { name: string; file: readonly number[]; model: readonly number[] }[] = [];
  for (const spec of specs) {
    const value = adapted.tensors.get(spec.name);
    if (value === undefined) {
      missing.push(spec.name);
    } else if (spec.kind === 'counter') {
      tensors.set(spec.name, { dtype: 'int64', shape: [], data: counterValue(value) });
    } else if (!sameShape(value.shape, spec.shape)) {
      mismatched.push({ name: spec.name, file: value.shape, model: spec.shape });
    } else {
      tensors.set(spec.name, { dtype: 'float32', shape: spec.shape, data: toFloat32(value) });
    }
  }
  const known = new Set(specs.map((spec) => spec.name));
  const kinds = new Map(specs.map((spec) => [spec.name, spec.kind]));
  if (![...tensors.keys()].some((name) => kinds.get(name) !== 'counter')) {
    throw new UserError('weights-unfit', `Nothing in "${fileName}" fits ${model.title}`, {
      subject: fileName,
      hint: unfitHint(fileTensors, mismatched),
    });
  }
  const report: LoadReport = {
    file: fileName,
    recognisedAs: adapted.recognisedAs,
    loaded: [...tensors.keys()],
    missing,
    unexpected: [...adapted.tensors.keys()].filter((name) => !known.has(name)),
    reshaped: adapted.reshaped,
    mismatched,
  };
  return { tensors, report };
}

function counterValue(value: HostTensor): BigInt64Array {
  const first = value.data[0];
  const count = typeof first === 'bigint' ? first : BigInt(Math.round(first ?? 0));
  return BigInt64Array.of(count);
}

function unfitHint(
  file: TensorMap,
  mismatched: readonly { name: string; file: readonly number[]; model: readonly number[] }[],
): string {
  const first = mismatched[0];
  if (first !== undefined) {
    return `"${first.name}" is [${first.file}] in the file and [${first.model}] in the model: another size of it?`;
  }
  return `Its tensors are named like "${[...file.keys()][0] ?? ''}". Choose weights of this model, or the model of these weights.`;
}
