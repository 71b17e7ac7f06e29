/**
 * @file studio list: models, data configs, commands. Imports config, models.
 */
import { groupOptions } from '../../config/compose';
import { configFiles } from '../../config/files';
import { resolveConfig } from '../../config/resolve';
import { models } from '../../models/registry';
import { resolveOutChannels } from '../../nn/losses';
import { say, table } from '../console';

export const USAGE = `npm run studio -- COMMAND key=value ...

  train    model=tinyusfm_nano data=folder data.root=PATH training.num_epochs=2 output_dir=OUT   (resume=true goes on)
  test     checkpoint=FILE data=folder data.root=PATH output_dir=OUT [split=test]
  metrics  pred_dir=A gt_dir=B output=FILE.csv [convention=monai]
  verify   DIR [--json FILE] [hardware.backend=webgpu]
  list     models, data configs and these commands`;

export function list(): number {
  const rows = [...models.keys()].map((name) => {
    const { config } = resolveConfig(configFiles, 'train', [`model=${name}`]);
    const model = models.get(name);
    const parameters = (
      model?.parameters(model.architecture(config.model, resolveOutChannels(config))) ?? []
    ).filter((p) => p.kind === 'parameter');
    const elements = parameters.reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
    return [name, `${config.model.image_size} px`, elements.toLocaleString('en')];
  });
  say('Models');
  table([
    ['  name', 'input', 'parameters'],
    ...rows.map(([a, b, c]) => [`  ${a}`, b as string, c as string]),
  ]);
  say(`\nData configs\n  ${groupOptions(configFiles, 'data').join(', ')}`);
  say(`\nCommands\n${USAGE}`);
  return 0;
}
