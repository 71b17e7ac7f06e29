/**
 * @file The file worker: exports, off the page's thread; made for one job and ended after it. No TensorFlow.js.
 */
import { exportCases, exportPredictions, exportRun, exportWeights } from './exports';
import type { FileRequests } from './protocol';
import { serve } from './server';
import type { Scope } from './server';

serve<FileRequests>(self as unknown as Scope, {
  exportRun: (payload, { progress }) => exportRun(payload, (message) => progress({ message })),
  exportWeights: (payload) => exportWeights(payload),
  exportPredictions: (payload) => exportPredictions(payload),
  exportCases: (payload) => exportCases(payload),
});
