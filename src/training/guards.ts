/**
 * @file What must be true of tensors before they may be saved. Imports formats, lib.
 * After a device loss reads can give zeros without an error (reference/reliability.md section 0, finding 2).
 */
import type { TensorMap } from '../formats/tensor';
import { UserError } from '../lib/errors';

/**
 * Throws UserError 'weights-not-finite' naming the tensor, or 'weights-zero' when every weight is zero.
 * @param where "at step 12 (epoch 3); batch: ...", the end of the message.
 */
export function assertUsableWeights(tensors: TensorMap, where: string): void {
  let anyNonZero = false;
  for (const [name, tensor] of tensors) {
    if (!(tensor.data instanceof Float32Array)) continue;
    for (const value of tensor.data) {
      if (!Number.isFinite(value)) {
        throw new UserError('weights-not-finite', `"${name}" holds ${value} ${where}`, {
          subject: name,
          hint: 'This state is not saved; the last checkpoint is intact. Resume from it with a lower training.base_lr.',
        });
      }
      if (value !== 0) anyNonZero = true;
    }
  }
  if (!anyNonZero) {
    throw new UserError('weights-zero', `All weights read back as zero ${where}`, {
      hint: 'The device has lost them; this state is not saved. Resume from the last checkpoint.',
    });
  }
}
