/**
 * @file What continuing a run with another number of epochs does to its learning rate, in one or two sentences. Pure.
 */
import type { StudioConfig } from '../config/types';
import { learningRate } from '../nn/schedules';

/** Where the run stands. */
export interface Progress {
  readonly epoch: number; // epochs done
  readonly step: number; // optimiser steps done
}

/** For the page, before the user continues a run up to `epochs` epochs. */
export function describeContinuation(config: StudioConfig, done: Progress, epochs: number): string {
  const before = config.training.num_epochs;
  const { name } = config.lr_scheduler;
  if (epochs <= done.epoch) return `This run already has ${done.epoch} epochs; choose more than that.`;
  const goesOn = `Epochs ${done.epoch + 1} to ${epochs} are trained next.`;
  if (name === 'constant') return `${goesOn} The learning rate stays at ${format(config.training.base_lr)}.`;
  if (name === 'plateau') {
    return `${goesOn} The learning rate goes on from where it stood; it falls when validation stops improving.`;
  }
  if (epochs === before)
    return `${goesOn} The learning rate follows the schedule of ${before} epochs to its end.`;
  const last = rate(config, before, { ...done, epoch: Math.max(0, done.epoch - 1) });
  const next = rate(config, epochs, done);
  return (
    `${goesOn} The ${name} schedule spans the whole run, so it is drawn anew over ${epochs} instead of ${before} epochs: ` +
    `the learning rate goes from ${format(last)} to ${format(next)} and then down again. ` +
    `The result differs from a run started with ${epochs} epochs.`
  );
}

function rate(config: StudioConfig, epochs: number, at: Progress): number {
  const stepsPerEpoch = Math.max(1, Math.round(at.step / Math.max(1, at.epoch)));
  const changed = { ...config, training: { ...config.training, num_epochs: epochs } };
  return learningRate(changed, { epoch: at.epoch, step: at.step, stepsPerEpoch }, null);
}

const format = (value: number): string => value.toExponential(2);
