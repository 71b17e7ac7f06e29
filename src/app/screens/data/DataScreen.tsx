/**
 * @file Data: ways in, the report, problems, split, preview.
 */
import { useRef, useState, type ReactNode } from 'react';
import { Confirm, ErrorNote, ProgressLine } from '../../components/basics';
import { tryPhantom } from '../../commands/commands';
import { count } from '../../format';
import { useDataset } from '../../state/datasetStore';
import type { FolderCard } from '../../state/types';
import { PreviewGrid } from './PreviewGrid';
import { Problems } from './Problems';
import { ReportPanel } from './ReportPanel';
import { SplitPanel } from './SplitPanel';
import './data.css';

export function DataScreen(): ReactNode {
  const data = useDataset();
  const [over, setOver] = useState(false);
  const drop = {
    onDragOver: (e: React.DragEvent) => {
      e.preventDefault();
      setOver(true);
    },
    onDragLeave: () => setOver(false),
    onDrop: (e: React.DragEvent) => {
      e.preventDefault();
      setOver(false);
      void data.addDrop(e.dataTransfer);
    },
  };
  const first = data.folders.length === 0;
  return (
    <div className={`data-screen ${over ? 'dropping' : ''}`} {...drop}>
      {data.error !== null && (
        <div className="banner">
          <ErrorNote error={data.error} />
        </div>
      )}
      {first ? (
        <FirstVisit />
      ) : (
        <div className="stack">
          <Folders />
          {data.progress !== null && (
            <div className="panel">
              <div className="body">
                <ProgressLine {...data.progress} />
              </div>
            </div>
          )}
          {data.splitError !== null && <ErrorNote error={data.splitError} />}
          {data.report !== null && data.dataset !== null && (
            <div className="data-columns">
              <ReportPanel />
              <div className="stack">
                <SplitPanel />
                <Problems />
              </div>
            </div>
          )}
          {data.dataset !== null && data.dataset.samples.length > 0 && <PreviewGrid />}
        </div>
      )}
    </div>
  );
}

function Ways(): ReactNode {
  const data = useDataset();
  const folder = useRef<HTMLInputElement>(null);
  const files = useRef<HTMLInputElement>(null);
  const take = (e: React.ChangeEvent<HTMLInputElement>): void => {
    if (e.target.files !== null && e.target.files.length > 0) void data.addFiles(e.target.files);
  };
  /** Emptied first: choosing the same folder again, after a removal, is a change too. */
  const open = (input: HTMLInputElement | null): void => {
    if (input === null) return;
    input.value = '';
    input.click();
  };
  const pick = (): void => {
    if ('showDirectoryPicker' in globalThis) void data.addPicked();
    else open(folder.current);
  };
  return (
    <>
      <button type="button" className="button" onClick={pick}>
        Choose folder…
      </button>
      <button type="button" className="button" onClick={() => open(files.current)}>
        Choose zip…
      </button>
      <input
        ref={folder}
        type="file"
        hidden
        multiple
        onChange={take}
        aria-label="Folder of images and masks"
        data-testid="folder-input"
        {...{ webkitdirectory: '' }}
      />
      <input
        ref={files}
        type="file"
        hidden
        accept=".zip"
        multiple
        onChange={take}
        aria-label="Zip of images and masks"
        data-testid="zip-input"
      />
    </>
  );
}

function FirstVisit(): ReactNode {
  return (
    <div className="first-visit">
      <div className="drop-zone">
        <svg
          viewBox="0 0 64 48"
          width="88"
          height="66"
          fill="none"
          stroke="currentColor"
          strokeWidth="1.5"
          aria-hidden="true"
        >
          <path d="M4 10h18l4 5h34v28H4z" />
          <path d="M32 22v14m-6-6l6 6 6-6" />
        </svg>
        <h1>Drop a folder of images and masks</h1>
        <p className="muted">
          BUSI, BUS-BRA, BUS-UCLM, nnU-Net, images/ + masks/ and others pair by themselves. Nothing is
          uploaded.
        </p>
        <div className="row wrap" style={{ justifyContent: 'center' }}>
          <Ways />
          <button type="button" className="button primary" onClick={() => void tryPhantom()}>
            Try with phantom data
          </button>
        </div>
        <p className="muted small">
          Phantom data: generated ultrasound-like images with exact masks; trains a small model at once.
        </p>
      </div>
    </div>
  );
}

const ACCESS: Readonly<Record<FolderCard['access'], string>> = {
  ok: '',
  permission: 'the browser asks again after a reload',
  missing: 'not reachable: link it again',
};

function Folders(): ReactNode {
  const data = useDataset();
  const [removing, setRemoving] = useState<FolderCard | null>(null);
  return (
    <section className="panel">
      <header>
        <h2 className="grow">Folders</h2>
        <span className="muted small">drop more here</span>
        <Ways />
      </header>
      <table>
        <thead>
          <tr>
            <th>Name</th>
            <th>Layout</th>
            <th className="num">Files</th>
            <th>Test only</th>
            <th>
              <span className="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {data.folders.map((f) => (
            <tr key={f.id}>
              <td>
                <input
                  className="input name"
                  aria-label="Folder name"
                  defaultValue={f.name}
                  key={f.name}
                  onKeyDown={(e) => e.key === 'Enter' && e.currentTarget.blur()}
                  onBlur={(e) =>
                    e.target.value.trim() !== '' &&
                    e.target.value !== f.name &&
                    void data.renameFolder(f.id, e.target.value.trim())
                  }
                />
              </td>
              <td>
                {f.convention ?? '–'}{' '}
                {f.access !== 'ok' && <span className="chip warning">{ACCESS[f.access]}</span>}
              </td>
              <td className="num">{f.access === 'ok' ? f.fileCount.toLocaleString() : '–'}</td>
              <td>
                <input
                  type="checkbox"
                  checked={f.testOnly}
                  aria-label={`${f.name}: external test set`}
                  title="External test set: never trained or validated on"
                  onChange={(e) => void data.setTestOnly(f.id, e.target.checked)}
                />
              </td>
              <td className="num">
                {f.access === 'permission' && (
                  <button type="button" className="button" onClick={() => void data.relink(f.id)}>
                    Allow again
                  </button>
                )}
                {f.access === 'missing' && (
                  <button type="button" className="button" onClick={() => void data.relink(f.id)}>
                    Link again…
                  </button>
                )}
                <button type="button" className="button quiet" onClick={() => setRemoving(f)}>
                  Remove
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Confirm
        open={removing !== null}
        title="Remove folder"
        action="Remove"
        onCancel={() => setRemoving(null)}
        onConfirm={() => {
          if (removing !== null) void data.removeFolder(removing.id);
          setRemoving(null);
        }}
      >
        {removing !== null && (
          <p>
            “{removing.name}” ({count(removing.fileCount, 'file')}) is taken out of the data set. The files on
            disk stay as they are.
          </p>
        )}
      </Confirm>
    </section>
  );
}
