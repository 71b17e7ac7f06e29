/**
 * @file measure.ts in a browser's worker. Takes the request as a message; answers with { result } after every stage, then { done } or
 * { failure }.
 */
import { measureEngine, type EngineRequest, type EngineResult } from './measure';

type Answer = { readonly result: EngineResult } | { readonly done: true } | { readonly failure: string };

const answer = (message: Answer): void => self.postMessage(message, { transfer: [] });

self.addEventListener(
  'message',
  async ({ data }: MessageEvent<EngineRequest>) => {
    try {
      await measureEngine(data, navigator.gpu, (result) => answer({ result }));
      answer({ done: true });
    } catch (error) {
      answer({ failure: error instanceof Error ? error.message : String(error) });
    }
  },
  { once: true },
);
