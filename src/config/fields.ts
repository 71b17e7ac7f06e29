/**
 * @file Every key of a configuration: type, range, unit, what it does. The schema checks against it and the page's form is made of it,
 * so the two cannot disagree. Imports nothing.
 */

export type FieldType =
  | {
      readonly kind: 'number';
      readonly integer?: boolean;
      readonly min?: number;
      readonly max?: number;
      readonly exclusiveMin?: boolean;
    }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'text' }
  | { readonly kind: 'choice'; readonly options: readonly string[] }
  | {
      readonly kind: 'numbers';
      readonly length?: number;
      readonly integer?: boolean;
      readonly min?: number;
      readonly max?: number;
    }
  | { readonly kind: 'texts' };

export interface Field {
  readonly path: string;
  readonly label: string;
  readonly type: FieldType;
  readonly nullable?: boolean;
  /** Words allowed besides the type: "auto". */
  readonly words?: readonly string[];
  /** A single text stands for a list of one (data.root). */
  readonly listOrOne?: boolean;
  readonly unit?: string;
  readonly help: string;
  readonly group: string;
  readonly advanced?: boolean;
  /** Model families that have the key; all when absent. */
  readonly families?: readonly string[];
  /** Not in the page's form: set by its own controls (model picker, data station) or only meant for the command line. */
  readonly hidden?: boolean;
}

const int = (min: number, max: number): FieldType => ({ kind: 'number', integer: true, min, max });
const num = (min: number, max: number): FieldType => ({ kind: 'number', min, max });
const positive: FieldType = { kind: 'number', min: 0, exclusiveMin: true, max: 1e6 };
const choice = (...options: string[]): FieldType => ({ kind: 'choice', options });
const probability = num(0, 1);
const bool: FieldType = { kind: 'boolean' };
const text: FieldType = { kind: 'text' };

type Row = Omit<Field, 'group'>;
const group = (name: string, rows: readonly Row[]): Field[] => rows.map((row) => ({ ...row, group: name }));

const general = group('Run', [
  {
    path: 'mode',
    label: 'Mode',
    type: choice('train', 'test'),
    help: 'Train a model or test a checkpoint.',
    hidden: true,
  },
  {
    path: 'seed',
    label: 'Seed',
    type: int(0, 2 ** 31 - 1),
    help: 'Initial weights, order, augmentation and dropout all follow from it.',
  },
  {
    path: 'output_dir',
    label: 'Output folder',
    type: text,
    nullable: true,
    help: 'Where the command line writes the run.',
    hidden: true,
  },
  { path: 'resume', label: 'Resume', type: bool, help: 'Goes on with the run in output_dir.', hidden: true },
  {
    path: 'checkpoint',
    label: 'Checkpoint',
    type: text,
    nullable: true,
    help: 'Weights to test.',
    hidden: true,
  },
  {
    path: 'task.type',
    label: 'Task',
    type: choice('tumor', 'organ'),
    help: 'Organs keep their orientation: no flips.',
  },
  {
    path: 'hardware.backend',
    label: 'Backend',
    type: choice('auto', 'webgpu', 'wasm'),
    help: 'auto: WebGPU on a real GPU, else WebAssembly on the CPU.',
  },
  {
    path: 'hardware.threads',
    label: 'WASM threads',
    type: int(1, 64),
    words: ['auto'],
    help: 'Threads of the WebAssembly backend, where the page is cross-origin isolated.',
    advanced: true,
  },
]);

const TINY = ['tinyusfm'];
const SEG = ['segformer'];
const model = group('Model', [
  { path: 'model.name', label: 'Model', type: text, help: 'Registry name.', hidden: true },
  {
    path: 'model.image_size',
    label: 'Image size',
    type: int(16, 2048),
    unit: 'px',
    help: 'Side of the square network input; images are resized as Pillow does.',
  },
  {
    path: 'model.num_classes',
    label: 'Classes',
    type: int(2, 256),
    help: 'Labels including background; 2 is binary.',
  },
  {
    path: 'model.checkpoint',
    label: 'Pretrained weights',
    type: text,
    nullable: true,
    help: 'File with weights to start from.',
    hidden: true,
  },
  {
    path: 'model.out_channels',
    label: 'Output channels',
    type: int(1, 256),
    words: ['auto'],
    help: 'auto: one (sigmoid) for two classes with BCE or Dice, else one per class.',
    advanced: true,
  },
  {
    path: 'model.drop_path',
    label: 'Drop path',
    type: num(0, 0.9),
    help: 'Probability of skipping the last block; grows linearly with depth.',
    advanced: true,
  },
  {
    path: 'model.layer_norm_eps',
    label: 'LayerNorm epsilon',
    type: num(1e-12, 1e-2),
    help: 'As in the published model.',
    advanced: true,
  },
  {
    path: 'model.embed_dim',
    label: 'Embedding width',
    type: int(4, 4096),
    help: 'Token width of the ViT.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.depth',
    label: 'Blocks',
    type: int(1, 64),
    help: 'Transformer blocks.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.heads',
    label: 'Heads',
    type: int(1, 64),
    help: 'Attention heads; a divisor of the width.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.patch_size',
    label: 'Patch size',
    type: int(1, 64),
    unit: 'px',
    help: 'Side of a patch; a divisor of the image size.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.mlp_ratio',
    label: 'MLP ratio',
    type: num(0.25, 16),
    help: 'Hidden width of the MLP over the token width.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.out_indices',
    label: 'Feature blocks',
    type: { kind: 'numbers', length: 4, integer: true, min: 0, max: 63 },
    help: 'Blocks (from 0) whose outputs feed the pyramid.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.neck_channels',
    label: 'Neck channels',
    type: int(1, 4096),
    help: 'Channels of the feature pyramid.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.head_channels',
    label: 'Head channels',
    type: int(1, 4096),
    help: 'Channels of the FPN head.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.dropout',
    label: 'Head dropout',
    type: num(0, 0.9),
    help: 'Dropout of whole channels before the classifier.',
    advanced: true,
    families: TINY,
  },
  {
    path: 'model.hidden_sizes',
    label: 'Stage widths',
    type: { kind: 'numbers', length: 4, integer: true, min: 1, max: 4096 },
    help: 'Channels of the four stages.',
    advanced: true,
    families: SEG,
  },
  {
    path: 'model.depths',
    label: 'Stage blocks',
    type: { kind: 'numbers', length: 4, integer: true, min: 1, max: 100 },
    help: 'Blocks of the four stages.',
    advanced: true,
    families: SEG,
  },
  {
    path: 'model.num_attention_heads',
    label: 'Stage heads',
    type: { kind: 'numbers', length: 4, integer: true, min: 1, max: 64 },
    help: 'Attention heads of the four stages.',
    advanced: true,
    families: SEG,
  },
  {
    path: 'model.sr_ratios',
    label: 'Reduction ratios',
    type: { kind: 'numbers', length: 4, integer: true, min: 1, max: 16 },
    help: 'Spatial reduction of keys and values per stage.',
    advanced: true,
    families: SEG,
  },
  {
    path: 'model.mlp_ratios',
    label: 'MLP ratios',
    type: { kind: 'numbers', length: 4, integer: true, min: 1, max: 16 },
    help: 'Hidden width of Mix-FFN over the stage width.',
    advanced: true,
    families: SEG,
  },
  {
    path: 'model.decoder_hidden_size',
    label: 'Decoder width',
    type: int(1, 4096),
    help: 'Channels of the all-MLP head.',
    advanced: true,
    families: SEG,
  },
  {
    path: 'model.classifier_dropout',
    label: 'Head dropout',
    type: num(0, 0.9),
    help: 'Dropout before the classifier.',
    advanced: true,
    families: SEG,
  },
]);

const data = group('Data', [
  { path: 'data.name', label: 'Data config', type: text, help: 'folder or phantom.', hidden: true },
  {
    path: 'data.root',
    label: 'Folders',
    type: { kind: 'texts' },
    nullable: true,
    listOrOne: true,
    help: 'Folders or zips.',
    hidden: true,
  },
  {
    path: 'data.test_root',
    label: 'External test folders',
    type: { kind: 'texts' },
    nullable: true,
    listOrOne: true,
    help: 'Only tested on.',
    hidden: true,
  },
  {
    path: 'data.normalization',
    label: 'Normalisation',
    type: choice('imagenet', 'min_max'),
    help: 'imagenet: (x/255 - mean) / std; min_max: x/255.',
  },
  {
    path: 'data.label_mode',
    label: 'Mask reading',
    type: choice('auto', 'binary', 'values', 'colors', 'class'),
    help: 'How mask pixels become labels. class: lesions get the class of their image.',
  },
  {
    path: 'data.threshold',
    label: 'Mask threshold',
    type: int(0, 254),
    unit: 'grey level',
    help: 'A mask pixel above it is foreground.',
  },
  {
    path: 'data.filter_empty_masks',
    label: 'Leave out empty masks',
    type: bool,
    help: 'Images without any foreground are not used.',
  },
  {
    path: 'data.on_problem',
    label: 'Unusable samples',
    type: choice('block', 'exclude'),
    help: 'block: stop and name them; exclude: leave them out and list them.',
    advanced: true,
  },
  {
    path: 'data.exclude',
    label: 'Excluded samples',
    type: { kind: 'texts' },
    help: 'Sample ids left out.',
    hidden: true,
  },
  {
    path: 'data.split.method',
    label: 'Split',
    type: choice('auto', 'ratio', 'folder', 'folds'),
    help: "auto: the folder's own split, else a seeded ratio.",
  },
  {
    path: 'data.split.train',
    label: 'Train share',
    type: probability,
    help: 'Share of samples (or patients).',
  },
  {
    path: 'data.split.val',
    label: 'Validation share',
    type: probability,
    help: 'Share of samples (or patients).',
  },
  {
    path: 'data.split.test',
    label: 'Test share',
    type: probability,
    help: 'Share of samples (or patients).',
  },
  { path: 'data.split.seed', label: 'Split seed', type: int(0, 2 ** 31 - 1), help: 'Same seed, same split.' },
  {
    path: 'data.split.stratify',
    label: 'Stratify by class',
    type: bool,
    help: 'Every part gets the same mix of classes.',
  },
  {
    path: 'data.split.group',
    label: 'Keep patients together',
    type: bool,
    help: 'All images of a patient go to one part, where patients are known.',
  },
  {
    path: 'data.split.fold_file',
    label: 'Fold file',
    type: text,
    nullable: true,
    help: 'Official folds: the file name, for example 5-fold-cv.csv.',
    advanced: true,
  },
  {
    path: 'data.split.fold',
    label: 'Fold',
    type: int(1, 100),
    help: 'Which official fold is the test set, from 1.',
    advanced: true,
  },
  {
    path: 'data.phantom.count',
    label: 'Phantom images',
    type: int(4, 10000),
    help: 'How many images to generate.',
    hidden: true,
  },
  {
    path: 'data.phantom.size',
    label: 'Phantom size',
    type: int(32, 1024),
    unit: 'px',
    help: 'Side of generated images.',
    hidden: true,
  },
  {
    path: 'data.phantom.seed',
    label: 'Phantom seed',
    type: int(0, 2 ** 31 - 1),
    help: 'Same seed, same images.',
    hidden: true,
  },
]);

const training = group('Training', [
  {
    path: 'training.num_epochs',
    label: 'Epochs',
    type: int(1, 100000),
    help: 'Passes over the training split.',
  },
  { path: 'training.batch_size', label: 'Batch size', type: int(1, 4096), help: 'Images per forward pass.' },
  { path: 'training.base_lr', label: 'Learning rate', type: positive, help: 'Base rate of the schedule.' },
  {
    path: 'training.accumulation_steps',
    label: 'Accumulation',
    type: int(1, 1024),
    unit: 'batches',
    help: 'Batches per optimiser step (mean gradient); BatchNorm sees each batch alone.',
    advanced: true,
  },
  {
    path: 'training.gradient_clip',
    label: 'Gradient clip',
    type: positive,
    nullable: true,
    help: 'Largest global L2 norm of the gradient; empty: no clipping.',
    advanced: true,
  },
  {
    path: 'training.recompute',
    label: 'Recompute',
    type: choice('none', 'blocks'),
    help: 'blocks: keeps only the inputs of transformer blocks and computes the rest again; less memory, about a third more time.',
    advanced: true,
  },
  {
    path: 'training.drop_last',
    label: 'Drop last batch',
    type: bool,
    help: 'Leaves out a last, shorter batch.',
    advanced: true,
  },
  {
    path: 'training.freeze_backbone',
    label: 'Freeze backbone',
    type: bool,
    help: 'Trains only the decoder.',
    advanced: true,
  },
]);

const optimizer = group('Optimiser', [
  {
    path: 'optimizer.name',
    label: 'Optimiser',
    type: choice('adamw', 'adam', 'sgd'),
    help: "torch's arithmetic.",
  },
  {
    path: 'optimizer.weight_decay',
    label: 'Weight decay',
    type: num(0, 10),
    help: 'Decoupled for AdamW, L2 for Adam and SGD.',
  },
  {
    path: 'optimizer.betas',
    label: 'Betas',
    type: { kind: 'numbers', length: 2, min: 0, max: 0.999999 },
    help: "Adam's decay rates.",
    advanced: true,
  },
  {
    path: 'optimizer.eps',
    label: 'Epsilon',
    type: positive,
    help: "Added to Adam's denominator.",
    advanced: true,
  },
  { path: 'optimizer.momentum', label: 'Momentum', type: num(0, 0.9999), help: 'SGD only.', advanced: true },
  {
    path: 'optimizer.layer_decay',
    label: 'Layer-wise decay',
    type: { kind: 'number', min: 0, exclusiveMin: true, max: 1 },
    nullable: true,
    help: 'Each block below the head learns at this factor of the one above; empty: off.',
    advanced: true,
  },
  {
    path: 'optimizer.head_lr_multiplier',
    label: 'Head rate factor',
    type: positive,
    help: "Decoder's rate over the backbone's.",
    advanced: true,
  },
  {
    path: 'optimizer.decay_norm_and_bias',
    label: 'Decay norms and biases',
    type: bool,
    help: 'Off: norms, biases and position embeddings are not decayed.',
    advanced: true,
  },
]);

const scheduler = group('Learning rate', [
  {
    path: 'lr_scheduler.name',
    label: 'Schedule',
    type: choice('warmup_poly', 'poly_iter', 'plateau', 'cosine', 'constant'),
    help: 'How the rate changes over the run.',
  },
  {
    path: 'lr_scheduler.warmup_epochs',
    label: 'Warm-up',
    type: int(0, 10000),
    unit: 'epochs',
    help: 'Linear rise to the base rate (not for poly_iter).',
  },
  {
    path: 'lr_scheduler.warmup_iters',
    label: 'Warm-up steps',
    type: int(0, 1e7),
    unit: 'steps',
    help: 'poly_iter: linear rise over optimiser steps.',
    advanced: true,
  },
  {
    path: 'lr_scheduler.power',
    label: 'Power',
    type: num(0.01, 20),
    help: 'Exponent of polynomial decay.',
    advanced: true,
  },
  {
    path: 'lr_scheduler.end_lr',
    label: 'Final rate',
    type: num(0, 10),
    help: 'Rate at the end of decay.',
    advanced: true,
  },
  {
    path: 'lr_scheduler.factor',
    label: 'Plateau factor',
    type: num(0.001, 0.999),
    help: 'plateau: the rate is multiplied by it.',
    advanced: true,
  },
  {
    path: 'lr_scheduler.patience',
    label: 'Plateau patience',
    type: int(0, 100000),
    unit: 'epochs',
    help: 'plateau: epochs without a better validation Dice.',
    advanced: true,
  },
  {
    path: 'lr_scheduler.threshold',
    label: 'Plateau threshold',
    type: num(0, 1),
    help: 'plateau: relative gain that counts as better.',
    advanced: true,
  },
  {
    path: 'lr_scheduler.cooldown',
    label: 'Plateau cool-down',
    type: int(0, 100000),
    unit: 'epochs',
    help: 'plateau: epochs to wait after a reduction.',
    advanced: true,
  },
  {
    path: 'lr_scheduler.min_lr',
    label: 'Plateau minimum',
    type: num(0, 10),
    help: 'plateau: the rate never falls below it.',
    advanced: true,
  },
]);

const loss = group('Loss', [
  {
    path: 'loss.name',
    label: 'Loss',
    type: choice('bce', 'dice', 'bce_dice', 'ce', 'ce_dice'),
    help: 'bce: two classes; ce: any number.',
  },
  { path: 'loss.bce_weight', label: 'BCE weight', type: num(0, 1000), help: 'In bce_dice.' },
  { path: 'loss.dice_weight', label: 'Dice weight', type: num(0, 1000), help: 'In bce_dice and ce_dice.' },
  { path: 'loss.ce_weight', label: 'CE weight', type: num(0, 1000), help: 'In ce_dice.', advanced: true },
  {
    path: 'loss.pos_weight',
    label: 'Foreground weight',
    type: positive,
    help: 'Weight of foreground pixels in BCE.',
    advanced: true,
  },
  {
    path: 'loss.class_weights',
    label: 'Class weights',
    type: { kind: 'numbers', min: 0, max: 1e6 },
    nullable: true,
    help: 'Weights of the classes in CE, background first; empty: all equal.',
    advanced: true,
  },
  {
    path: 'loss.smooth',
    label: 'Dice smoothing',
    type: num(0, 1000),
    help: 'Added above and below in Dice.',
    advanced: true,
  },
]);

const stopping = group('Early stopping', [
  {
    path: 'early_stopping.enabled',
    label: 'Early stopping',
    type: bool,
    help: 'Ends the run when validation Dice stops rising.',
  },
  {
    path: 'early_stopping.patience',
    label: 'Patience',
    type: int(1, 100000),
    unit: 'epochs',
    help: 'Epochs without improvement.',
  },
  {
    path: 'early_stopping.min_delta',
    label: 'Minimum gain',
    type: num(0, 1),
    unit: 'Dice',
    help: 'A smaller gain does not count.',
    advanced: true,
  },
]);

const augmentation = group('Augmentation', [
  {
    path: 'augmentation.enabled',
    label: 'Augmentation',
    type: bool,
    help: "TinyUSFM's joint transform, seeded per image and epoch.",
  },
  {
    path: 'augmentation.hflip.prob',
    label: 'Horizontal flip',
    type: probability,
    help: 'Probability; tumor task only.',
  },
  {
    path: 'augmentation.vflip.prob',
    label: 'Vertical flip',
    type: probability,
    help: 'Probability; tumor task only.',
  },
  { path: 'augmentation.rotate.prob', label: 'Rotation', type: probability, help: 'Probability.' },
  {
    path: 'augmentation.rotate.degrees',
    label: 'Rotation range',
    type: num(0, 180),
    unit: '±°',
    help: 'Largest angle.',
    advanced: true,
  },
  { path: 'augmentation.gamma.prob', label: 'Gamma', type: probability, help: 'Probability.' },
  {
    path: 'augmentation.gamma.min',
    label: 'Gamma from',
    type: num(0.1, 10),
    help: 'Smallest gamma (in tenths).',
    advanced: true,
  },
  {
    path: 'augmentation.gamma.max',
    label: 'Gamma to',
    type: num(0.1, 10),
    help: 'Largest gamma (in tenths).',
    advanced: true,
  },
  { path: 'augmentation.scale_crop.prob', label: 'Scale and crop', type: probability, help: 'Probability.' },
  {
    path: 'augmentation.scale_crop.max',
    label: 'Largest scale',
    type: num(1, 4),
    help: 'Enlarged by 1 to this, then cropped.',
    advanced: true,
  },
  { path: 'augmentation.contrast.prob', label: 'Contrast', type: probability, help: 'Probability.' },
  {
    path: 'augmentation.contrast.min',
    label: 'Contrast from',
    type: num(0, 10),
    help: 'Smallest factor.',
    advanced: true,
  },
  {
    path: 'augmentation.contrast.max',
    label: 'Contrast to',
    type: num(0, 10),
    help: 'Largest factor.',
    advanced: true,
  },
]);

const keeping = group('Checkpoints and evaluation', [
  {
    path: 'checkpointing.every_epochs',
    label: 'Checkpoint every',
    type: int(1, 10000),
    unit: 'epochs',
    help: 'Complete and resumable; the best epoch is always kept.',
    advanced: true,
  },
  {
    path: 'checkpointing.every_steps',
    label: 'And every',
    type: int(1, 1e7),
    nullable: true,
    unit: 'steps',
    help: 'For long epochs; empty: off.',
    advanced: true,
  },
  {
    path: 'checkpointing.keep_last',
    label: 'Keep last',
    type: int(1, 100),
    help: 'Besides the best.',
    advanced: true,
  },
  {
    path: 'evaluation.batch_size',
    label: 'Evaluation batch',
    type: int(1, 4096),
    nullable: true,
    help: 'Empty: the training batch size.',
    advanced: true,
  },
  {
    path: 'evaluation.threshold',
    label: 'Threshold',
    type: num(0, 1),
    help: 'Foreground where the probability is above it (two classes).',
  },
  {
    path: 'evaluation.convention',
    label: 'Metric convention',
    type: choice('framework', 'monai'),
    help: 'What metrics say for empty masks, and which HD95.',
  },
  {
    path: 'evaluation.resolution',
    label: 'Compared at',
    type: choice('model', 'original'),
    help: 'model: at the network input size, as the framework; original: at the size of the file.',
  },
  {
    path: 'evaluation.panel_cases',
    label: 'Live cases',
    type: int(0, 16),
    help: 'Validation cases drawn after every epoch.',
    advanced: true,
  },
]);

/** All keys, in the order of the form. */
export const fields: readonly Field[] = [
  ...general,
  ...model,
  ...data,
  ...training,
  ...optimizer,
  ...scheduler,
  ...loss,
  ...stopping,
  ...augmentation,
  ...keeping,
];

export const fieldByPath: ReadonlyMap<string, Field> = new Map(fields.map((f) => [f.path, f]));

/** "tinyusfm_nano" -> "tinyusfm": the family is the first word of the registry name. */
export function familyOf(modelName: string): string {
  return modelName.split('_')[0] as string;
}
