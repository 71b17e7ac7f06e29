/**
 * @file Four linked views of a case: image, ground truth, prediction, difference. Zoom, pan, opacity and keys act on all of them.
 */
import { useCallback, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import type { OriginalSample } from '../../../data/types';
import { toPlainError, type PlainError } from '../../../lib/errors';
import { ErrorNote } from '../../components/basics';
import { Picture } from '../../components/mask/Picture';
import {
  classColor,
  DIFFERENCE_COLORS,
  paintDifference,
  paintMask,
  predictionLabels,
  rgbToRgba,
  type Rgb,
} from '../../components/mask/paint';
import { fixed } from '../../format';
import { useInspect } from '../../state/inspectStore';
import { useSettings } from '../../state/settingsStore';
import { orderedCases } from './order';

interface Look {
  readonly opacity: number;
  readonly mode: 'fill' | 'outline';
  readonly overlay: boolean;
  readonly shown: { readonly truth: boolean; readonly prediction: boolean; readonly difference: boolean };
  readonly hidden: ReadonlySet<number>;
  readonly zoom: number;
  readonly x: number;
  readonly y: number;
}
const START: Look = {
  opacity: 0.45,
  mode: 'fill',
  overlay: true,
  shown: { truth: true, prediction: true, difference: true },
  hidden: new Set(),
  zoom: 1,
  x: 0,
  y: 0,
};
const rgbText = (c: Rgb): string => `rgb(${c.join(' ')})`;

export function Viewer(): ReactNode {
  const { result, selected, select, threshold, setThreshold, pair } = useInspect();
  const singleKeys = useSettings((s) => s.singleKeys);
  const [look, setLook] = useState<Look>(START);
  const [raw, setRaw] = useState(false); // while I is held
  const [base, setBase] = useState<OriginalSample | null>(null);
  const [error, setError] = useState<PlainError | null>(null);
  const one = result?.cases.find((c) => c.id === selected) ?? null;
  const id = one?.id ?? null;
  const resultId = result?.id;
  useEffect(() => {
    setBase(null);
    setError(null);
    if (id === null) return;
    let current = true;
    pair(id).then(
      (o) => current && setBase(o),
      (e: unknown) => current && setError(toPlainError(e)),
    );
    return () => {
      current = false;
    };
  }, [id, pair, resultId]);
  const order = useMemo(() => orderedCases(result?.cases ?? [], 'dice', true, ''), [result]);
  const move = useCallback(
    (step: number) => {
      const at = order.findIndex((c) => c.id === selected);
      const next = order[Math.min(order.length - 1, Math.max(0, at + step))];
      if (next !== undefined) select(next.id);
    },
    [order, selected, select],
  );
  const onKey = (e: React.KeyboardEvent): void => {
    if (e.nativeEvent.isComposing || e.ctrlKey || e.metaKey || e.altKey) return;
    const change = actionOf(e.code, singleKeys);
    if (change === null) return;
    e.preventDefault();
    if (change === 'next') move(1);
    else if (change === 'previous') move(-1);
    else if (change === 'raw') setRaw(true);
    else setLook(change);
  };
  if (result === null) return null;
  const classes = result.labels.names.slice(1);
  return (
    <section className="panel viewer grow" aria-label="Case viewer">
      <div className="viewer-tools">
        <h2 className="ellipsis" style={{ maxWidth: 320 }} title={id ?? undefined}>
          {id === null ? 'No case chosen' : id.split('/').at(-1)}
        </h2>
        {one !== null && (
          <span className="muted small">
            Dice {fixed(one.dice, 3)}
            {one.className === null ? '' : ` · ${one.className}`}
          </span>
        )}
        <span className="grow" />
        {one?.kind === 'probability' && (
          <label className="row small" title="Foreground where the probability is above it; metrics follow">
            Threshold
            <input
              type="range"
              min={0.05}
              max={0.95}
              step={0.05}
              value={threshold}
              style={{ width: 90 }}
              onChange={(e) => setThreshold(Number(e.target.value))}
            />
            {threshold.toFixed(2)}
          </label>
        )}
        <label className="row small">
          Opacity
          <input
            type="range"
            min={0}
            max={1}
            step={0.05}
            value={look.opacity}
            style={{ width: 80 }}
            onChange={(e) => setLook({ ...look, opacity: Number(e.target.value) })}
          />
        </label>
        <button
          type="button"
          className="button"
          aria-pressed={look.mode === 'outline'}
          title="C"
          onClick={() => setLook({ ...look, mode: look.mode === 'fill' ? 'outline' : 'fill' })}
        >
          Outline
        </button>
        <button
          type="button"
          className="button"
          aria-pressed={look.overlay}
          title="O"
          onClick={() => setLook({ ...look, overlay: !look.overlay })}
        >
          Overlay
        </button>
        <button
          type="button"
          className="button"
          title="0"
          onClick={() => setLook({ ...look, zoom: 1, x: 0, y: 0 })}
        >
          Fit
        </button>
        <button
          type="button"
          className="button"
          title="←"
          onClick={() => move(-1)}
          aria-label="Previous case"
        >
          ←
        </button>
        <button type="button" className="button" title="→" onClick={() => move(1)} aria-label="Next case">
          →
        </button>
        <span className="row small wrap" style={{ flexBasis: '100%', gap: 12 }}>
          {classes.map((name, i) => (
            <label key={name} className="row" style={{ gap: 4 }}>
              <input
                type="checkbox"
                checked={!look.hidden.has(i + 1)}
                onChange={() => setLook({ ...look, hidden: toggled(look.hidden, i + 1) })}
              />
              <span>
                <span className="swatch" style={{ background: rgbText(classColor(i + 1)) }} />
                {name}
              </span>
            </label>
          ))}
          <span className="muted">|</span>
          {(['tp', 'fp', 'fn'] as const).map((k) => (
            <span key={k}>
              <span className="swatch" style={{ background: rgbText(DIFFERENCE_COLORS[k]) }} />
              {k === 'tp' ? 'both' : k === 'fp' ? 'prediction only (FP)' : 'ground truth only (FN), hatched'}
            </span>
          ))}
        </span>
      </div>
      {error !== null && <ErrorNote error={error} />}
      <div
        className="views"
        tabIndex={0}
        role="application"
        aria-label="Image, ground truth, prediction and difference. Arrow keys change the case, question mark lists the keys"
        onKeyDown={onKey}
        onKeyUp={(e) => e.code === 'KeyI' && setRaw(false)}
        data-testid="views"
      >
        {one !== null && base !== null && base.width === one.width && base.height === one.height ? (
          <Views
            base={base}
            prediction={predictionLabels(one.prediction, one.kind, threshold)}
            look={raw ? { ...look, overlay: false } : look}
            onLook={setLook}
            id={one.id}
          />
        ) : (
          <div className="view">
            <span className="name">{id === null ? 'Choose a case' : 'Reading…'}</span>
          </div>
        )}
      </div>
    </section>
  );
}

function toggled(set: ReadonlySet<number>, label: number): ReadonlySet<number> {
  const next = new Set(set);
  if (!next.delete(label)) next.add(label);
  return next;
}

type Change = 'next' | 'previous' | 'raw' | ((look: Look) => Look);

/** By `event.code`, so that letters work under every layout and input method. */
function actionOf(code: string, letters: boolean): Change | null {
  if (code === 'ArrowRight') return 'next';
  if (code === 'ArrowLeft') return 'previous';
  if (!letters) return null;
  const digit = /^Digit([1-9])$/.exec(code)?.[1];
  if (digit !== undefined) return (l) => ({ ...l, hidden: toggled(l.hidden, Number(digit)) });
  const show =
    (key: keyof Look['shown']): Change =>
    (l) => ({ ...l, shown: { ...l.shown, [key]: !l.shown[key] } });
  switch (code) {
    case 'KeyJ':
      return 'next';
    case 'KeyK':
      return 'previous';
    case 'KeyI':
      return 'raw';
    case 'KeyO':
      return (l) => ({ ...l, overlay: !l.overlay });
    case 'KeyC':
      return (l) => ({ ...l, mode: l.mode === 'fill' ? 'outline' : 'fill' });
    case 'KeyG':
      return show('truth');
    case 'KeyP':
      return show('prediction');
    case 'KeyD':
      return show('difference');
    case 'BracketLeft':
      return (l) => ({ ...l, opacity: Math.max(0, l.opacity - 0.1) });
    case 'BracketRight':
      return (l) => ({ ...l, opacity: Math.min(1, l.opacity + 0.1) });
    case 'Equal':
    case 'NumpadAdd':
      return (l) => ({ ...l, zoom: Math.min(16, l.zoom * 1.25) });
    case 'Minus':
    case 'NumpadSubtract':
      return (l) => ({ ...l, zoom: Math.max(0.5, l.zoom / 1.25) });
    case 'KeyF':
    case 'Digit0':
      return (l) => ({ ...l, zoom: 1, x: 0, y: 0 });
    default:
      return null;
  }
}

interface ViewsProps {
  readonly base: OriginalSample;
  readonly prediction: Uint8Array;
  readonly look: Look;
  readonly onLook: (change: (look: Look) => Look) => void;
  readonly id: string;
}

function Views({ base, prediction, look, onLook, id }: ViewsProps): ReactNode {
  const { width, height } = base;
  const { opacity, mode, hidden, overlay, shown } = look;
  const views = useMemo(() => {
    const style = { opacity, mode, hidden };
    const image = rgbToRgba(base.image);
    const truth = image.slice();
    const predicted = image.slice();
    const difference = image.slice();
    if (overlay && shown.truth) paintMask(truth, base.mask, width, height, style);
    if (overlay && shown.prediction) paintMask(predicted, prediction, width, height, style);
    if (overlay && shown.difference) paintDifference(difference, prediction, base.mask, width, opacity);
    return [
      ['Image', image],
      ['Ground truth', truth],
      ['Prediction', predicted],
      ['Difference', difference],
    ] as const;
  }, [base, prediction, width, height, opacity, mode, hidden, overlay, shown]);
  return views.map(([name, pixels]) => (
    <Pane
      key={name}
      name={name}
      width={width}
      height={height}
      pixels={pixels}
      look={look}
      onLook={onLook}
      label={`${id}: ${name.toLowerCase()}`}
    />
  ));
}

function Pane({
  name,
  width,
  height,
  pixels,
  look,
  onLook,
  label,
}: {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8ClampedArray<ArrayBuffer>;
  readonly look: Look;
  readonly onLook: (change: (look: Look) => Look) => void;
  readonly label: string;
}): ReactNode {
  const box = useRef<HTMLDivElement>(null);
  const [fit, setFit] = useState(1);
  const drag = useRef<{ readonly x: number; readonly y: number } | null>(null);
  useEffect(() => {
    const el = box.current;
    if (el === null) return;
    const observer = new ResizeObserver(() =>
      setFit(Math.min((el.clientWidth - 8) / width, (el.clientHeight - 8) / height)),
    );
    observer.observe(el);
    // Not React's onWheel: that one is passive and the page would scroll.
    const wheel = (e: WheelEvent): void => {
      e.preventDefault();
      onLook((l) => ({ ...l, zoom: Math.min(16, Math.max(0.5, l.zoom * (e.deltaY < 0 ? 1.15 : 1 / 1.15))) }));
    };
    el.addEventListener('wheel', wheel, { passive: false });
    return () => {
      observer.disconnect();
      el.removeEventListener('wheel', wheel);
    };
  }, [width, height, onLook]);
  const scale = Math.max(0.05, fit * look.zoom);
  return (
    <div
      className="view"
      ref={box}
      onPointerDown={(e) => {
        drag.current = { x: e.clientX, y: e.clientY };
        e.currentTarget.setPointerCapture(e.pointerId);
      }}
      onPointerMove={(e) => {
        const from = drag.current;
        if (from === null) return;
        drag.current = { x: e.clientX, y: e.clientY };
        onLook((l) => ({ ...l, x: l.x + e.clientX - from.x, y: l.y + e.clientY - from.y }));
      }}
      onPointerUp={() => {
        drag.current = null;
      }}
    >
      <span className="name">{name}</span>
      <Picture
        width={width}
        height={height}
        pixels={pixels}
        label={label}
        style={{
          width: width * scale,
          height: height * scale,
          marginLeft: (-width * scale) / 2 + look.x,
          marginTop: (-height * scale) / 2 + look.y,
        }}
      />
    </div>
  );
}
