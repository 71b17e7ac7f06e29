/**
 * @file Why training cannot start, as the title of the disabled button; null when it can.
 */
import type { StudioConfig } from '../../../config/types';
import { blockingProblems, type Report } from '../../../data/report';
import { count } from '../../format';
import type { DatasetState } from '../../state/types';

/** Samples, not problems: a sample can have several. */
export function blockingSamples(report: Report, excluded: ReadonlySet<string>): ReadonlySet<string> {
  const ids = blockingProblems(report, excluded).flatMap((p) => p.sampleIds);
  return new Set(ids.filter((id) => !excluded.has(id)));
}

export function trainingBlocked(
  data: Pick<DatasetState, 'status' | 'dataset' | 'report' | 'excluded' | 'split' | 'splitError' | 'labels'>,
  config: StudioConfig | null,
): string | null {
  if (data.status === 'empty') return 'Open a folder first';
  if (data.status === 'scanning' || data.status === 'inspecting') return 'The data is still being checked';
  if (data.dataset === null || data.dataset.samples.length === 0) return 'No image with a mask was found';
  if (data.splitError !== null) return data.splitError.message;
  if (data.labels === null || data.split === null) return 'The masks have no reading yet';
  if (config === null) return 'The configuration has an error';
  const blocking =
    data.report === null || config.data.on_problem === 'exclude'
      ? 0
      : blockingSamples(data.report, data.excluded).size;
  if (blocking > 0)
    return `${count(blocking, 'sample')} cannot be used: exclude ${blocking === 1 ? 'it' : 'them'} on the Data screen`;
  return null;
}
