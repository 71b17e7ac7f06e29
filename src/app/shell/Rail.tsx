/**
 * @file The left rail: stations; at its foot the device, storage and the running job.
 */
import type { ReactNode } from 'react';
import { formatBytes } from '../../lib/bytes';
import { duration } from '../format';
import { href, type Station } from '../router';
import { useDevice } from '../state/deviceStore';
import { useTraining } from '../state/trainingStore';

const ICONS: Readonly<Record<Station, string>> = {
  data: 'M2 4h5l1.5 2H14v7H2zM2 4v9',
  train: 'M2 13h12M2 13V3M4 11c2-1 2-5 4-5s3-2 6-3',
  inspect:
    'M2 8s2.5-4.5 6-4.5S14 8 14 8s-2.5 4.5-6 4.5S2 8 2 8zM8 6.2a1.8 1.8 0 1 0 0 3.6a1.8 1.8 0 0 0 0-3.6',
  runs: 'M2 4h12M2 8h12M2 12h12M5 2.5v3M10 6.5v3M7 10.5v3',
  device: 'M4 4h8v8H4zM6.5 2v2M9.5 2v2M6.5 12v2M9.5 12v2M2 6.5h2M2 9.5h2M12 6.5h2M12 9.5h2',
};
const LABELS: Readonly<Record<Station, string>> = {
  data: 'Data',
  train: 'Train',
  inspect: 'Inspect',
  runs: 'Runs',
  device: 'Device',
};

export function Rail({ station }: { readonly station: Station }): ReactNode {
  return (
    <aside className="rail">
      <div className="brand">
        <img src="./icon.svg" width="20" height="20" alt="" />
        <span>
          TinyUSFM
          <br />
          Studio
        </span>
      </div>
      <nav aria-label="Stations">
        {(Object.keys(LABELS) as Station[]).map((s) => (
          <a key={s} href={href(s)} aria-current={s === station ? 'page' : undefined}>
            <svg
              viewBox="0 0 16 16"
              fill="none"
              stroke="currentColor"
              strokeWidth="1.3"
              strokeLinejoin="round"
              aria-hidden="true"
            >
              <path d={ICONS[s]} />
            </svg>
            {LABELS[s]}
          </a>
        ))}
      </nav>
      <Foot />
    </aside>
  );
}

function Foot(): ReactNode {
  const { device, storage, status, memory } = useDevice();
  const trained = useTraining((s) => s.memory);
  const used = trained ?? memory;
  return (
    <div className="foot">
      <Job />
      <div title={device?.reason}>
        <b>{device?.name ?? (status === 'error' ? 'No device' : 'Starting…')}</b>
        {device !== null && (used === null ? device.backend : `${formatBytes(used.poolBytes)} held`)}
      </div>
      {storage !== null && (
        <div title="What this site keeps in the browser: runs, checkpoints, weights">
          <b>Storage</b>
          {formatBytes(storage.usage)}
        </div>
      )}
    </div>
  );
}

function Job(): ReactNode {
  const { status, epoch, config, latest, etaSeconds, runName } = useTraining();
  if (status === 'idle' || status === 'ended' || status === 'failed') return null;
  const epochs = config?.training.num_epochs ?? 1;
  const inEpoch = latest === null || latest.epoch <= epoch ? 0 : latest.batch / latest.batches;
  return (
    <a href={href('train')} style={{ color: 'inherit', textDecoration: 'none' }}>
      <b className="ellipsis">{runName ?? 'Training'}</b>
      {status} · epoch {Math.min(epochs, epoch + 1)}/{epochs}
      <progress aria-label="Training progress" value={epoch + inEpoch} max={epochs} />
      {etaSeconds !== null && <span>{duration(etaSeconds)} left</span>}
    </a>
  );
}
