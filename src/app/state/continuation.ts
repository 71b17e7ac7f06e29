/**
 * @file What continuing a run with another number of epochs does to its learning rate, in one or two sentences. Pure.
 */
import type { StudioConfig } from '../../config/types';

/** For the page, before the user continues a run of `done` epochs up to `epochs`. */
export function continuationNote(config: StudioConfig, done: number, epochs: number): string {
  const before = config.training.num_epochs;
  const { name } = config.lr_scheduler;
  const goesOn = `Epochs ${done + 1} to ${epochs} are trained next.`;
  if (epochs <= done) return `This run already has ${done} epochs; choose more than that.`;
  if (name === 'constant') return `${goesOn} The learning rate stays as it is.`;
  if (name === 'plateau') {
    return `${goesOn} The learning rate goes on from where it stood; it falls when validation stops improving.`;
  }
  if (epochs === before)
    return `${goesOn} The learning rate follows the schedule of ${before} epochs to its end.`;
  return (
    `${goesOn} The ${name} schedule spans the whole run, so it is drawn anew over ${epochs} epochs: the learning rate jumps to ` +
    `the value it has at epoch ${done + 1} of ${epochs} instead of ${done + 1} of ${before}. ` +
    `The result differs from a run started with ${epochs} epochs.`
  );
}
