/**
 * @file Device: what computes here and why, memory, storage, self-test, settings.
 */
import { useState, type ReactNode } from 'react';
import { formatBytes } from '../../../lib/bytes';
import { Confirm, ErrorNote } from '../../components/basics';
import { useConfig } from '../../state/configStore';
import { useDevice } from '../../state/deviceStore';
import { useRuns } from '../../state/runsStore';
import { useSettings } from '../../state/settingsStore';
import { useTraining } from '../../state/trainingStore';

export function DeviceScreen(): ReactNode {
  return (
    <div className="stack" style={{ maxWidth: 980 }}>
      <Adapter />
      <SelfTest />
      <Storage />
      <Settings />
    </div>
  );
}

function Adapter(): ReactNode {
  const { device, error, status, memory } = useDevice();
  const choice = useConfig((s) => s.config?.hardware.backend ?? 'auto');
  const setValue = useConfig((s) => s.setValue);
  const start = useDevice((s) => s.start);
  const busy = useTraining((s) => !['idle', 'ended', 'failed'].includes(s.status));
  const rows: (readonly [string, ReactNode])[] =
    device === null
      ? []
      : [
          [
            'Backend',
            device.backend === 'webgpu'
              ? 'WebGPU'
              : device.backend === 'wasm'
                ? 'WebAssembly on the CPU'
                : device.backend,
          ],
          ['Name', device.name],
          ['Why', device.reason],
          ...(device.threads === undefined ? [] : [['Threads', device.threads] as const]),
          ['WebGPU in this browser', 'gpu' in navigator ? 'offered' : 'not offered'],
          [
            'Cross-origin isolated',
            globalThis.crossOriginIsolated
              ? 'yes: WASM threads can be used'
              : 'no: WASM runs on one thread (the server must send COOP and COEP headers)',
          ],
          ...(memory === null
            ? []
            : [['Memory held', `${formatBytes(memory.poolBytes)} in ${memory.tensors} tensors`] as const]),
          ...(device.features === undefined || device.features.length === 0
            ? []
            : [['Features', device.features.join(', ')] as const]),
          ...Object.entries(device.limits ?? {}).map(
            ([k, v]) => [k, k.endsWith('Size') ? formatBytes(v) : v.toLocaleString()] as const,
          ),
        ];
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Device</h2>
        <label className="row small" title="hardware.backend">
          use
          <select
            className="input"
            style={{ width: 110 }}
            value={choice}
            disabled={busy}
            onChange={(e) => {
              if (setValue('hardware.backend', e.target.value)) void start();
            }}
          >
            <option>auto</option>
            <option>webgpu</option>
            <option>wasm</option>
          </select>
        </label>
      </header>
      <div className="body stack tight">
        {error !== null && (
          <ErrorNote error={error}>
            <button type="button" className="button" onClick={() => void start()}>
              Try again
            </button>
          </ErrorNote>
        )}
        {status === 'starting' && device === null && <p className="muted">Starting…</p>}
        <table>
          <tbody>
            {rows.map(([k, v]) => (
              <tr key={k}>
                <th scope="row" style={{ width: 220 }}>
                  {k}
                </th>
                <td style={{ overflowWrap: 'anywhere' }}>{v}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function SelfTest(): ReactNode {
  const { selfTest, runSelfTest, error } = useDevice();
  const busy = useTraining((s) => !['idle', 'ended', 'failed'].includes(s.status));
  const failed = selfTest.rows.filter((r) => !r.pass).length;
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Self-test</h2>
        {selfTest.status === 'done' && (
          <span className={`chip ${failed === 0 ? 'good' : 'error'}`}>
            {failed === 0
              ? `all ${selfTest.rows.length} within bounds`
              : `${failed} of ${selfTest.rows.length} missed`}
          </span>
        )}
        <button
          type="button"
          className="button"
          disabled={selfTest.status === 'running' || busy}
          title={busy ? 'A training is running' : undefined}
          onClick={() => void runSelfTest()}
        >
          {selfTest.status === 'running' ? 'Running…' : 'Compare with PyTorch'}
        </button>
      </header>
      <div className="body stack tight">
        <p className="muted">
          Runs small TinyUSFM and SegFormer models on this device and compares outputs, gradients and a short
          training with numbers computed by PyTorch. Relative error = largest difference over largest value.
        </p>
        {error !== null && selfTest.status === 'done' && <ErrorNote error={error} />}
        {selfTest.rows.length > 0 && (
          <table>
            <thead>
              <tr>
                <th>Case</th>
                <th>Quantity</th>
                <th className="num">Relative error</th>
                <th className="num">Bound</th>
                <th>Result</th>
              </tr>
            </thead>
            <tbody>
              {selfTest.rows.map((r) => (
                <tr key={`${r.case}${r.quantity}`}>
                  <td>{r.case}</td>
                  <td>{r.quantity}</td>
                  <td className="num mono">{r.relativeError.toExponential(1)}</td>
                  <td className="num mono">{r.bound.toExponential(0)}</td>
                  <td>{r.pass ? 'ok' : <span className="chip error">missed</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
    </section>
  );
}

function Storage(): ReactNode {
  const storage = useDevice((s) => s.storage);
  const erase = useRuns((s) => s.eraseEverything);
  const failed = useRuns((s) => s.error);
  const busy = useTraining((s) => !['idle', 'ended', 'failed'].includes(s.status));
  const [asking, setAsking] = useState(false);
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Storage in this browser</h2>
        <button
          type="button"
          className="button danger"
          disabled={busy}
          title={busy ? 'A training is running' : undefined}
          onClick={() => setAsking(true)}
        >
          Erase everything…
        </button>
      </header>
      <div className="body">
        {failed !== null && <ErrorNote error={failed} />}
        {storage === null ? (
          <p className="muted">Not known yet</p>
        ) : (
          <p>
            {formatBytes(storage.usage)} used; the browser says up to {formatBytes(storage.quota)} are
            possible.{' '}
            {storage.persisted
              ? 'It keeps them until you erase them.'
              : 'It may clear them when the disk runs full: export runs that matter.'}
          </p>
        )}
      </div>
      <Confirm
        open={asking}
        title="Erase everything"
        action="Erase everything"
        onCancel={() => setAsking(false)}
        onConfirm={() => {
          setAsking(false);
          void erase();
        }}
      >
        All runs, checkpoints, weights and remembered folders of this site are deleted from the browser. Files
        on disk stay.
      </Confirm>
    </section>
  );
}

function Settings(): ReactNode {
  const { theme, singleKeys, setTheme, setSingleKeys } = useSettings();
  return (
    <section className="panel">
      <header>
        <h2>Settings</h2>
      </header>
      <div className="body stack tight">
        <label className="row">
          Theme
          <select
            className="input"
            style={{ width: 150 }}
            value={theme}
            onChange={(e) => setTheme(e.target.value as 'system' | 'light' | 'dark')}
          >
            <option value="system">as the system</option>
            <option value="light">light</option>
            <option value="dark">dark</option>
          </select>
          <span className="muted small">Alt+M</span>
        </label>
        <label className="row">
          <input type="checkbox" checked={singleKeys} onChange={(e) => setSingleKeys(e.target.checked)} />{' '}
          Single-letter shortcuts in the case viewer (press ? for the list)
        </label>
      </div>
    </section>
  );
}
