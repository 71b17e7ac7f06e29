/**
 * @file The resolved configuration: the keys of the Python framework (reference/models.md section 0.1) plus the studio's own.
 * `schema.ts` checks every value against this; nothing downstream re-checks.
 */

export type BackendChoice = 'auto' | 'webgpu' | 'wasm';
export type LossName = 'bce' | 'dice' | 'bce_dice' | 'ce' | 'ce_dice';
export type OptimizerName = 'adamw' | 'adam' | 'sgd';
export type SchedulerName = 'warmup_poly' | 'poly_iter' | 'plateau' | 'cosine' | 'constant';
export type MetricConvention = 'framework' | 'monai';

/** Architecture keys differ per family; each model file checks its own (`architecture(config)`). */
export interface ModelConfig {
  readonly name: string; // registry name: "tinyusfm", "tinyusfm_nano", "segformer_b0", "segformer_nano"
  readonly image_size: number; // side of the square network input, pixels
  readonly num_classes: number; // labels including background; 2 = binary
  readonly out_channels: number | 'auto'; // auto: 1 when num_classes == 2 and the loss is of the BCE family, else num_classes
  readonly checkpoint: string | null; // pretrained weights: path (command line) or weights-library id (page)
  readonly [architectureKey: string]: unknown;
}

export interface DataConfig {
  readonly name: string; // "folder" | "phantom"
  readonly root: string | readonly string[] | null; // one or several folders (or zips)
  readonly test_root: string | readonly string[] | null; // external test only
  readonly normalization: 'imagenet' | 'min_max';
  readonly label_mode: 'auto' | 'binary' | 'values' | 'colors' | 'class';
  readonly threshold: number; // grey level; foreground is > threshold
  readonly filter_empty_masks: boolean;
  readonly on_problem: 'block' | 'exclude'; // error-level samples: stop with their names, or leave them out (listed)
  readonly exclude: readonly string[]; // sample ids
  readonly split: {
    readonly method: 'auto' | 'ratio' | 'folder' | 'folds'; // auto: folder's own, else ratio
    readonly train: number; // fractions, sum 1
    readonly val: number;
    readonly test: number;
    readonly seed: number;
    readonly stratify: boolean; // by class name
    readonly group: boolean; // by patient where known
    readonly fold_file: string | null;
    readonly fold: number; // 1-based
  };
  readonly phantom: { readonly count: number; readonly size: number; readonly seed: number };
}

export interface AugmentationConfig {
  readonly enabled: boolean;
  readonly hflip: { readonly prob: number }; // tumor only (organ keeps orientation)
  readonly vflip: { readonly prob: number }; // tumor only
  readonly rotate: { readonly prob: number; readonly degrees: number };
  readonly gamma: { readonly prob: number; readonly min: number; readonly max: number };
  readonly scale_crop: { readonly prob: number; readonly max: number };
  readonly contrast: { readonly prob: number; readonly min: number; readonly max: number };
}

export interface StudioConfig {
  readonly mode: 'train' | 'test';
  readonly seed: number;
  readonly output_dir: string | null; // null: logs/{model}/{dataset}/{train_type}/{timestamp}
  readonly resume: boolean;
  readonly checkpoint: string | null; // for test
  readonly task: { readonly type: 'tumor' | 'organ' };
  readonly hardware: { readonly backend: BackendChoice; readonly threads: number | 'auto' };
  readonly model: ModelConfig;
  readonly data: DataConfig;
  readonly training: {
    readonly num_epochs: number;
    readonly batch_size: number;
    readonly base_lr: number;
    readonly accumulation_steps: number; // micro-batches per optimiser step
    readonly gradient_clip: number | null; // global L2 norm
    readonly recompute: 'none' | 'blocks'; // gradient checkpointing
    readonly drop_last: boolean;
    readonly freeze_backbone: boolean;
  };
  readonly optimizer: {
    readonly name: OptimizerName;
    readonly weight_decay: number;
    readonly betas: readonly [number, number];
    readonly eps: number;
    readonly momentum: number; // sgd
    readonly layer_decay: number | null; // null or (0, 1]
    readonly head_lr_multiplier: number; // SegFormer's published recipe uses 10
    readonly decay_norm_and_bias: boolean;
  };
  readonly lr_scheduler: {
    readonly name: SchedulerName;
    readonly warmup_epochs: number; // warmup_poly, cosine
    readonly warmup_iters: number; // poly_iter
    readonly power: number;
    readonly end_lr: number;
    readonly factor: number; // plateau
    readonly patience: number;
    readonly threshold: number;
    readonly cooldown: number;
    readonly min_lr: number;
  };
  readonly loss: {
    readonly name: LossName;
    readonly bce_weight: number;
    readonly dice_weight: number;
    readonly ce_weight: number;
    readonly pos_weight: number;
    readonly class_weights: readonly number[] | null;
    readonly smooth: number;
  };
  readonly early_stopping: {
    readonly enabled: boolean;
    readonly patience: number;
    readonly min_delta: number;
  };
  readonly augmentation: AugmentationConfig;
  readonly checkpointing: {
    readonly every_epochs: number; // resumable checkpoint every n epochs
    readonly every_steps: number | null; // and every n optimiser steps, for long epochs
    readonly keep_last: number;
  };
  readonly evaluation: {
    readonly batch_size: number | null; // null: the training batch size
    readonly threshold: number; // on the sigmoid; binary only
    readonly convention: MetricConvention;
    readonly resolution: 'model' | 'original'; // where masks are compared (the framework: model)
    readonly panel_cases: number; // fixed validation cases drawn each epoch
  };
}
