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

useNodeJpegWasm();
const [name, ...args] = process.argv.slice(2);
try {
  process.exitCode = await command(name, args);
} catch (error) {
  if (error instanceof UserError) {
    process.stderr.write(`${error.message}${error.hint === undefined ? '' : ` — ${error.hint}`}\n`);
    process.exitCode = RUN_FAILURES.has(error.code) ? 1 : 2;
  } else {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exitCode = 1;
  }
}
// Dawn and WASM threads keep Node alive: leave once everything is written.
process.stdout.write('', () => process.exit());
