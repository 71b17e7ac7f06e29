/**
 * @file Continue a finished run with more epochs; says first what that does to the learning rate.
 */
import { useEffect, useState, type ReactNode } from 'react';
import { toPlainError } from '../../../lib/errors';
import { Dialog } from '../../components/basics';
import { count } from '../../format';
import { useTraining } from '../../state/trainingStore';
import type { RunRecord } from '../../state/types';

export function Continue({
  run,
  onClose,
  onContinue,
}: {
  readonly run: RunRecord | null;
  readonly onClose: () => void;
  readonly onContinue: (epochs: number) => void;
}): ReactNode {
  const describe = useTraining((s) => s.continuationNote);
  const [epochs, setEpochs] = useState(10);
  const [note, setNote] = useState('');
  const id = run?.id ?? null;
  // The store counts in total epochs.
  const total = (run?.epoch ?? 0) + epochs;
  useEffect(() => {
    if (id === null) return;
    let current = true;
    describe(id, total).then(
      (text) => current && setNote(text),
      (e: unknown) => current && setNote(toPlainError(e).message),
    );
    return () => {
      current = false;
    };
  }, [id, total, describe]);
  return (
    <Dialog title="Continue training" open={run !== null} onClose={onClose}>
      <div className="stack" style={{ maxWidth: 460 }}>
        <label className="row">
          More epochs
          <input
            className="input"
            style={{ width: 80 }}
            type="number"
            min={1}
            value={epochs}
            data-autofocus
            onChange={(e) => setEpochs(Math.max(1, Math.round(Number(e.target.value)) || 1))}
          />
        </label>
        <p>{note}</p>
        <div className="row" style={{ justifyContent: 'flex-end' }}>
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button type="button" className="button primary" onClick={() => onContinue(epochs)}>
            Train {count(epochs, 'more epoch', 'more epochs')}
          </button>
        </div>
      </div>
    </Dialog>
  );
}
