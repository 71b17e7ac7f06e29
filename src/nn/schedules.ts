/**
 * @file Learning-rate schedules as pure functions of the position in the run. Imports config types only.
 * Formulas: reference/models.md section 7.2; numbers: e2e/cases/schedules (torch 2.13 and the framework's own classes).
 * The framework's stalling variant of WarmupPoly (stepped only after the warm-up, so the rate falls back to 0.6 of the base) is a
 * documented quirk and not kept: this is the curve its formula describes.
 */
import type { StudioConfig } from '../config/types';

export interface PlateauState {
  readonly best: number | null;
  readonly bad: number; // epochs without improvement
  readonly cooldown: number; // epochs of cool-down left
  readonly lr: number;
}

export interface PlateauSettings {
  readonly factor: number;
  readonly patience: number;
  readonly threshold: number; // relative
  readonly cooldown: number;
  readonly min_lr: number;
}

/** torch skips a reduction that changes the rate by less than this. */
const PLATEAU_EPS = 1e-8;

/** WarmupPolyLR per epoch (0-based): linear to `base` over `warmup` epochs, then polynomial decay to `end` at epoch `epochs`. */
export function warmupPoly(
  epoch: number,
  p: {
    readonly warmup: number;
    readonly epochs: number;
    readonly base: number;
    readonly end: number;
    readonly power: number;
  },
): number {
  if (epoch < p.warmup) return (p.base * (epoch + 1)) / p.warmup;
  const done = Math.min(1, (epoch - p.warmup) / Math.max(1, p.epochs - p.warmup));
  return p.end + (p.base - p.end) * (1 - done) ** p.power;
}

/**
 * Per-iteration polynomial decay with warm-up (SAMed, and the framework's SegFormer): the original sets the rate *after* the
 * optimiser's step, so step 0 (0-based) runs at base / warmup and step s at the value computed for s - 1.
 */
export function polyIteration(
  step: number,
  p: {
    readonly warmup: number;
    readonly total: number;
    readonly base: number;
    readonly power: number;
    readonly end: number;
  },
): number {
  const it = Math.max(0, step - 1);
  if (it < p.warmup) return (p.base * (it + 1)) / p.warmup;
  const left = Math.max(0, 1 - (it - p.warmup) / Math.max(1, p.total));
  return Math.max(p.end, p.base * left ** p.power);
}

/** Half a cosine per epoch (0-based) from `base` to `end`, after a linear warm-up. */
export function warmupCosine(
  epoch: number,
  p: { readonly warmup: number; readonly epochs: number; readonly base: number; readonly end: number },
): number {
  if (epoch < p.warmup) return (p.base * (epoch + 1)) / p.warmup;
  const done = Math.min(1, (epoch - p.warmup) / Math.max(1, p.epochs - p.warmup));
  return p.end + 0.5 * (p.base - p.end) * (1 + Math.cos(Math.PI * done));
}

export function plateauStart(base: number): PlateauState {
  return { best: null, bad: 0, cooldown: 0, lr: base };
}

/** torch's ReduceLROnPlateau(mode='max', threshold_mode='rel'): the state after an epoch that ended with `metric`. */
export function plateauStep(state: PlateauState, metric: number, settings: PlateauSettings): PlateauState {
  const improved = state.best === null || metric > state.best * (1 + settings.threshold);
  const best = improved ? metric : state.best;
  let bad = improved ? 0 : state.bad + 1;
  let { cooldown, lr } = state;
  if (cooldown > 0) {
    cooldown--;
    bad = 0;
  }
  if (bad > settings.patience) {
    const reduced = Math.max(lr * settings.factor, settings.min_lr);
    if (lr - reduced > PLATEAU_EPS) lr = reduced;
    cooldown = settings.cooldown;
    bad = 0;
  }
  return { best, bad, cooldown, lr };
}

/** Where a run stands; all 0-based. */
export interface Position {
  readonly epoch: number;
  readonly step: number; // optimiser steps done
  readonly stepsPerEpoch: number;
}

/** The base learning rate (before layer-wise factors) of the optimiser step that is about to run. */
export function learningRate(config: StudioConfig, at: Position, plateau: PlateauState | null): number {
  const { base_lr: base, num_epochs: epochs } = config.training;
  const s = config.lr_scheduler;
  switch (s.name) {
    case 'constant':
      return at.epoch < s.warmup_epochs ? (base * (at.epoch + 1)) / s.warmup_epochs : base;
    case 'warmup_poly':
      return warmupPoly(at.epoch, { warmup: s.warmup_epochs, epochs, base, end: s.end_lr, power: s.power });
    case 'cosine':
      return warmupCosine(at.epoch, { warmup: s.warmup_epochs, epochs, base, end: s.end_lr });
    case 'poly_iter':
      return polyIteration(at.step, {
        warmup: s.warmup_iters,
        total: epochs * at.stepsPerEpoch,
        base,
        power: s.power,
        end: s.end_lr,
      });
    case 'plateau':
      return at.epoch < s.warmup_epochs ? (base * (at.epoch + 1)) / s.warmup_epochs : (plateau?.lr ?? base);
  }
}
