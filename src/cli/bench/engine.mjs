/**
 * @file The part `engine` of npm run bench: step time, dispatches, JavaScript, peak bytes and arithmetic rate of our engine beside the same
 * steps of stock TensorFlow.js operations, in Node and in Chromium. Figures of jax-js and PyTorch: ../shared/peerbench with src/cli/peer.ts.
 */
import { boundsOf, stepOf, tableOf } from './engineBounds.mjs';
import { chromiumHost, nodeHost } from './engineHosts.mjs';
import { SetupError } from '../setup.mjs';

const HOSTS = { node: nodeHost, chromium: chromiumHost };
const ASK_LIMIT_MS = 60_000;
/** Largest relative difference of the two losses of the first step. */
const SAME_LOSS = 1e-3;

/** Why a figure is missing or is not what it seems. */
function notesOf(ours, stock, effort) {
  const notes = [];
  for (const [kind, result] of Object.entries({ ours, stock })) {
    if (effort[kind] === 'leave out') notes.push(`${kind} left out on a software adapter: --all runs it`);
    if (effort[kind] === 'count')
      notes.push(`${kind} encoded but not run on a software adapter: --all runs it`);
    if (result.failure !== undefined) notes.push(`${kind}: ${result.failure}`);
    if (result.error !== undefined) notes.push(`${kind}: ${result.error}`);
    if (result.stepMs === undefined && result.firstStepMs !== undefined) {
      notes.push(`${kind}: the first step, with its compilation`);
    }
  }
  const differs = Math.abs(ours.loss - stock.loss) / Math.abs(stock.loss);
  if (differs > SAME_LOSS) notes.push(`the losses differ: ${ours.loss} and ${stock.loss}`);
  return notes;
}

async function measureOn(host, { only, all, limitMs }, report) {
  const { workloads, adapter, software, failure } = await host.measure(
    'ours',
    { id: null, count: false },
    ASK_LIMIT_MS,
  );
  if (workloads === undefined) {
    report(`engine on ${host.name}`, failure ?? 'no answer', {});
    return;
  }
  console.log(`engine on ${host.name}: ${adapter}`);
  const rows = [];
  const ids = new Set(workloads.map(({ id }) => id));
  const isAsked = (id) =>
    only.length === 0 || only.some((name) => (ids.has(name) ? id === name : id.includes(name)));
  for (const workload of workloads) {
    if (!isAsked(workload.id)) continue;
    const effort = software && !all ? workload.onSoftware : { ours: 'run', stock: 'run' };
    const measure = async (kind) =>
      effort[kind] === 'leave out'
        ? {}
        : host.measure(kind, { id: workload.id, count: effort[kind] === 'count' }, limitMs);
    const ours = await measure('ours');
    const stock = await measure('stock');
    const bounds = boundsOf(workload, host.name, ours, stock);
    const notes = notesOf(ours, stock, effort);
    rows.push({ workload, ours, stock, bounds, notes });
    const told = [ours, stock].map((result) => stepOf(result)?.toFixed(2) ?? '-');
    report(`engine, ${host.name}, ${workload.title}`, `${told.join(' ms, stock ')} ms`, {
      host: host.name,
      id: workload.id,
      adapter,
      flops: workload.flops ?? stock.flops ?? null,
      ours,
      stock,
      bounds,
      notes,
    });
  }
  console.log(`\n${host.name}, ${adapter}\n${tableOf(rows)}\n`);
}

/**
 * @param {(what: string, text: string, details: object) => void} report
 * @param {{host: string, only: string[], all: boolean, limitMs: number}} options only: workload ids or parts of ids; none: all.
 */
export async function benchEngine(report, options) {
  const names = options.host === 'both' ? Object.keys(HOSTS) : [options.host];
  const unknown = names.find((name) => !(name in HOSTS));
  if (unknown !== undefined) throw new SetupError(`--host ${unknown}: there are node, chromium and both`);
  for (const name of names) {
    const host = await HOSTS[name]();
    try {
      await measureOn(host, options, report);
    } finally {
      await host.close();
    }
  }
}
