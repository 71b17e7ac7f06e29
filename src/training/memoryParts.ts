/**
 * @file The parts of a run's planned GPU memory, and how they are said. Imports lib.
 */
import { formatBytes } from '../lib/bytes';

/** Bytes that a run holds in buffers of its own once each of its passes has run; all parts together are `bytes`. */
export interface MemoryPlan {
  readonly bytes: number;
  readonly weights: number; // running statistics included
  readonly optimizer: number; // gradients, moments, and what an update reads
  /** Shared by all passes, training and evaluation: each tensor lives in one of these from its first to its last use. */
  readonly temporaries: number;
  readonly inputs: number; // batches, random keys, losses
  readonly constants: number; // of the passes' kernels
  /** `bytes` if the temporaries took only what is alive at the worst moment: no order of buffers can do with less. */
  readonly lowerBound: number;
}

/** "weights 5.1 MB, gradients and moments 15.3 MB, temporaries 38.0 MB, inputs and constants 2.8 MB". */
export function memoryParts({ weights, optimizer, temporaries, inputs, constants }: MemoryPlan): string {
  const parts: readonly (readonly [string, number])[] = [
    ['weights', weights],
    ['gradients and moments', optimizer],
    ['temporaries', temporaries],
    ['inputs and constants', inputs + constants],
  ];
  return parts.map(([what, bytes]) => `${what} ${formatBytes(bytes)}`).join(', ');
}

/** "Planned GPU memory: 61.2 MB (weights 5.1 MB, ...)". */
export function describeMemoryPlan(plan: MemoryPlan): string {
  return `Planned GPU memory: ${formatBytes(plan.bytes)} (${memoryParts(plan)})`;
}
