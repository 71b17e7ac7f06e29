/**
 * @file Where Node finds the JPEG decoder's WebAssembly: in node_modules. Imported by cli and tests only.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { setJpegWasm } from './jpeg';

/** Call once at start, before the first `decodeImage`. Reads nothing until a JPEG is decoded. */
export function useNodeJpegWasm(): void {
  const require = createRequire(import.meta.url);
  setJpegWasm(() => readFile(require.resolve('@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm')));
}
