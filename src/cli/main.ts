/**
 * @file The command line: the page's training core in Node. Exit codes: 0 done, 1 failed or missed, 2 wrong input, 130 interrupted.
 */
import { configFiles } from '../config/files';
import { resolveConfig } from '../config/resolve';
import { useNodeJpegWasm } from '../formats/jpegWasmNode';
import { UserError } from '../lib/errors';
import { list, USAGE } from './commands/list';
import { metrics } from './commands/metrics';
import { test } from './commands/test';
import { train } from './commands/train';
import { verify } from './commands/verify';

/** Failures of the run itself; everything else a UserError says is about the input. */
const RUN_FAILURES = new Set([
  'loss-not-finite',
  'weights-not-finite',
  'weights-zero',
  'gpu-lost',
  'gpu-error',
  'gpu-out-of-memory',
  'checkpoint-missing',
  'internal',
]);

/** What the operating system says of a file, in words. */
const FILE_ERRORS = new Map([
  ['ENOENT', 'there is no such file or folder'],
  ['EACCES', 'permission denied'],
  ['EPERM', 'permission denied'],
  ['EROFS', 'the file system is read-only'],
  ['EISDIR', 'is a folder, not a file'],
  ['ENOTDIR', 'is a file, not a folder'],
  ['EEXIST', 'is a file, not a folder'],
  ['ENOSPC', 'the disk is full'],
]);

async function command(name: string | undefined, args: readonly string[]): Promise<number> {
  switch (name) {
    case 'train':
      return train(resolveConfig(configFiles, 'train', args).config);
    case 'test':
      return test(args);
    case 'metrics':
      return metrics(args);
    case 'verify':
      return verify(args);
    case 'list':
      return list();
    default:
      process.stderr.write(
        `${name === undefined ? 'A command is missing' : `There is no command "${name}"`}\n\n${USAGE}\n`,
      );
      return 2;
  }
}

/** What an error says, in one line, and the exit code. Files that cannot be read or written are input, too. */
function explain(error: unknown): { line: string; code: number } {
  const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ');
  if (error instanceof UserError) {
    const hint = error.hint === undefined ? '' : ` — ${error.hint}`;
    return { line: oneLine(error.message + hint), code: RUN_FAILURES.has(error.code) ? 1 : 2 };
  }
  if (!(error instanceof Error)) return { line: String(error), code: 1 };
  const { code, path: file } = error as NodeJS.ErrnoException;
  const reason = FILE_ERRORS.get(code ?? '');
  if (reason === undefined) return { line: error.stack ?? error.message, code: 1 };
  return { line: `${file ?? 'A file'}: ${reason}`, code: code === 'ENOSPC' ? 1 : 2 };
}

useNodeJpegWasm();
// `studio list | head -1`: a reader that left is no failure.
process.stdout.on('error', () => process.exit());
const [name, ...args] = process.argv.slice(2);
try {
  process.exitCode = await command(name, args);
} catch (error) {
  const { line, code } = explain(error);
  process.stderr.write(`${line}\n`);
  process.exitCode = code;
}
// Dawn and WASM threads keep Node alive: leave once everything is written.
process.stdout.write('', () => process.exit());
