/**
 * @file Ctrl+K palette and the list of shortcuts; installs the keys of all commands.
 */
import { useEffect, useState, type ReactNode } from 'react';
import { Dialog } from '../components/basics';
import { commands, viewerKeys } from './commands';

/** True while someone types. */
function typing(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.closest('input:not([type=checkbox]):not([type=range]), textarea, select, [contenteditable]') !==
      null
  );
}

export function Palette(): ReactNode {
  const [open, setOpen] = useState<'palette' | 'keys' | null>(null);
  const [filter, setFilter] = useState('');
  useEffect(() => {
    const onKey = (e: KeyboardEvent): void => {
      if (e.isComposing) return;
      if ((e.ctrlKey || e.metaKey) && e.code === 'KeyK') {
        e.preventDefault();
        setFilter('');
        setOpen('palette');
      } else if (e.key === '?' && !typing(e.target)) {
        e.preventDefault();
        setOpen('keys');
      } else {
        const command = commands.find((c) => c.matches?.(e) === true && c.enabled());
        if (command === undefined) return;
        e.preventDefault();
        command.run();
      }
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  const close = (): void => setOpen(null);
  const shown = commands.filter((c) => c.enabled() && c.label.toLowerCase().includes(filter.toLowerCase()));
  return (
    <>
      <Dialog title="Commands" open={open === 'palette'} onClose={close}>
        <form
          className="stack tight"
          onSubmit={(e) => {
            e.preventDefault();
            close();
            shown[0]?.run();
          }}
        >
          <input
            className="input"
            aria-label="Filter commands"
            data-autofocus
            value={filter}
            onChange={(e) => setFilter(e.target.value)}
          />
          {shown.map((c) => (
            <button
              key={c.id}
              type="button"
              className="button quiet"
              style={{ justifyContent: 'space-between' }}
              onClick={() => {
                close();
                c.run();
              }}
            >
              {c.label} <span className="muted mono">{c.keys ?? ''}</span>
            </button>
          ))}
        </form>
      </Dialog>
      <Dialog title="Shortcuts" open={open === 'keys'} onClose={close}>
        <table>
          <tbody>
            {[
              ['Ctrl+K', 'commands'],
              ['?', 'this list'],
              ...commands.flatMap((c) => (c.keys === undefined ? [] : [[c.keys, c.label]])),
            ].map(([k, what]) => (
              <tr key={k}>
                <td className="mono">{k}</td>
                <td>{what}</td>
              </tr>
            ))}
            <tr>
              <th colSpan={2}>In the case viewer, while it has the focus</th>
            </tr>
            {viewerKeys.map(([k, what]) => (
              <tr key={k}>
                <td className="mono">{k}</td>
                <td>{what}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Dialog>
    </>
  );
}
