/**
 * @file Split controls; they write to the configuration.
 */
import type { ReactNode } from 'react';
import { useConfig } from '../../state/configStore';
import { useDataset } from '../../state/datasetStore';

const SHADES = { train: '#3d5a80', val: '#4a6d83', test: '#75628a' } as const;

export function SplitPanel(): ReactNode {
  const split = useDataset((s) => s.split);
  const dataset = useDataset((s) => s.dataset);
  const config = useConfig((s) => s.config?.data.split);
  const setValue = useConfig((s) => s.setValue);
  const apply = useConfig((s) => s.applyOverrides);
  if (config === undefined || dataset === null) return null;
  const total = split === null ? 0 : split.train.length + split.val.length + split.test.length;
  const method = config.method === 'auto' ? (split?.method ?? 'ratio') : config.method;
  const share = (name: 'train' | 'val' | 'test', percent: number): void => {
    const value = Math.min(1, Math.max(0, percent / 100));
    // Shares sum to 1: training takes what is left.
    const others = name === 'val' ? config.test : config.val;
    if (name === 'train' || value + others >= 1) return;
    const train = Number((1 - value - others).toFixed(4));
    apply(`data.split.${name}=${value} data.split.train=${train}`);
  };
  const folds = dataset.foldTables;
  return (
    <section className="panel">
      <header>
        <h2>Split</h2>
        <span
          className="muted small ellipsis grow"
          style={{ textAlign: 'right' }}
          title={split?.notes.join('; ')}
        >
          {split?.notes.join('; ')}
        </span>
      </header>
      <div className="body stack">
        {split !== null && (
          <div
            className="split-bar"
            role="img"
            aria-label={`${split.train.length} train, ${split.val.length} validation, ${split.test.length} test`}
          >
            {(['train', 'val', 'test'] as const).map((name) => (
              <span
                key={name}
                style={{ flexGrow: split[name].length, flexBasis: 0, background: SHADES[name] }}
                title={`${name}: ${split[name].length} of ${total}`}
              >
                {split[name].length > 0 && `${name} ${split[name].length}`}
              </span>
            ))}
          </div>
        )}
        <div className="split-fields">
          <label className="field-label">
            Method
            <select
              className="input"
              value={config.method}
              onChange={(e) => setValue('data.split.method', e.target.value)}
            >
              <option value="auto">auto</option>
              <option value="ratio">ratio</option>
              <option value="folder">folder's own</option>
              <option value="folds" disabled={folds.length === 0}>
                official folds{folds.length === 0 ? ' (none found)' : ''}
              </option>
            </select>
          </label>
          {method === 'ratio' && (
            <>
              <label className="field-label">
                Validation %
                <input
                  className="input"
                  type="number"
                  min={0}
                  max={90}
                  step={5}
                  value={Math.round(config.val * 100)}
                  onChange={(e) => share('val', Number(e.target.value))}
                />
              </label>
              <label className="field-label">
                Test %
                <input
                  className="input"
                  type="number"
                  min={0}
                  max={90}
                  step={5}
                  value={Math.round(config.test * 100)}
                  onChange={(e) => share('test', Number(e.target.value))}
                />
              </label>
              <label className="field-label" title="Same seed, same split">
                Seed
                <input
                  className="input"
                  type="number"
                  min={0}
                  value={config.seed}
                  onChange={(e) => setValue('data.split.seed', Number(e.target.value))}
                />
              </label>
            </>
          )}
          {method === 'folds' && folds.length > 0 && (
            <>
              <label className="field-label">
                File
                <select
                  className="input"
                  value={config.fold_file ?? folds[0]?.file}
                  onChange={(e) => setValue('data.split.fold_file', e.target.value)}
                >
                  {folds.map((f) => (
                    <option key={f.file}>{f.file}</option>
                  ))}
                </select>
              </label>
              <label className="field-label">
                Fold
                <input
                  className="input"
                  type="number"
                  min={1}
                  max={folds[0]?.folds ?? 1}
                  value={config.fold}
                  onChange={(e) => setValue('data.split.fold', Number(e.target.value))}
                />
              </label>
            </>
          )}
        </div>
        {method === 'ratio' && (
          <div className="row wrap" style={{ gap: 18 }}>
            <label className="row">
              <input
                type="checkbox"
                checked={config.stratify}
                onChange={(e) => setValue('data.split.stratify', e.target.checked)}
              />{' '}
              Stratify by class
            </label>
            <label
              className="row"
              title={dataset.samples.some((s) => s.group !== null) ? undefined : 'No patients are known here'}
            >
              <input
                type="checkbox"
                checked={config.group}
                disabled={!dataset.samples.some((s) => s.group !== null)}
                onChange={(e) => setValue('data.split.group', e.target.checked)}
              />{' '}
              Keep patients together
            </label>
          </div>
        )}
      </div>
    </section>
  );
}
