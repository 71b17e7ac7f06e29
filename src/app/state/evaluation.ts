/**
 * @file Choosing the cases of a test and ordering its results. Pure; imports lib.
 */
import type { Dataset } from '../../data/types';
import { UserError } from '../../lib/errors';
import type { RunRecord } from '../../storage/runs';
import type { EvaluationResult, Rescored } from '../../worker/protocol';
import type { InspectState } from './types';

type Request = Parameters<InspectState['evaluate']>[0];

/** Worst Dice first; cases without a value last. */
export function worstFirst(a: { readonly dice: number }, b: { readonly dice: number }): number {
  if (Number.isNaN(a.dice) || Number.isNaN(b.dice))
    return Number(Number.isNaN(a.dice)) - Number(Number.isNaN(b.dice));
  return a.dice - b.dice;
}

/** A result with the numbers of another threshold; order and pictures stay. */
export function withScores(result: EvaluationResult, scores: Rescored, threshold: number): EvaluationResult {
  const byId = new Map(scores.cases.map((one) => [one.id, one]));
  return {
    ...result,
    threshold,
    summary: scores.summary,
    cases: result.cases.map((one) => ({ ...one, ...byId.get(one.id) })),
  };
}

/** Which cases a request means, and what to call the result. Throws when they are not in the open data set. */
export function chooseCases(
  request: Pick<Request, 'target'>,
  run: Pick<RunRecord, 'split'>,
  dataset: Dataset,
): { readonly ids: readonly string[]; readonly title: string } {
  const { target } = request;
  if (target.kind === 'folder') {
    const folder = dataset.folders.find((one) => one.id === target.folderId);
    const ids = dataset.samples
      .filter((sample) => sample.folder === target.folderId)
      .map((sample) => sample.id);
    if (!folder || ids.length === 0) throw new UserError('no-cases', 'That folder has no image with a mask');
    return { ids, title: `${folder.name}, ${count(ids.length)}` };
  }
  const ids = run.split[target.split];
  const name = `${target.split} split`;
  if (ids.length === 0) throw new UserError('no-cases', `The ${name} of this run has no cases`);
  assertOpen(ids, dataset, name);
  return { ids, title: `${name}, ${count(ids.length)}` };
}

const count = (n: number): string => (n === 1 ? '1 case' : `${n} cases`);

/** Throws 'dataset-differs' when some of a run's cases are not in the open data set. */
export function assertOpen(ids: readonly string[], dataset: Dataset, what: string): void {
  const open = new Set(dataset.samples.map((sample) => sample.id));
  const missing = ids.filter((id) => !open.has(id));
  if (missing.length === 0) return;
  throw new UserError(
    'dataset-differs',
    `${missing.length} of ${count(ids.length)} of the ${what} are not in the open data`,
    {
      subject: missing[0] ?? '',
      hint: 'Open the folders this run was trained on, under the same names.',
    },
  );
}
