/**
 * @file From a WeightsSource to tensors under the model's own names. Imports formats, models, nn (output channels), storage.
 */
import type { StudioConfig } from '../config/types';
import { readTensorsFile } from '../formats/checkpointFile';
import type { TensorMap } from '../formats/tensor';
import { UserError } from '../lib/errors';
import { fitTensors } from '../models/load';
import type { FittedTensors } from '../models/load';
import { getModel } from '../models/registry';
import { resolveOutChannels } from '../nn/losses';
import { loadCheckpoint } from '../storage/checkpoints';
import { readWeights } from '../storage/weights';
import { checkpointWeights } from '../training/checkpoint';
import type { WeightsSource } from './protocol';

/** Fits a kept file to the configured model. */
export async function fitLibraryWeights(weightsId: string, config: StudioConfig): Promise<FittedTensors> {
  const { bytes, fileName } = await readWeights(weightsId);
  const { tensors } = readTensorsFile(bytes, fileName);
  const model = getModel(config.model.name);
  const architecture = model.architecture(config.model, resolveOutChannels(config));
  return fitTensors(model, architecture, tensors, fileName);
}

/** All weights a test needs; a file that leaves parts of the model untrained is refused. */
export async function testableWeights(source: WeightsSource, config: StudioConfig): Promise<TensorMap> {
  if (source.kind === 'checkpoint')
    return checkpointWeights((await loadCheckpoint(source.checkpointId)).checkpoint);
  const { tensors, report } = await fitLibraryWeights(source.weightsId, config);
  if (report.missing.length > 0 || report.mismatched.length > 0) {
    const names = [...report.missing, ...report.mismatched.map((one) => one.name)];
    throw new UserError(
      'weights-incomplete',
      `${report.file} lacks ${names.length} tensors of ${config.model.name}`,
      {
        subject: names[0] ?? report.file,
        hint: 'It can start a training, but not be tested as it is.',
      },
    );
  }
  return tensors;
}
