/**
 * @file All samples as thumbnails with their masks; only visible rows exist.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useLayoutEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import type { Sample } from '../../../data/types';
import { Picture } from '../../components/mask/Picture';
import { paintMask } from '../../components/mask/paint';
import { count } from '../../format';
import { useDataset } from '../../state/datasetStore';
import { CaseDialog } from './CaseDialog';

const TILE = 132;

export function PreviewGrid(): ReactNode {
  const dataset = useDataset((s) => s.dataset);
  const split = useDataset((s) => s.split);
  const report = useDataset((s) => s.report);
  const excluded = useDataset((s) => s.excluded);
  const [part, setPart] = useState('all');
  const [klass, setKlass] = useState('all');
  const [overlay, setOverlay] = useState(true);
  const [open, setOpen] = useState<string | null>(null);
  const scroll = useRef<HTMLDivElement>(null);
  const [columns, setColumns] = useState(6);
  useLayoutEffect(() => {
    const box = scroll.current;
    if (box === null) return;
    const observer = new ResizeObserver(() => setColumns(Math.max(2, Math.floor(box.clientWidth / TILE))));
    observer.observe(box);
    return () => observer.disconnect();
  }, []);
  const where = useMemo(() => {
    const map = new Map<string, string>();
    for (const name of ['train', 'val', 'test'] as const)
      for (const id of split?.[name] ?? []) map.set(id, name);
    return map;
  }, [split]);
  const flagged = useMemo(
    () => new Set((report?.problems ?? []).filter((p) => p.severity !== 'info').flatMap((p) => p.sampleIds)),
    [report],
  );
  const shown = useMemo(
    () =>
      (dataset?.samples ?? []).filter(
        (s) =>
          (klass === 'all' || s.className === klass) &&
          (part === 'all' ||
            (part === 'flagged'
              ? flagged.has(s.id)
              : part === 'unused'
                ? !where.has(s.id)
                : where.get(s.id) === part)),
      ),
    [dataset, klass, part, where, flagged],
  );
  const rows = useVirtualizer({
    count: Math.ceil(shown.length / columns),
    getScrollElement: () => scroll.current,
    estimateSize: () => TILE + 4,
    overscan: 2,
  });
  if (dataset === null) return null;
  return (
    <section className="panel">
      <header>
        <h2>Preview</h2>
        <span className="muted small grow">{count(shown.length, 'sample')}</span>
        <select
          className="input"
          style={{ width: 130 }}
          value={part}
          onChange={(e) => setPart(e.target.value)}
          aria-label="Show part"
        >
          <option value="all">all parts</option>
          <option value="train">train</option>
          <option value="val">validation</option>
          <option value="test">test</option>
          <option value="unused">not used</option>
          <option value="flagged">with findings</option>
        </select>
        {dataset.classNames.length > 0 && (
          <select
            className="input"
            style={{ width: 130 }}
            value={klass}
            onChange={(e) => setKlass(e.target.value)}
            aria-label="Show class"
          >
            <option value="all">all classes</option>
            {dataset.classNames.map((c) => (
              <option key={c}>{c}</option>
            ))}
          </select>
        )}
        <button type="button" className="button" aria-pressed={overlay} onClick={() => setOverlay(!overlay)}>
          Masks
        </button>
      </header>
      <div className="preview" ref={scroll} tabIndex={0} role="region" aria-label="Preview of the samples">
        <div style={{ height: rows.getTotalSize(), position: 'relative' }}>
          {rows.getVirtualItems().map((row) => (
            <div
              key={row.key}
              className="preview-row"
              style={{ top: row.start, gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}
            >
              {shown.slice(row.index * columns, (row.index + 1) * columns).map((s) => (
                <Tile
                  key={s.id}
                  sample={s}
                  part={where.get(s.id) ?? ''}
                  out={excluded.has(s.id)}
                  overlay={overlay}
                  onOpen={() => setOpen(s.id)}
                />
              ))}
            </div>
          ))}
        </div>
      </div>
      <CaseDialog id={open} onClose={() => setOpen(null)} />
    </section>
  );
}

interface Thumb {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
  readonly mask: Uint8Array;
}

function Tile({
  sample,
  part,
  out,
  overlay,
  onOpen,
}: {
  readonly sample: Sample;
  readonly part: string;
  readonly out: boolean;
  readonly overlay: boolean;
  readonly onOpen: () => void;
}): ReactNode {
  const read = useDataset((s) => s.thumbnail);
  const labels = useDataset((s) => s.labels);
  const [thumb, setThumb] = useState<Thumb | null>(null);
  const [failed, setFailed] = useState('');
  useEffect(() => {
    let current = true;
    read(sample.id, 128).then(
      (t) => current && setThumb(t),
      (e: unknown) => current && setFailed(e instanceof Error ? e.message : String(e)),
    );
    return () => {
      current = false;
    };
  }, [sample.id, read, labels]);
  const pixels = useMemo(() => {
    if (thumb === null) return null;
    const rgba = thumb.rgba.slice();
    if (overlay) paintMask(rgba, thumb.mask, thumb.width, thumb.height, { opacity: 0.35, mode: 'fill' });
    return rgba;
  }, [thumb, overlay]);
  return (
    <button
      type="button"
      className={`tile ${out ? 'out' : ''}`}
      style={{ height: TILE }}
      onClick={onOpen}
      title={`${sample.id}${failed === '' ? '' : `: ${failed}`}`}
    >
      {thumb !== null && pixels !== null ? (
        <Picture width={thumb.width} height={thumb.height} pixels={pixels} label={sample.id} />
      ) : (
        <span className="small">{failed === '' ? '…' : 'unreadable'}</span>
      )}
      <span className="tag">
        <span className="ellipsis">{sample.id.split('/').at(-1)}</span>
        <span>{part}</span>
      </span>
    </button>
  );
}
