/**
 * @file Cases, worst first; any column sorts; only visible rows exist.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { definitions } from '../../../metrics/definitions';
import { metricNames, type MetricName } from '../../../metrics/caseMetrics';
import { fixed } from '../../format';
import { useInspect } from '../../state/inspectStore';
import { orderedCases, valueOf } from './order';

export function CaseList(): ReactNode {
  const { result, selected, select } = useInspect();
  const [metric, setMetric] = useState<MetricName>('dice');
  const [worst, setWorst] = useState(true);
  const [filter, setFilter] = useState('');
  const scroll = useRef<HTMLDivElement>(null);
  const cases = useMemo(
    () => orderedCases(result?.cases ?? [], metric, worst, filter),
    [result, metric, worst, filter],
  );
  const rows = useVirtualizer({
    count: cases.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => 26,
    overscan: 8,
  });
  const index = cases.findIndex((c) => c.id === selected);
  useEffect(() => {
    if (index >= 0) rows.scrollToIndex(index);
    // Follows the selection, not the scroll position.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [index]);
  const second: MetricName = metric === 'dice' ? 'hd95' : metric;
  return (
    <section className="panel" style={{ display: 'flex', flexDirection: 'column', minHeight: 260, flex: 1 }}>
      <header>
        <h2>Cases</h2>
        <input
          className="input grow"
          placeholder="find"
          aria-label="Find a case"
          value={filter}
          onChange={(e) => setFilter(e.target.value)}
        />
        <select
          className="input"
          style={{ width: 104 }}
          value={metric}
          onChange={(e) => setMetric(e.target.value as MetricName)}
          aria-label="Sort by"
        >
          {metricNames.map((m) => (
            <option key={m} value={m}>
              {definitions[m].title}
            </option>
          ))}
        </select>
      </header>
      <div className="case-head">
        <button type="button" onClick={() => setWorst(!worst)} title="Turn the order round">
          Case, {worst ? 'worst first ↓' : 'best first ↑'}
        </button>
        <span className="small muted">Dice</span>
        <span className="small muted">{definitions[second].title}</span>
      </div>
      <div
        className="case-list"
        ref={scroll}
        role="listbox"
        aria-label="Cases"
        tabIndex={0}
        onKeyDown={(e) => {
          const step = e.code === 'ArrowDown' ? 1 : e.code === 'ArrowUp' ? -1 : 0;
          const next = cases[Math.min(cases.length - 1, Math.max(0, index + step))];
          if (step === 0 || next === undefined) return;
          e.preventDefault();
          select(next.id);
        }}
      >
        <div style={{ height: rows.getTotalSize(), position: 'relative' }}>
          {rows.getVirtualItems().map((row) => {
            const c = cases[row.index];
            if (c === undefined) return null;
            return (
              <div
                key={c.id}
                className="case"
                role="option"
                aria-selected={c.id === selected}
                style={{ top: row.start }}
                title={c.id}
                onClick={() => select(c.id)}
              >
                <span className="ellipsis">{c.id.split('/').at(-1)}</span>
                <span>{fixed(c.dice, 3)}</span>
                <span>{fixed(valueOf(c, second), 2)}</span>
              </div>
            );
          })}
        </div>
        {cases.length === 0 && (
          <p className="muted small" style={{ padding: 12 }}>
            No case matches “{filter}”
          </p>
        )}
      </div>
    </section>
  );
}
