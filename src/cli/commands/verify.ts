/**
 * @file studio verify DIR [--json FILE]: numeric cases against their references. Imports training, models, Node.
 */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { configFiles } from '../../config/files';
import { resolveConfig } from '../../config/resolve';
import { readTensorsFile } from '../../formats/checkpointFile';
import { startBackend } from '../../gpu/backend';
import { UserError } from '../../lib/errors';
import { caseModels, verifyModelCase, type CaseQuantity } from '../../models/verifyCase';
import { verifyTables } from '../../training/verifyTables';
import { say, table } from '../console';
import { nodePlatform } from '../nodePlatform';

interface CaseResult {
  readonly case: string;
  readonly rows: readonly CaseQuantity[];
  readonly error: string | null;
}

export async function verify(args: readonly string[]): Promise<number> {
  const at = args.indexOf('--json');
  const json = at < 0 ? null : (args[at + 1] ?? null);
  const rest = args.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  // The configuration's own check of hardware.backend; any other key is refused.
  const settings = rest.filter((a) => a.includes('='));
  for (const s of settings)
    if (!s.startsWith('hardware.'))
      throw new UserError('override-invalid', `"${s}" is no setting of verify`, {
        subject: s,
        hint: 'Only hardware.backend and hardware.threads.',
      });
  const { hardware } = resolveConfig(configFiles, 'train', settings).config;
  const [dir] = rest.filter((a) => !a.includes('='));
  if (dir === undefined || !existsSync(dir) || !statSync(dir).isDirectory()) {
    throw new UserError(
      'folder-missing',
      dir === undefined ? 'verify needs a folder of cases' : `${dir}: there is no such folder`,
      { subject: dir ?? 'DIR', hint: 'verify public/cases' },
    );
  }
  const device = await startBackend(hardware.backend, nodePlatform, hardware.threads);
  say(`Device: ${device.name}. ${device.reason}`);
  const isCase = (d: string): boolean =>
    existsSync(path.join(d, 'case.json')) || existsSync(path.join(d, 'expected.json'));
  const folders = isCase(dir)
    ? [dir]
    : readdirSync(dir)
        .sort()
        .map((n) => path.join(dir, n))
        .filter((d) => statSync(d).isDirectory() && isCase(d));
  if (folders.length === 0)
    throw new UserError('no-cases', `${dir} holds no case (case.json or expected.json)`, { subject: dir });
  const results: CaseResult[] = [];
  for (const folder of folders) {
    const result = await verifyFolder(folder);
    results.push(result);
    say(`\n${result.case}${result.error === null ? '' : `: ${result.error}`}`);
    if (result.rows.length > 0)
      table([
        ['  quantity', 'relative error', 'bound', ''],
        ...result.rows.map((r) => [
          `  ${r.quantity}`,
          r.relativeError.toExponential(2),
          r.bound.toExponential(0),
          r.pass ? 'ok' : 'MISSED',
        ]),
      ]);
  }
  const missed = results.flatMap((r) => r.rows).filter((r) => !r.pass).length;
  const failed = results.filter((r) => r.error !== null).length;
  if (json !== null) writeFileSync(json, `${JSON.stringify({ device, results }, null, 2)}\n`);
  say(
    `\n${results.length} cases: ${results.flatMap((r) => r.rows).length} quantities, ${missed} missed${failed === 0 ? '' : `, ${failed} cases could not be verified`}`,
  );
  return missed + failed === 0 ? 0 : 1;
}

async function verifyFolder(folder: string): Promise<CaseResult> {
  const name = path.basename(folder);
  const bytes = (file: string): Uint8Array => new Uint8Array(readFileSync(path.join(folder, file)));
  try {
    const tables = await verifyTables({ names: readdirSync(folder), read: async (file) => bytes(file) });
    if (tables !== null) return { case: name, rows: tables, error: null };
    const description = existsSync(path.join(folder, 'case.json'))
      ? (JSON.parse(readFileSync(path.join(folder, 'case.json'), 'utf8')) as { model?: string })
      : {};
    if (description.model === undefined || !caseModels.includes(description.model)) {
      return {
        case: name,
        rows: [],
        error: `model "${description.model ?? '?'}" is not built yet (known: ${caseModels.join(', ')}, schedules, metrics, preprocess)`,
      };
    }
    const tensors = (file: string): ReturnType<typeof readTensorsFile>['tensors'] =>
      readTensorsFile(bytes(file), `${name}/${file}`).tensors;
    const weights = ['checkpoint.pth', 'model.safetensors'].find((f) => existsSync(path.join(folder, f)));
    const config = existsSync(path.join(folder, 'config.json'))
      ? (JSON.parse(readFileSync(path.join(folder, 'config.json'), 'utf8')) as unknown)
      : null;
    const rows = await verifyModelCase(
      description,
      tensors('tensors.safetensors'),
      weights === undefined ? null : tensors(weights),
      config,
    );
    return { case: name, rows, error: null };
  } catch (error) {
    return { case: name, rows: [], error: error instanceof Error ? error.message : String(error) };
  }
}
