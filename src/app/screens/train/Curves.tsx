/**
 * @file The live charts of a run. Histories stay in plain arrays; each chart draws at most 800 points per curve.
 */
import { lazy, Suspense, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import type { LiveSeries } from '../../state/types';
import type { Point } from '../../components/chart/series';

const Chart = lazy(() => import('../../components/chart/Chart').then((m) => ({ default: m.Chart })));

type Axis = 'step' | 'epoch' | 'time';
type Best = { readonly epoch: number; readonly dice: number } | null;

/** The four charts' curves over the chosen axis. */
function curvesOf(series: LiveSeries, best: Best, axis: Axis) {
  const { steps, epochs } = series;
  const stepX: number[] = [];
  let seconds = 0;
  for (const s of steps) {
    seconds += s.stepMs / 1000;
    stepX.push(axis === 'step' ? s.step : axis === 'epoch' ? s.epoch - 1 + s.batch / s.batches : seconds);
  }
  let elapsed = 0;
  const epochX = epochs.map((e) => {
    elapsed += e.metrics['time/epoch_s'] ?? 0;
    return axis === 'step' ? e.step : axis === 'epoch' ? e.epoch : elapsed;
  });
  const ofSteps = (pick: (s: LiveSeries['steps'][number]) => number): Point[] =>
    steps.map((s, i) => ({ x: stepX[i] as number, y: pick(s) }));
  const ofEpochs = (key: string): Point[] =>
    epochs.map((e, i) => ({ x: epochX[i] as number, y: e.metrics[key] ?? Number.NaN }));
  const bestAt = epochs.findIndex((e) => e.epoch === best?.epoch);
  return {
    loss: [
      { name: 'train loss', color: 'var(--run-1)', points: ofSteps((s) => s.loss) },
      { name: 'validation loss', color: 'var(--run-2)', points: ofEpochs('val/loss') },
    ],
    dice: [
      { name: 'validation Dice', color: 'var(--run-3)', points: ofEpochs('val/dice') },
      { name: 'validation IoU', color: 'var(--run-4)', points: ofEpochs('val/iou') },
    ],
    lr: [{ name: 'learning rate', color: 'var(--run-1)', points: ofSteps((s) => s.lr) }],
    time: [{ name: 'step time', color: 'var(--run-5)', points: ofSteps((s) => s.stepMs) }],
    best:
      best === null || bestAt < 0
        ? null
        : {
            x: epochX[bestAt] as number,
            y: best.dice,
            text: `best ${best.dice.toFixed(3)} @ ${best.epoch}`,
          },
  };
}

/** Each chart redraws at most this often, the four one after the other: together they would block the page for too long. */
const PERIOD_MS = 1200;

/** The latest value, taken over once per period at this slot's moment. */
function useSlot<T>(value: T, slot: number): T {
  const [shown, setShown] = useState(value);
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  }, [value]);
  useEffect(() => {
    let interval: ReturnType<typeof setInterval> | undefined;
    const take = (): void => setShown(latest.current);
    const start = setTimeout(
      () => {
        take();
        interval = setInterval(take, PERIOD_MS);
      },
      (slot * PERIOD_MS) / 4,
    );
    return () => {
      clearTimeout(start);
      clearInterval(interval);
    };
  }, [slot]);
  return shown;
}

interface LiveChartProps {
  readonly slot: number;
  readonly which: 'loss' | 'dice' | 'lr' | 'time';
  readonly series: LiveSeries;
  readonly best: Best;
  readonly axis: Axis;
  readonly smoothing: number;
}

function LiveChart({ slot, which, series, best, axis, smoothing }: LiveChartProps): ReactNode {
  const shown = useSlot(series, slot);
  // `shown` is a new object whenever its arrays grew.
  const data = useMemo(() => curvesOf(shown, best, axis), [shown, best, axis]);
  const xLabel = axis === 'time' ? 'seconds' : axis;
  switch (which) {
    case 'loss':
      return <Chart title="Loss" curves={data.loss} xLabel={xLabel} smoothing={smoothing} />;
    case 'dice':
      return <Chart title="Validation" curves={data.dice} xLabel={xLabel} best={data.best} domain={[0, 1]} />;
    case 'lr':
      return <Chart title="Learning rate" curves={data.lr} xLabel={xLabel} height={140} />;
    case 'time':
      return (
        <Chart
          title="Step time"
          unit="ms"
          curves={data.time}
          xLabel={xLabel}
          smoothing={smoothing}
          height={140}
        />
      );
  }
}

export function Curves({
  series,
  best,
}: {
  readonly series: LiveSeries;
  readonly best: { readonly epoch: number; readonly dice: number } | null;
}): ReactNode {
  const [smoothing, setSmoothing] = useState(0.6);
  const [axis, setAxis] = useState<Axis>('epoch');
  return (
    <div className="stack tight">
      <div className="row wrap small">
        <label className="row">
          Smoothing
          <input
            type="range"
            min={0}
            max={0.99}
            step={0.01}
            value={smoothing}
            onChange={(e) => setSmoothing(Number(e.target.value))}
            style={{ width: 110 }}
          />
          <input
            className="input"
            type="number"
            min={0}
            max={0.99}
            step={0.01}
            value={smoothing}
            aria-label="Smoothing weight"
            style={{ width: 64 }}
            onChange={(e) => setSmoothing(Math.min(0.99, Math.max(0, Number(e.target.value))))}
          />
        </label>
        <label className="row">
          Horizontal axis
          <select
            className="input"
            style={{ width: 90 }}
            value={axis}
            onChange={(e) => setAxis(e.target.value as Axis)}
          >
            <option>epoch</option>
            <option>step</option>
            <option>time</option>
          </select>
        </label>
      </div>
      <div className="charts">
        <Suspense fallback={<p className="muted">Loading charts…</p>}>
          {(['loss', 'dice', 'lr', 'time'] as const).map((which, slot) => (
            <LiveChart
              key={which}
              which={which}
              slot={slot}
              series={series}
              best={best}
              axis={axis}
              smoothing={smoothing}
            />
          ))}
        </Suspense>
      </div>
    </div>
  );
}
