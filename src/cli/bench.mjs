/**
 * @file npm run bench: prints the measured bounds of the project. Bundles src/cli/bench.ts when sources changed, then runs it
 * in this process, so that arguments, signals and the exit code are its own.
 */
import { pathToFileURL } from 'node:url';
import { ROOT, SetupError, ensureDependencies, runLauncher } from './setup.mjs';

await runLauncher(async () => {
  ensureDependencies();
  const { bundleEntry } = await import('./sources.mjs');
  const bundle = await bundleEntry('bench').catch((error) => {
    throw new SetupError(`The benchmark could not be built: ${error.message}`);
  });
  process.env.STUDIO_ROOT = ROOT;
  await import(pathToFileURL(bundle).href);
});
