/**
 * @file One sample at its own size with its mask.
 */
import { useEffect, useMemo, useState, type ReactNode } from 'react';
import type { PlainError } from '../../../lib/errors';
import { toPlainError } from '../../../lib/errors';
import type { OriginalSample } from '../../../data/types';
import { Dialog, ErrorNote } from '../../components/basics';
import { Picture } from '../../components/mask/Picture';
import { paintMask, rgbToRgba } from '../../components/mask/paint';
import { useDataset } from '../../state/datasetStore';

export function CaseDialog({
  id,
  onClose,
}: {
  readonly id: string | null;
  readonly onClose: () => void;
}): ReactNode {
  const read = useDataset((s) => s.original);
  const excluded = useDataset((s) => s.excluded);
  const setExcluded = useDataset((s) => s.setExcluded);
  const sample = useDataset((s) => s.dataset?.samples.find((one) => one.id === id) ?? null);
  const [original, setOriginal] = useState<OriginalSample | null>(null);
  const [error, setError] = useState<PlainError | null>(null);
  const [opacity, setOpacity] = useState(0.45);
  const [mode, setMode] = useState<'fill' | 'outline'>('fill');
  const [zoom, setZoom] = useState(1);
  useEffect(() => {
    setOriginal(null);
    setError(null);
    if (id === null) return;
    let current = true;
    read(id).then(
      (o) => current && setOriginal(o),
      (e: unknown) => current && setError(toPlainError(e)),
    );
    return () => {
      current = false;
    };
  }, [id, read]);
  const pixels = useMemo(() => {
    if (original === null) return null;
    const rgba = rgbToRgba(original.image);
    paintMask(rgba, original.mask, original.width, original.height, { opacity, mode });
    return rgba;
  }, [original, opacity, mode]);
  return (
    <Dialog title={id ?? ''} open={id !== null} onClose={onClose} wide>
      <div className="stack">
        <div className="row wrap">
          <label className="row small">
            Opacity
            <input
              type="range"
              min={0}
              max={1}
              step={0.05}
              value={opacity}
              onChange={(e) => setOpacity(Number(e.target.value))}
              style={{ width: 120 }}
            />
          </label>
          <button
            type="button"
            className="button"
            aria-pressed={mode === 'outline'}
            onClick={() => setMode(mode === 'fill' ? 'outline' : 'fill')}
          >
            Outline
          </button>
          <label className="row small">
            Zoom
            <input
              type="range"
              min={0.5}
              max={4}
              step={0.25}
              value={zoom}
              onChange={(e) => setZoom(Number(e.target.value))}
              style={{ width: 120 }}
            />
          </label>
          <span className="grow muted small">
            {original !== null && `${original.width} × ${original.height} px`}
            {sample?.className != null && ` · ${sample.className}`}
            {sample?.group != null && ` · patient ${sample.group}`}
            {sample !== null && ` · masks: ${sample.masks.map((m) => m.path.split('/').at(-1)).join(', ')}`}
          </span>
          {id !== null && (
            <button type="button" className="button" onClick={() => setExcluded([id], !excluded.has(id))}>
              {excluded.has(id) ? 'Use again' : 'Exclude'}
            </button>
          )}
        </div>
        {error !== null && <ErrorNote error={error} />}
        <div className="case-view" tabIndex={0} role="region" aria-label="Image with mask">
          {pixels !== null && original !== null ? (
            <Picture
              width={original.width}
              height={original.height}
              pixels={pixels}
              label={`${id}, image with mask`}
              style={{ width: original.width * zoom }}
            />
          ) : (
            error === null && <span className="muted">Reading…</span>
          )}
        </div>
      </div>
    </Dialog>
  );
}
