/**
 * @file Predictions of fixed validation cases after each epoch, beside the ground truth.
 */
import { useEffect, useMemo, useState, type ReactNode } from 'react';
import { resizeBilinear, resizeNearest } from '../../../data/resize';
import type { PredictionPanel } from '../../../training/types';
import { Picture } from '../../components/mask/Picture';
import { paintMask, predictionLabels, rgbToRgba } from '../../components/mask/paint';
import { fixed } from '../../format';
import { useDataset } from '../../state/datasetStore';
import { useTraining } from '../../state/trainingStore';

export function LivePanels(): ReactNode {
  const panels = useTraining((s) => s.panels);
  const threshold = useTraining((s) => s.config?.evaluation.threshold ?? 0.5);
  const [picked, setPicked] = useState<number | null>(null); // null: follow the newest
  if (panels.length === 0) return null;
  const index = Math.min(picked ?? panels.length - 1, panels.length - 1);
  const at = panels[index];
  if (at === undefined || at.panels.length === 0) return null;
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Validation cases after epoch {at.epoch}</h2>
        <label className="row small">
          epoch
          <input
            type="range"
            min={0}
            max={panels.length - 1}
            value={index}
            style={{ width: 140 }}
            aria-label="Epoch of the masks"
            onChange={(e) =>
              setPicked(Number(e.target.value) === panels.length - 1 ? null : Number(e.target.value))
            }
          />
        </label>
      </header>
      <div className="live-panels">
        {at.panels.map((p) => (
          <LiveCase key={p.id} panel={p} threshold={threshold} />
        ))}
      </div>
    </section>
  );
}

interface Base {
  readonly rgb: Uint8Array;
  readonly mask: Uint8Array;
}

function LiveCase({
  panel,
  threshold,
}: {
  readonly panel: PredictionPanel;
  readonly threshold: number;
}): ReactNode {
  const read = useDataset((s) => s.original);
  const known = useDataset((s) => s.dataset !== null);
  const [base, setBase] = useState<Base | null>(null);
  const { id, size } = panel;
  useEffect(() => {
    if (!known) return;
    let current = true;
    read(id).then(
      (o) => {
        if (!current) return;
        setBase({
          rgb: resizeBilinear(o.image, o.width, o.height, 3, size, size),
          mask: resizeNearest(o.mask, o.width, o.height, 1, size, size),
        });
      },
      () => undefined, // the folder is closed: the prediction is still shown, without its image
    );
    return () => {
      current = false;
    };
  }, [id, size, read, known]);
  const [truth, prediction] = useMemo(() => {
    const rgb = base?.rgb ?? new Uint8Array(size * size * 3).fill(24);
    const t = rgbToRgba(rgb);
    const p = rgbToRgba(rgb);
    if (base !== null) paintMask(t, base.mask, size, size, { opacity: 0.45, mode: 'fill' });
    paintMask(p, predictionLabels(panel.prediction, panel.kind, threshold), size, size, {
      opacity: 0.45,
      mode: 'fill',
    });
    return [t, p];
  }, [base, panel, size, threshold]);
  return (
    <div className="live-case">
      <div className="pair">
        <Picture width={size} height={size} pixels={truth} label={`${id}: ground truth`} />
        <Picture
          width={size}
          height={size}
          pixels={prediction}
          label={`${id}: prediction, Dice ${fixed(panel.dice, 2)}`}
        />
      </div>
      <div className="row between">
        <span className="ellipsis" title={id}>
          {id.split('/').at(-1)}
        </span>
        <span title="Ground truth left, prediction right; Dice of this image">
          Dice {fixed(panel.dice, 3)}
        </span>
      </div>
    </div>
  );
}
