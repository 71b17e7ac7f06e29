/**
 * @file The frame: rail, top bar, the station's screen.
 */
import { lazy, Suspense, useEffect, useState, type ReactNode } from 'react';
import { Palette } from './commands/Palette';
import { href, goTo, useRoute, type Station } from './router';
import { ErrorBoundary } from './shell/ErrorBoundary';
import { Rail } from './shell/Rail';
import { DataScreen } from './screens/data/DataScreen';
import { useConfig } from './state/configStore';
import { useDataset } from './state/datasetStore';
import { useTraining } from './state/trainingStore';
import { trainingBlocked } from './screens/train/blocked';

const TrainScreen = lazy(() =>
  import('./screens/train/TrainScreen').then((m) => ({ default: m.TrainScreen })),
);
const InspectScreen = lazy(() =>
  import('./screens/inspect/InspectScreen').then((m) => ({ default: m.InspectScreen })),
);
const RunsScreen = lazy(() => import('./screens/runs/RunsScreen').then((m) => ({ default: m.RunsScreen })));
const DeviceScreen = lazy(() =>
  import('./screens/device/DeviceScreen').then((m) => ({ default: m.DeviceScreen })),
);

const TITLES: Readonly<Record<Station, string>> = {
  data: 'Data',
  train: 'Train',
  inspect: 'Inspect',
  runs: 'Runs',
  device: 'Device',
};

function screenOf(station: Station): ReactNode {
  switch (station) {
    case 'data':
      return <DataScreen />;
    case 'train':
      return <TrainScreen />;
    case 'inspect':
      return <InspectScreen />;
    case 'runs':
      return <RunsScreen />;
    case 'device':
      return <DeviceScreen />;
  }
}

export function App(): ReactNode {
  const { station } = useRoute();
  useEffect(() => {
    document.title = `${TITLES[station]} – TinyUSFM Studio`;
  }, [station]);
  return (
    <div className="frame">
      <Rail station={station} />
      <div className="main">
        <TopBar station={station} />
        <main className="screen" id="screen">
          <ErrorBoundary name={station}>
            <Suspense fallback={<p className="muted">Loading…</p>}>{screenOf(station)}</Suspense>
          </ErrorBoundary>
        </main>
      </div>
      <LiveRegion />
      <Palette />
    </div>
  );
}

/** What is open, and the one next thing to do. */
function TopBar({ station }: { readonly station: Station }): ReactNode {
  const dataset = useDataset((s) => s.dataset);
  const config = useConfig((s) => s.config);
  return (
    <header className="topbar">
      <div className="what">
        <h1>{TITLES[station]}</h1>
        <span className="muted ellipsis">
          {dataset === null
            ? 'no data open'
            : `${dataset.name}, ${dataset.samples.length.toLocaleString()} samples`}
          {config !== null && station === 'train' && ` · ${config.model.name}`}
        </span>
      </div>
      <Primary station={station} />
    </header>
  );
}

function Primary({ station }: { readonly station: Station }): ReactNode {
  const training = useTraining();
  const data = useDataset();
  const config = useConfig((s) => s.config);
  const blocked = trainingBlocked(data, config);
  if (station === 'data') {
    if (data.status === 'empty') return null;
    return (
      <button
        type="button"
        className="button primary"
        disabled={blocked !== null}
        title={blocked ?? undefined}
        onClick={() => goTo('train')}
      >
        Continue to training
      </button>
    );
  }
  if (station !== 'train') {
    return training.status === 'running' ? (
      <a className="button" href={href('train')}>
        Training runs: show
      </a>
    ) : null;
  }
  switch (training.status) {
    case 'running':
      return (
        <div className="row">
          <button type="button" className="button" onClick={() => void training.stop()}>
            Stop
          </button>
          <button
            type="button"
            className="button primary"
            onClick={() => void training.pause()}
            title="Ctrl+Enter"
          >
            Pause
          </button>
        </div>
      );
    case 'paused':
      return (
        <div className="row">
          <button type="button" className="button" onClick={() => void training.stop()}>
            Stop
          </button>
          <button
            type="button"
            className="button primary"
            onClick={() => void training.continue()}
            title="Ctrl+Enter"
          >
            Resume
          </button>
        </div>
      );
    case 'starting':
    case 'pausing':
    case 'stopping':
      return <span className="muted">{training.status}…</span>;
    case 'watching':
      return <span className="chip">another tab trains this run</span>;
    default:
      return (
        <button
          type="button"
          className="button primary"
          disabled={blocked !== null}
          title={blocked ?? undefined}
          onClick={() => void training.start()}
        >
          Start training
        </button>
      );
  }
}

/** One polite sentence per epoch and per end, for screen readers. */
function LiveRegion(): ReactNode {
  const { epoch, status, series, endReason } = useTraining();
  const [text, setText] = useState('');
  useEffect(() => {
    const last = series.epochs.at(-1);
    if (status === 'ended')
      setText(`Training ${endReason ?? 'ended'} ${endReason === 'stopped' ? 'in' : 'after'} epoch ${epoch}.`);
    else if (last !== undefined)
      setText(`Epoch ${last.epoch}: validation Dice ${(last.metrics['val/dice'] ?? Number.NaN).toFixed(3)}.`);
    // Only when an epoch ends or the run does.
  }, [epoch, status, endReason, series]);
  return (
    <div className="visually-hidden" aria-live="polite">
      {text}
    </div>
  );
}
