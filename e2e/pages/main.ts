/** @file Test page: runs the engine's start-up in a worker under the site's policy. `window.startBackends` is called by the spec. */
import type { BackendResult } from './backends.worker';
import './storage';
import './stores';

const violations: string[] = [];
document.addEventListener('securitypolicyviolation', (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});

async function startBackends(): Promise<{ results: BackendResult[]; violations: string[] }> {
  const worker = new Worker(new URL('./backends.worker.ts', import.meta.url), { type: 'module' });
  const results = await new Promise<BackendResult[]>((resolve, reject) => {
    worker.addEventListener('message', (event: MessageEvent<BackendResult[]>) => resolve(event.data));
    worker.addEventListener('error', (event) => reject(new Error(event.message)));
  });
  worker.terminate();
  return { results, violations };
}

Object.assign(globalThis, { startBackends });
