/** @file The operations of ops.test.ts on WebGPU (Dawn; a software adapter where there is no GPU). */
import { describe } from 'vitest';
import { checkOperations } from './operationCases';

describe('webgpu', () => checkOperations('webgpu'));
