/**
 * @file Every problem with its file, by kind; what blocks can be excluded explicitly, never in silence.
 */
import { useState, type ReactNode } from 'react';
import type { Problem, ProblemKind, Severity } from '../../../data/types';
import { blockingSamples } from '../train/blocked';
import { useDataset } from '../../state/datasetStore';
import { CaseDialog } from './CaseDialog';

const TITLES: Readonly<Record<ProblemKind, string>> = {
  'image-without-mask': 'Images without a mask',
  'mask-without-image': 'Masks without an image',
  'ambiguous-pair': 'Ambiguous pairs',
  'size-mismatch': 'Image and mask differ in size',
  unreadable: 'Unreadable or truncated files',
  'unsupported-format': 'Formats that are not read',
  'empty-mask': 'Empty masks',
  'full-mask': 'Masks that cover everything',
  'soft-mask': 'Soft masks',
  'unexpected-values': 'Unexpected mask values',
  'exif-orientation': 'EXIF orientation',
  'lossy-mask': 'JPEG masks',
  duplicate: 'Equal pictures',
  'duplicate-across-classes': 'Equal pictures in two classes',
  'duplicate-across-splits': 'Equal pictures in two splits',
  'patient-across-splits': 'A patient in two splits',
  'too-large': 'Pictures that are too large',
  'overlapping-labels': 'Overlapping labels',
  'case-collision': 'Names that differ in case only',
};
const ORDER: readonly Severity[] = ['error', 'warning', 'info'];

export function Problems(): ReactNode {
  const report = useDataset((s) => s.report);
  const excluded = useDataset((s) => s.excluded);
  const excludeAll = useDataset((s) => s.excludeAllBlocking);
  const setExcluded = useDataset((s) => s.setExcluded);
  const [open, setOpen] = useState<string | null>(null);
  if (report === null) return null;
  const groups = new Map<string, Problem[]>();
  for (const p of report.problems) {
    const key = `${ORDER.indexOf(p.severity)}${p.kind}`;
    groups.set(key, [...(groups.get(key) ?? []), p]);
  }
  const blocking = blockingSamples(report, excluded);
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Findings</h2>
        {excluded.size > 0 && (
          <>
            <span className="muted small">{excluded.size} samples excluded</span>
            <button
              type="button"
              className="button quiet small"
              onClick={() => setExcluded([...excluded], false)}
            >
              Take back
            </button>
          </>
        )}
        {blocking.size > 0 && (
          <button type="button" className="button danger" onClick={excludeAll}>
            Exclude {blocking.size} unusable
          </button>
        )}
      </header>
      <div
        className="body stack tight"
        style={{ maxHeight: 420, overflow: 'auto' }}
        tabIndex={0}
        role="region"
        aria-label="Findings"
      >
        {groups.size === 0 && (
          <p className="muted">
            Nothing found: all images have a mask of their size, no duplicates, no unexpected values.
          </p>
        )}
        {[...groups]
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([key, list]) => (
            <Group
              key={key}
              list={list}
              excluded={excluded}
              onExclude={(ids) => setExcluded(ids, true)}
              onOpen={setOpen}
            />
          ))}
      </div>
      <CaseDialog id={open} onClose={() => setOpen(null)} />
    </section>
  );
}

function Group({
  list,
  excluded,
  onExclude,
  onOpen,
}: {
  readonly list: readonly Problem[];
  readonly excluded: ReadonlySet<string>;
  readonly onExclude: (ids: readonly string[]) => void;
  readonly onOpen: (id: string) => void;
}): ReactNode {
  const first = list[0] as Problem;
  const ids = [...new Set(list.flatMap((p) => p.sampleIds))].filter((id) => !excluded.has(id));
  return (
    <details open={first.severity === 'error'}>
      <summary>
        <span className={`chip ${first.severity === 'info' ? '' : first.severity}`}>{first.severity}</span>{' '}
        {TITLES[first.kind]} <span className="muted">{list.length}</span>
        {ids.length > 0 && first.severity !== 'info' && (
          <button
            type="button"
            className="button quiet small"
            onClick={(e) => {
              e.preventDefault();
              onExclude(ids);
            }}
          >
            Exclude these
          </button>
        )}
      </summary>
      <ul className="problem-files small">
        {list.slice(0, 200).map((p) => {
          const id = p.sampleIds[0];
          return (
            <li key={`${p.files.join()}${p.message}`}>
              {id === undefined ? (
                <span className="mono">{p.files.join(', ')}</span>
              ) : (
                <button
                  type="button"
                  className="button quiet small mono"
                  style={{ whiteSpace: 'normal', textAlign: 'left' }}
                  onClick={() => onOpen(id)}
                >
                  {p.files.join(', ')}
                </button>
              )}{' '}
              <span className="muted">{p.message}</span>
            </li>
          );
        })}
        {list.length > 200 && <li className="muted">and {list.length - 200} more</li>}
      </ul>
    </details>
  );
}
