/**
 * @file The order of an epoch, a pure function of seed and epoch. Imports lib.
 */
import { Random } from '../lib/random';

export interface EpochRequest {
  readonly seed: number;
  readonly epoch: number; // 0-based
  readonly batchSize: number;
  /** Leaves out a last, shorter batch (unless it is the only one). */
  readonly dropLast: boolean;
}

/** Batches of sample ids for one epoch. */
export function epochBatches(ids: readonly string[], request: EpochRequest): string[][] {
  const order = new Random('epoch-order', request.seed, request.epoch).shuffled(ids);
  const batches: string[][] = [];
  for (let i = 0; i < order.length; i += request.batchSize)
    batches.push(order.slice(i, i + request.batchSize));
  const last = batches.at(-1);
  if (request.dropLast && batches.length > 1 && last !== undefined && last.length < request.batchSize)
    batches.pop();
  return batches;
}
