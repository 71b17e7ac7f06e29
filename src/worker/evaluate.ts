/**
 * @file Tests weights on cases and keeps the result. Imports training, storage.
 */
import type { SampleReader } from '../data/types';
import { UserError } from '../lib/errors';
import { writeEvaluation } from '../storage/runs';
import { evaluateModel } from '../training/evaluate';
import type { EvaluationResult, PayloadOf, ProgressOf, TrainRequests } from './protocol';
import { Transferred } from './server';
import type { RequestContext } from './server';
import { testableWeights } from './weightsSource';

type Context = RequestContext<ProgressOf<TrainRequests, 'evaluate'>>;

/** The result is stored before it is announced; its pictures move to the page. */
export async function evaluate(
  payload: PayloadOf<TrainRequests, 'evaluate'>,
  reader: SampleReader,
  { signal, progress }: Context,
): Promise<Transferred<EvaluationResult>> {
  const { config, data, source } = payload;
  const byId = new Map(data.dataset.samples.map((sample) => [sample.id, sample]));
  const samples = payload.ids.map((id) => {
    const sample = byId.get(id);
    if (!sample) throw new UserError('no-cases', `${id} is not in the open data`, { subject: id });
    return sample;
  });
  const weights = await testableWeights(source, config);
  const { cases, summary } = await evaluateModel({
    config,
    weights,
    labels: data.labels,
    samples,
    reader,
    signal,
    onCase: (latest, done, total) => progress({ done, total, latest }),
  });
  const result: EvaluationResult = {
    id: crypto.randomUUID(),
    runId: payload.runId,
    checkpointId: source.kind === 'checkpoint' ? source.checkpointId : null,
    title: payload.title,
    convention: config.evaluation.convention,
    resolution: config.evaluation.resolution,
    threshold: config.evaluation.threshold,
    cases,
    summary,
    labels: data.labels,
    createdAt: Date.now(),
  };
  await writeEvaluation(result);
  // Several cases of one batch may be views of one buffer.
  return new Transferred(result, [...new Set(cases.map((one) => one.prediction.buffer as ArrayBuffer))]);
}
