/**
 * @file Every operation against a naive float64 twin, its gradient against finite differences of that twin, on awkward shapes.
 * Reference backend and WASM; WebGPU in ops.webgpu.test.ts.
 */
import { describe } from 'vitest';
import { checkOperations } from './operationCases';

describe('cpu', () => checkOperations('cpu'));
describe('wasm', () => checkOperations('wasm'));
