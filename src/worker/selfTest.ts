/**
 * @file The page's self-test: the numeric cases the site carries, on the running backend. Imports formats, models.
 */
import { readTensorsFile } from '../formats/checkpointFile';
import type { TensorMap } from '../formats/tensor';
import { UserError } from '../lib/errors';
import { verifyModelCase } from '../models/verifyCase';
import type { SelfTestRow } from './protocol';

/** Folders of public/cases. */
const CASES = ['tinyusfm-binary', 'segformer-binary'] as const;

async function fetchFile(url: URL): Promise<Response> {
  const response = await fetch(url);
  // Some hosts answer a missing file with their start page.
  const isPage = response.headers.get('content-type')?.startsWith('text/html') === true;
  if (response.ok && !isPage) return response;
  const why = isPage ? 'the site has no such file' : `HTTP ${response.status}`;
  throw new UserError('case-missing', `${url.pathname} could not be loaded (${why})`, {
    subject: url.pathname,
    hint: 'Reload the page; the site may be incomplete.',
  });
}

/** Runs every case; rows arrive as they are computed. */
export async function selfTest(
  baseUrl: string,
  signal: AbortSignal,
  onRow: (row: SelfTestRow) => void,
): Promise<{ passed: number; failed: number }> {
  const count = { passed: 0, failed: 0 };
  for (const name of CASES) {
    signal.throwIfAborted();
    const at = (file: string): URL => new URL(`cases/${name}/${file}`, baseUrl);
    const json = async (file: string): Promise<unknown> => (await fetchFile(at(file))).json();
    const tensors = async (file: string): Promise<TensorMap> =>
      readTensorsFile(new Uint8Array(await (await fetchFile(at(file))).arrayBuffer()), file).tensors;
    const isSegformer = name.startsWith('segformer');
    const results = await verifyModelCase(
      await json('case.json'),
      await tensors('tensors.safetensors'),
      await tensors(isSegformer ? 'model.safetensors' : 'checkpoint.pth'),
      isSegformer ? await json('config.json') : null,
    );
    for (const result of results) {
      if (result.pass) count.passed++;
      else count.failed++;
      onRow({ case: name, ...result });
    }
  }
  return count;
}
