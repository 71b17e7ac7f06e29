/**
 * @file npm run studio -- COMMAND key=value ...: the training core in Node. Bundles src/cli/main.ts when sources changed, then runs it
 * in this process, so that arguments, signals and the exit code are its own.
 */
import { pathToFileURL } from 'node:url';
import { ROOT, SetupError, ensureDependencies, runLauncher } from './setup.mjs';

await runLauncher(async () => {
  ensureDependencies();
  const { bundleEntry } = await import('./sources.mjs');
  const bundle = await bundleEntry('main').catch((error) => {
    throw new SetupError(`The command line could not be built: ${error.message}`);
  });
  process.env.STUDIO_ROOT = ROOT;
  await import(pathToFileURL(bundle).href);
});
