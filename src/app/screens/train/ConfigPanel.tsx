/**
 * @file The configuration as a form, as text and as overrides: three views of one list.
 */
import { memo, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { familyOf, fields, type Field } from '../../../config/fields';
import { configFiles } from '../../../config/files';
import { resolveConfig } from '../../../config/resolve';
import { getPath, type Tree } from '../../../config/tree';
import { formatBytes } from '../../../lib/bytes';
import { ErrorNote, Dialog } from '../../components/basics';
import { useConfig } from '../../state/configStore';
import { useTraining } from '../../state/trainingStore';

export const ConfigPanel = memo(function ConfigPanel({ locked }: { readonly locked: boolean }): ReactNode {
  const config = useConfig();
  const [view, setView] = useState<'form' | 'text'>('form');
  return (
    <section className="panel config-panel" aria-label="Configuration">
      <header>
        <h2 className="grow">Configuration</h2>
        <button
          type="button"
          className="button quiet small"
          onClick={() => config.reset()}
          disabled={locked}
          title="Back to the model's recipe"
        >
          Reset
        </button>
        <div className="tabs">
          {(['form', 'text'] as const).map((v) => (
            <button key={v} type="button" aria-pressed={view === v} onClick={() => setView(v)}>
              {v === 'form' ? 'Form' : 'Text'}
            </button>
          ))}
        </div>
      </header>
      <div className="scroll" tabIndex={0} role="region" aria-label="Settings">
        <fieldset disabled={locked} style={{ border: 'none', margin: 0, padding: 0, minWidth: 0 }}>
          {config.error !== null && (
            <div style={{ paddingTop: 10 }}>
              <ErrorNote error={config.error} />
            </div>
          )}
          {view === 'form' ? <Form /> : <Text />}
        </fieldset>
      </div>
    </section>
  );
});

function Form(): ReactNode {
  const { config, models, setModel } = useConfig();
  const groups = useMemo(() => {
    const family = familyOf(config?.model.name ?? '');
    const out = new Map<string, Field[]>();
    for (const f of fields) {
      if (
        f.hidden === true ||
        (f.families !== undefined && !f.families.includes(family)) ||
        f.group === 'Data'
      )
        continue;
      out.set(f.group, [...(out.get(f.group) ?? []), f]);
    }
    return out;
  }, [config?.model.name]);
  const defaults = useMemo((): Tree | null => {
    try {
      return config === null
        ? null
        : (resolveConfig(configFiles, 'train', [`model=${config.model.name}`]).config as unknown as Tree);
    } catch {
      return null;
    }
  }, [config]);
  if (config === null) return <p className="muted">Fix the error above to see the form.</p>;
  return (
    <>
      <div className="stack tight" style={{ padding: '10px 0' }}>
        <label className="field-label">
          Model
          <select
            className="input"
            value={config.model.name}
            onChange={(e) => setModel(e.target.value)}
            data-testid="model-select"
          >
            {models.map((m) => (
              <option key={m.name} value={m.name}>
                {m.title}
              </option>
            ))}
          </select>
        </label>
        <Pretrained />
        <Overrides />
      </div>
      {[...groups].map(([name, list]) => (
        <Group key={name} name={name} list={list} tree={config as unknown as Tree} defaults={defaults} />
      ))}
    </>
  );
}

function Group({
  name,
  list,
  tree,
  defaults,
}: {
  readonly name: string;
  readonly list: readonly Field[];
  readonly tree: Tree;
  readonly defaults: Tree | null;
}): ReactNode {
  const basic = list.filter((f) => f.advanced !== true);
  const more = list.filter((f) => f.advanced === true);
  const isChanged = (f: Field): boolean =>
    defaults !== null && JSON.stringify(getPath(defaults, f.path)) !== JSON.stringify(getPath(tree, f.path));
  const changed = list.filter(isChanged).length;
  return (
    <details className="config-group" open={['Run', 'Model', 'Training'].includes(name)}>
      <summary>
        {name} {changed > 0 && <span className="chip">{changed} changed</span>}
      </summary>
      {basic.map((f) => (
        <FieldRow key={f.path} field={f} value={getPath(tree, f.path)} changed={isChanged(f)} />
      ))}
      {more.length > 0 && (
        <details>
          <summary className="muted small">More</summary>
          {more.map((f) => (
            <FieldRow key={f.path} field={f} value={getPath(tree, f.path)} changed={isChanged(f)} />
          ))}
        </details>
      )}
    </details>
  );
}

function FieldRow({
  field,
  value,
  changed,
}: {
  readonly field: Field;
  readonly value: unknown;
  readonly changed: boolean;
}): ReactNode {
  const reset = useConfig((s) => s.reset);
  const label = `${field.label}${field.unit === undefined ? '' : ` (${field.unit})`}`;
  return (
    <div className={`config-field ${changed ? 'changed' : ''}`} title={`${field.help}\n${field.path}`}>
      <span className="name small">{label}</span>
      <FieldInput field={field} value={value} label={label} />
      {changed ? (
        <button
          type="button"
          className="button quiet small"
          style={{ padding: 0 }}
          aria-label={`Reset ${field.label}`}
          title="Back to the recipe's value"
          onClick={() => reset(field.path)}
        >
          ↺
        </button>
      ) : (
        <span />
      )}
    </div>
  );
}

/** Shown text of a value; what is typed is read the same way. */
function shown(value: unknown): string {
  if (value === null || value === undefined) return '';
  return Array.isArray(value) ? value.join(', ') : String(value);
}

function parse(field: Field, text: string): unknown {
  const t = text.trim();
  if (t === '' && field.nullable === true) return null;
  if (field.words?.includes(t) === true) return t;
  if (field.type.kind === 'number') return t === '' ? t : Number(t);
  if (field.type.kind === 'numbers')
    return t
      .split(/[\s,]+/)
      .filter((x) => x !== '')
      .map(Number);
  return t;
}

function FieldInput({
  field,
  value,
  label,
}: {
  readonly field: Field;
  readonly value: unknown;
  readonly label: string;
}): ReactNode {
  const setValue = useConfig((s) => s.setValue);
  const [draft, setDraft] = useState<string | null>(null);
  const [wrong, setWrong] = useState(false);
  useEffect(() => {
    setDraft(null);
    setWrong(false);
  }, [value]);
  if (field.type.kind === 'boolean') {
    return (
      <input
        type="checkbox"
        aria-label={label}
        checked={value === true}
        onChange={(e) => setValue(field.path, e.target.checked)}
      />
    );
  }
  if (field.type.kind === 'choice') {
    return (
      <select
        className="input"
        aria-label={label}
        value={shown(value)}
        onChange={(e) => setValue(field.path, e.target.value)}
      >
        {field.type.options.map((o) => (
          <option key={o}>{o}</option>
        ))}
      </select>
    );
  }
  const commit = (): void => {
    if (draft === null || draft === shown(value)) return;
    const ok = setValue(field.path, parse(field, draft));
    setWrong(!ok);
    if (ok) setDraft(null);
  };
  return (
    <input
      className={`input ${wrong ? 'wrong' : ''}`}
      aria-label={label}
      aria-invalid={wrong}
      inputMode={field.type.kind === 'number' ? 'decimal' : 'text'}
      placeholder={field.nullable === true ? 'off' : undefined}
      value={draft ?? shown(value)}
      onChange={(e) => setDraft(e.target.value)}
      onBlur={commit}
      onKeyDown={(e) => e.key === 'Enter' && commit()}
    />
  );
}

function Text(): ReactNode {
  const { text, setText } = useConfig();
  const [draft, setDraft] = useState<string | null>(null);
  return (
    <div className="stack tight" style={{ paddingTop: 10 }}>
      <textarea
        className="input"
        style={{ minHeight: 420 }}
        spellCheck={false}
        aria-label="Configuration as YAML"
        value={draft ?? text}
        onChange={(e) => setDraft(e.target.value)}
      />
      <div className="row">
        <button
          type="button"
          className="button"
          disabled={draft === null || draft === text}
          onClick={() => draft !== null && setText(draft) && setDraft(null)}
        >
          Apply
        </button>
        <button
          type="button"
          className="button quiet"
          disabled={draft === null}
          onClick={() => setDraft(null)}
        >
          Discard
        </button>
      </div>
    </div>
  );
}

function Overrides(): ReactNode {
  const { overrides, applyOverrides } = useConfig();
  const [draft, setDraft] = useState('');
  return (
    <form
      className="stack tight"
      onSubmit={(e) => {
        e.preventDefault();
        if (draft.trim() !== '' && applyOverrides(draft)) setDraft('');
      }}
    >
      <label className="field-label" title="As on the command line; several separated by spaces">
        Override
        <input
          className="input mono"
          placeholder="training.base_lr=3e-4"
          value={draft}
          onChange={(e) => setDraft(e.target.value)}
          data-testid="override-input"
        />
      </label>
      {overrides.length > 0 && (
        <details>
          <summary className="muted small">{overrides.length} overrides in force</summary>
          <pre
            className="mono"
            style={{ margin: '4px 0 0', whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}
          >
            {overrides.join('\n')}
          </pre>
        </details>
      )}
    </form>
  );
}

function Pretrained(): ReactNode {
  const pretrained = useTraining((t) => t.pretrained);
  const setPretrained = useTraining((t) => t.setPretrained);
  const loadReport = useTraining((t) => t.loadReport);
  const input = useRef<HTMLInputElement>(null);
  const [open, setOpen] = useState(false);
  const lists =
    loadReport === null
      ? []
      : ([
          ['Loaded', loadReport.loaded],
          ['Missing: keep their initial values', loadReport.missing],
          ['In the file, not used', loadReport.unexpected],
          [
            'Reshaped',
            loadReport.reshaped.map(
              (r) => `${r.name}: [${r.from.join(', ')}] → [${r.to.join(', ')}], ${r.how}`,
            ),
          ],
          [
            'Another shape: not loaded',
            loadReport.mismatched.map(
              (r) => `${r.name}: file [${r.file.join(', ')}], model [${r.model.join(', ')}]`,
            ),
          ],
        ] as const);
  return (
    <div
      className="note small"
      onDragOver={(e) => e.preventDefault()}
      onDrop={(e) => {
        e.preventDefault();
        e.stopPropagation();
        const file = e.dataTransfer.files[0];
        if (file !== undefined) void setPretrained(file);
      }}
    >
      <div className="row between">
        <span className="ellipsis">
          {pretrained === null
            ? 'From random weights'
            : `${pretrained.fileName}, ${formatBytes(pretrained.bytes)}`}
        </span>
        <span className="row" style={{ gap: 0 }}>
          <button type="button" className="button quiet small" onClick={() => input.current?.click()}>
            {pretrained === null ? 'Pretrained weights…' : 'Other…'}
          </button>
          {pretrained !== null && (
            <button
              type="button"
              className="button quiet small"
              onClick={() => void setPretrained(null)}
              aria-label="Without pretrained weights"
            >
              ✕
            </button>
          )}
        </span>
      </div>
      {loadReport !== null && pretrained !== null && (
        <button
          type="button"
          className="button quiet small"
          style={{ padding: 0 }}
          onClick={() => setOpen(true)}
        >
          {loadReport.recognisedAs}: {loadReport.loaded.length} loaded, {loadReport.missing.length} missing,{' '}
          {loadReport.unexpected.length} unused
        </button>
      )}
      <input
        ref={input}
        type="file"
        hidden
        accept=".pth,.pt,.bin,.safetensors"
        data-testid="weights-input"
        aria-label="Pretrained weights"
        onChange={(e) => e.target.files?.[0] !== undefined && void setPretrained(e.target.files[0])}
      />
      <Dialog
        title={`What was loaded from ${loadReport?.file ?? ''}`}
        open={open}
        onClose={() => setOpen(false)}
      >
        <div className="stack">
          <p>{loadReport?.recognisedAs}</p>
          {lists.map(([title, names]) => (
            <details key={title} open={names.length > 0 && names.length < 8}>
              <summary>
                {title}: {names.length}
              </summary>
              <pre className="mono" style={{ whiteSpace: 'pre-wrap' }}>
                {names.join('\n')}
              </pre>
            </details>
          ))}
        </div>
      </Dialog>
    </div>
  );
}
