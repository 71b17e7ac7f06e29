/**
 * @file measure.ts in Node on Dawn. Argument: the request as JSON; prints the result so far as a line of JSON after every stage.
 */
import { nodePlatform } from '../nodePlatform';
import { measureEngine, type EngineRequest } from './measure';

const { gpu, note } = await nodePlatform.gpu();
if (gpu === null) throw new Error(note);
await measureEngine(JSON.parse(process.argv[2] ?? '{}') as EngineRequest, gpu, (result) =>
  console.log(JSON.stringify(result)),
);
process.exit(0); // Dawn would keep the process alive
