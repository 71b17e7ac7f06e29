/**
 * @file The project's bounds on engine measurements, and the table. Pure.
 */

const MB = 1e6; // as in ../shared/peerbench
const PLAN_RATIO = 1.1;
const COPY_RATIO = 1.5;
const UPDATE_DISPATCHES = 5;
const ATTENTION_RATIO = 3;
const MODEL_RATIO = 6;
const REPLAY_US = 2;

const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** JavaScript per dispatch in microseconds: of a replay, from its encoder to its submit; of a taped step, all of it. */
export function microseconds({ encodeMs, jsMs, dispatches, plannedBytes }) {
  const ms = plannedBytes === undefined ? jsMs : encodeMs;
  return known(ms) && dispatches > 0 ? (ms * 1000) / dispatches : undefined;
}

/** Ours, best first: the time of a step, or the first step's where the limit left no time for another. */
export const stepOf = ({ stepMs, firstStepMs }) => stepMs ?? firstStepMs;

/**
 * [{ text, ok }] of one workload; ok is null where a figure is missing.
 * @param {object} workload of list.ts @param {string} host @param {object} ours @param {object} stock
 */
export function boundsOf({ id, attentionBytes }, host, ours, stock) {
  const bounds = [];
  const add = (name, value, limit, digits = 2) => {
    const ok = known(value) ? value <= limit : null;
    bounds.push({ text: `${name} ${known(value) ? value.toFixed(digits) : '?'} <= ${limit}`, ok });
  };
  const ratio = (a, b) => (known(a) && known(b) && b > 0 ? a / b : undefined);
  if (id.startsWith('adamw')) {
    add('dispatches', ours.dispatches, UPDATE_DISPATCHES, 0);
    if (id === 'adamw') add('of a copy', ratio(ours.turnMs, ours.copyMs), COPY_RATIO);
  }
  if (attentionBytes !== undefined) {
    add('peak of q, k, v, y', ratio(ours.peakBytes, attentionBytes), ATTENTION_RATIO);
  }
  if (ours.liveBytes > 0) add('planned', ratio(ours.plannedBytes, ours.liveBytes), PLAN_RATIO);
  if (id.startsWith('tinyusfm-b')) {
    const faster = ratio(stepOf(stock), stepOf(ours));
    bounds.push({
      text: `${known(faster) ? faster.toFixed(1) : '?'} x faster >= ${MODEL_RATIO}`,
      ok: known(faster) ? faster >= MODEL_RATIO : null,
    });
    const fewer = ratio(stock.dispatches, ours.dispatches);
    bounds.push({
      text: `${known(fewer) ? fewer.toFixed(1) : '?'} x fewer dispatches >= ${MODEL_RATIO}`,
      ok: known(fewer) ? fewer >= MODEL_RATIO : null,
    });
  }
  // A replay of a few dispatches is mostly its one submit: the bound is for whole steps.
  if (host === 'chromium' && ours.dispatches > 100) add('us/dispatch', microseconds(ours), REPLAY_US);
  return bounds;
}

const ms = (value) => (known(value) ? value.toFixed(value < 10 ? 2 : value < 1000 ? 1 : 0) : '-');
const count = (value) => (known(value) ? value.toFixed(0) : '-');
const megabytes = (value) => (known(value) ? (value / MB).toFixed(1) : '-');
const verdict = { true: 'ok', false: 'MISSED', null: 'not known' };

function cells({ workload, ours, stock, bounds }) {
  const [mine, theirs] = [ours, stock].map(stepOf);
  const us = microseconds(ours);
  const flops = workload.flops ?? stock.flops;
  return [
    workload.title,
    ms(mine),
    ms(theirs),
    known(mine) && known(theirs) ? `${(theirs / mine).toFixed(1)} x` : '-',
    count(ours.dispatches),
    count(stock.dispatches),
    ms(ours.jsMs),
    ms(stock.jsMs),
    known(us) ? us.toFixed(2) : '-',
    megabytes(ours.peakBytes),
    megabytes(stock.peakBytes),
    known(flops) && known(mine) ? (flops / mine / 1e6).toFixed(2) : '-',
    bounds.map(({ text, ok }) => `${text} ${verdict[ok]}`).join('; '),
  ];
}

const HEAD = [
  'workload',
  'ours ms',
  'stock ms',
  'ratio',
  'dispatches',
  'stock',
  'JS ms',
  'stock',
  'us/dispatch',
  'peak MB',
  'stock',
  'GFLOP/s',
  'bounds',
];

/** The rows of one host as aligned text, with the notes below. */
export function tableOf(rows) {
  const lines = [HEAD, ...rows.map(cells)];
  const widths = HEAD.map((_, i) => Math.max(...lines.map((line) => line[i].length)));
  const text = lines.map((line) =>
    line
      .map((cell, i) =>
        i === 0 || i === HEAD.length - 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]),
      )
      .join('  ')
      .trimEnd(),
  );
  const notes = rows.flatMap(({ workload, notes: own }) => own.map((note) => `${workload.title}: ${note}`));
  return [...text, ...notes].join('\n');
}
