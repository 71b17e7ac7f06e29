/**
 * @file Small building blocks. Plain props; no stores.
 */
import { useEffect, useRef, type ReactNode } from 'react';
import type { PlainError } from '../../lib/errors';

/** What happened, to which file or field, and what to do. */
export function ErrorNote({
  error,
  children,
}: {
  readonly error: PlainError;
  readonly children?: ReactNode;
}): ReactNode {
  return (
    <div className="note error" role="alert">
      <strong>{error.message}</strong>
      {error.subject !== undefined && !error.message.includes(error.subject) && (
        <div className="mono">{error.subject}</div>
      )}
      {error.hint !== undefined && <div className="muted">{error.hint}</div>}
      {error.cause !== undefined && error.cause.message !== error.message && (
        <div className="muted small">Cause: {error.cause.message}</div>
      )}
      {children !== undefined && <div className="row wrap">{children}</div>}
    </div>
  );
}

/** A native modal dialog; Esc and the close button call onClose. */
export function Dialog({
  title,
  open,
  onClose,
  children,
  wide = false,
}: {
  readonly title: string;
  readonly open: boolean;
  readonly onClose: () => void;
  readonly children: ReactNode;
  readonly wide?: boolean;
}): ReactNode {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (dialog === null) return;
    if (open && !dialog.open) {
      dialog.showModal();
      // React does not write the autofocus attribute that showModal looks for: without this, Close has the focus.
      dialog.querySelector<HTMLElement>('[data-autofocus]')?.focus();
    }
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    <dialog
      ref={ref}
      onClose={onClose}
      aria-label={title}
      style={wide ? { width: 'min(1180px, 94vw)', maxWidth: 'none' } : { minWidth: 380 }}
    >
      <div className="head">
        <h1>{title}</h1>
        <button type="button" className="button quiet" onClick={onClose} aria-label="Close">
          ✕
        </button>
      </div>
      <div className="content">{open && children}</div>
    </dialog>
  );
}

export function Empty({
  title,
  children,
}: {
  readonly title: string;
  readonly children?: ReactNode;
}): ReactNode {
  return (
    <div className="empty">
      <div>
        <h1>{title}</h1>
        <p className="muted" style={{ maxWidth: 460, marginTop: 6 }}>
          {children}
        </p>
      </div>
    </div>
  );
}

export function ProgressLine({
  done,
  total,
  label,
}: {
  readonly done: number;
  readonly total: number | null;
  readonly label: string;
}): ReactNode {
  return (
    <div className="stack tight" role="status">
      <div className="row between small">
        <span>{label}</span>
        <span className="muted">
          {total === null ? done.toLocaleString() : `${done.toLocaleString()} of ${total.toLocaleString()}`}
        </span>
      </div>
      <progress aria-label={label} {...(total === null ? {} : { value: done, max: Math.max(1, total) })} />
    </div>
  );
}

/** A number with its unit; the definition on hover. */
export function Figure({
  label,
  value,
  title,
}: {
  readonly label: string;
  readonly value: ReactNode;
  readonly title?: string;
}): ReactNode {
  return (
    <div className="figure" title={title}>
      <span className="muted small">{label}</span>
      <b>{value}</b>
    </div>
  );
}

/** Asks before something that cannot be undone. */
export function Confirm({
  open,
  title,
  action,
  onConfirm,
  onCancel,
  children,
}: {
  readonly open: boolean;
  readonly title: string;
  readonly action: string;
  readonly onConfirm: () => void;
  readonly onCancel: () => void;
  readonly children: ReactNode;
}): ReactNode {
  return (
    <Dialog title={title} open={open} onClose={onCancel}>
      <div className="stack">
        <div>{children}</div>
        <div className="row" style={{ justifyContent: 'flex-end' }}>
          <button type="button" className="button" onClick={onCancel}>
            Cancel
          </button>
          <button type="button" className="button danger" onClick={onConfirm}>
            {action}
          </button>
        </div>
      </div>
    </Dialog>
  );
}
