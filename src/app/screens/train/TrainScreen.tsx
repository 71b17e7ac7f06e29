/**
 * @file Train: configuration on the left; the estimate, live curves and live masks on the right.
 */
import { useState, type ReactNode } from 'react';
import { memoryParts } from '../../../training/memoryParts';
import type { Estimate } from '../../../worker/protocol';
import { describeMetric } from '../../../metrics/definitions';
import { formatBytes } from '../../../lib/bytes';
import { ErrorNote, Empty, Figure } from '../../components/basics';
import { compact, count, dateText, duration, fixed, milliseconds } from '../../format';
import { href } from '../../router';
import { useConfig } from '../../state/configStore';
import { useDataset } from '../../state/datasetStore';
import { useDevice } from '../../state/deviceStore';
import { useTraining } from '../../state/trainingStore';
import { trainingBlocked } from './blocked';
import { ConfigPanel } from './ConfigPanel';
import { Curves } from './Curves';
import { LivePanels } from './LivePanels';
import './train.css';
import '../data/data.css';

export function TrainScreen(): ReactNode {
  const status = useTraining((s) => s.status);
  const hasRun = useTraining((s) => s.runId !== null);
  const active = !['idle', 'ended', 'failed'].includes(status);
  return (
    <div className="train-screen">
      <ConfigPanel locked={active} />
      <div className="stack" style={{ minWidth: 0 }}>
        <Notices />
        {hasRun && <Numbers />}
        {!hasRun || status === 'ended' || status === 'failed' ? <Before /> : null}
        {hasRun ? (
          <>
            <LiveCurves />
            <LivePanels />
            <Log />
          </>
        ) : (
          <section className="panel">
            <Empty title="No run yet">
              Press “Start training”: curves, validation masks and the log appear here while it learns.
            </Empty>
          </section>
        )}
      </div>
    </div>
  );
}

function LiveCurves(): ReactNode {
  const series = useTraining((s) => s.series);
  const best = useTraining((s) => s.best);
  return <Curves series={series} best={best} />;
}

function Notices(): ReactNode {
  const t = useTraining();
  const device = useDevice();
  const [more, setMore] = useState(10);
  const [note, setNote] = useState<string | null>(null);
  const shown = t.device ?? device.device;
  return (
    <>
      {t.resumable !== null && (t.status === 'idle' || t.status === 'failed') && (
        <div className="note accent" role="status">
          <strong>“{t.resumable.name}” was cut off.</strong> Its last checkpoint is from epoch{' '}
          {t.resumable.checkpoint.epoch}, step {t.resumable.checkpoint.step} (
          {dateText(t.resumable.checkpoint.savedAt)}).
          <div className="row" style={{ marginTop: 6 }}>
            <button
              type="button"
              className="button primary"
              onClick={() => t.resumable !== null && void t.resume(t.resumable.runId)}
            >
              Resume
            </button>
            <button type="button" className="button" onClick={t.dismissResumable}>
              Leave it
            </button>
          </div>
        </div>
      )}
      {t.recovery !== null && (
        <div className="note warning" role="status">
          <strong>{t.recovery.message}</strong>
          <div className="muted">
            Attempt {t.recovery.attempt} at {new Date(t.recovery.nextAt).toLocaleTimeString()}; the run goes
            on from its last checkpoint.
          </div>
        </div>
      )}
      {t.status === 'watching' && (
        <div className="note accent">
          Another tab trains this run; this one shows it live and changes nothing.
        </div>
      )}
      {t.error !== null && (
        <ErrorNote error={t.error}>
          {t.lastCheckpoint !== null && t.status === 'failed' && t.runId !== null && (
            <button
              type="button"
              className="button"
              onClick={() => t.runId !== null && void t.resume(t.runId)}
            >
              Resume from epoch {t.lastCheckpoint.epoch}, step {t.lastCheckpoint.step}
            </button>
          )}
        </ErrorNote>
      )}
      {device.error !== null && <ErrorNote error={device.error} />}
      {shown !== null && shown.backend !== 'webgpu' && t.runId === null && (
        <div className="note small">
          <strong>{shown.name}.</strong> {shown.reason}
        </div>
      )}
      {t.status === 'ended' && t.runId !== null && (
        <div className="note" role="status">
          <strong>
            {t.endReason === 'completed'
              ? 'Completed'
              : t.endReason === 'early-stopped'
                ? 'Stopped early: validation Dice no longer rises'
                : 'Stopped'}{' '}
            {t.endReason === 'stopped' ? `in epoch ${t.epoch}, at step ${t.step}` : `after epoch ${t.epoch}`}.
          </strong>{' '}
          {t.best !== null && (
            <>
              Best validation Dice {fixed(t.best.dice)} at epoch {t.best.epoch}.
            </>
          )}
          <div className="row wrap" style={{ marginTop: 6 }}>
            <a className="button" href={href('inspect', { run: t.runId })}>
              Test this run
            </a>
            <a className="button" href={href('runs')}>
              Export
            </a>
            <span className="row small">
              <input
                className="input"
                style={{ width: 64 }}
                type="number"
                min={1}
                value={more}
                aria-label="More epochs"
                onChange={(e) => setMore(Math.max(1, Number(e.target.value)))}
              />
              more epochs
              <button
                type="button"
                className="button"
                onClick={() => {
                  if (t.runId !== null) void t.continuationNote(t.runId, t.epoch + more).then(setNote);
                }}
              >
                Continue…
              </button>
            </span>
          </div>
          {note !== null && (
            <div className="stack tight" style={{ marginTop: 8 }}>
              <p>{note}</p>
              <div className="row">
                <button
                  type="button"
                  className="button primary"
                  onClick={() => {
                    setNote(null);
                    if (t.runId !== null) void t.resume(t.runId, undefined, t.epoch + more);
                  }}
                >
                  Train {count(more, 'more epoch', 'more epochs')}
                </button>
                <button type="button" className="button" onClick={() => setNote(null)}>
                  Cancel
                </button>
              </div>
            </div>
          )}
        </div>
      )}
    </>
  );
}

function Before(): ReactNode {
  const t = useTraining();
  const data = useDataset();
  const config = useConfig((s) => s.config);
  const blocked = trainingBlocked(data, config);
  const e = t.estimate;
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Before the start</h2>
        <button
          type="button"
          className="button"
          disabled={t.estimating || blocked !== null || t.status === 'starting'}
          title={blocked ?? 'Plans the memory from a recording, then runs one step and measures it'}
          onClick={() => void t.runEstimate()}
        >
          {t.estimating ? 'Measuring one step…' : 'Estimate memory and time'}
        </button>
      </header>
      <div className="body stack tight">
        {blocked !== null && (
          <p>
            {blocked}. <a href={href('data')}>Open Data</a>
          </p>
        )}
        {data.split !== null && (
          <p className="muted">
            {data.split.train.length} train, {data.split.val.length} validation, {data.split.test.length} test
            ({data.split.notes.join('; ')})
          </p>
        )}
        {t.estimating && t.estimateNote !== null && <p className="muted">{t.estimateNote}</p>}
        {e !== null && (
          <>
            <div className="figures">
              <Figure label="Step" value={milliseconds(e.stepMs)} title="One optimiser step, measured" />
              <Figure
                label="Per epoch"
                value={duration(e.perEpochSeconds)}
                title="All training steps and the validation"
              />
              <Figure label="All epochs" value={duration(e.totalSeconds)} />
              <Figure
                label={e.planned === null ? 'Memory, measured' : 'GPU memory, planned'}
                value={formatBytes(e.planned?.bytes ?? e.peakBytes)}
                title={memoryTitle(e)}
              />
              <Figure label="Parameters" value={e.parameterCount.toLocaleString()} />
              <Figure
                label="Checkpoint"
                value={formatBytes(e.checkpointBytes)}
                title="Weights and optimiser state"
              />
            </div>
            {e.planned !== null &&
              e.recomputedBytes !== null &&
              e.recomputedBytes < 0.9 * e.planned.bytes && (
                <p className="muted">
                  With training.recompute=blocks: {formatBytes(e.recomputedBytes)}, for about a third more
                  time.
                </p>
              )}
            {e.fittingBatchSize !== null && (
              <p className="note warning">
                The batch size does not fit into memory; {e.fittingBatchSize} does. Set training.batch_size=
                {e.fittingBatchSize}.
              </p>
            )}
          </>
        )}
      </div>
    </section>
  );
}

/** What the memory figure says, and how it was found. */
function memoryTitle({ planned, peakBytes }: Estimate): string {
  if (planned === null) {
    return 'Held by the backend after one step, beyond what it held before; this backend records no steps, so nothing is known earlier';
  }
  return (
    `Peak of the whole run, validation included, known from its recorded steps before anything ran: ${memoryParts(planned)}. ` +
    `No order of buffers can do with less than ${formatBytes(planned.lowerBound)}. ` +
    `Measured after one step, with what TensorFlow.js keeps: ${formatBytes(peakBytes)}`
  );
}

function Numbers(): ReactNode {
  const t = useTraining();
  const s = t.latest;
  const epochs = t.config?.training.num_epochs ?? 0;
  const convention = t.config?.evaluation.convention ?? 'framework';
  const last = t.series.epochs.at(-1)?.metrics;
  return (
    <section className="panel">
      <header>
        <h2 className="ellipsis">{t.runName ?? 'Run'}</h2>
        <span className="chip">{t.status}</span>
        <span className="grow" />
        {t.validating !== null && (
          <span className="muted small">
            validating {t.validating.done} of {t.validating.total}
          </span>
        )}
        {t.lastCheckpoint !== null && (
          <span
            className="chip"
            title={`${formatBytes(t.lastCheckpoint.bytes)}, verified, ${dateText(t.lastCheckpoint.savedAt)}`}
          >
            checkpoint: epoch {t.lastCheckpoint.epoch}, step {t.lastCheckpoint.step}
          </span>
        )}
      </header>
      <div className="body stack tight">
        <div className="figures" data-testid="numbers">
          <Figure label="Epoch" value={`${t.epoch} / ${epochs}`} title="Epochs completed" />
          <Figure label="Step" value={t.step} title="Optimiser steps done" />
          <Figure label="Train loss" value={s === null ? '–' : fixed(s.loss)} title="Of the last step" />
          <Figure
            label="Validation Dice"
            value={fixed(last?.['val/dice'])}
            title={describeMetric('dice', convention)}
          />
          <Figure
            label="Validation IoU"
            value={fixed(last?.['val/iou'])}
            title={describeMetric('iou', convention)}
          />
          <Figure
            label="Best Dice"
            value={t.best === null ? '–' : `${fixed(t.best.dice)} @ ${t.best.epoch}`}
            title="Highest validation Dice and its epoch"
          />
          <Figure label="Learning rate" value={s === null ? '–' : compact(s.lr)} />
          <Figure label="Step time" value={s === null ? '–' : milliseconds(s.stepMs)} />
          <Figure
            label="Images/s"
            value={s === null ? '–' : compact(s.imagesPerSecond)}
            title="Training images per second, last step"
          />
          <Figure label="Time left" value={duration(t.etaSeconds)} title="From the last epochs' mean" />
          <Figure
            label={t.device?.backend === 'webgpu' ? 'GPU memory' : 'Memory'}
            value={t.memory === null ? '–' : formatBytes(t.memory.poolBytes)}
            title={`Held by the backend, pools included${t.planned === null ? '' : `; planned: ${formatBytes(t.planned.bytes)}`}`}
          />
        </div>
        {s !== null && t.status === 'running' && (
          <progress aria-label="Batches of this epoch" value={s.batch} max={s.batches} />
        )}
        <span className="muted small" title={t.device?.reason}>
          {t.device?.name}
        </span>
      </div>
    </section>
  );
}

function Log(): ReactNode {
  const log = useTraining((s) => s.log);
  return (
    <details className="panel">
      <summary style={{ padding: '8px 12px' }}>Log ({log.length})</summary>
      <div className="log" tabIndex={0} role="log" aria-label="Training log">
        {log.slice(-300).map((l, i) => (
          <div key={`${l.at}-${i}`} className={l.level === 'error' ? 'chip error' : ''}>
            <span className="muted">{new Date(l.at).toLocaleTimeString()}</span> {l.message}
          </div>
        ))}
      </div>
    </details>
  );
}
