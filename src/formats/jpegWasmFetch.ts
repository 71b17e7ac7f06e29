/**
 * @file Where a browser finds the JPEG decoder's WebAssembly: an asset of the build, same origin, so that
 * `connect-src 'self'` and `script-src 'wasm-unsafe-eval'` suffice. Loaded only when the first JPEG is decoded.
 */
import wasmUrl from '@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm?url';

export async function fetchJpegWasm(): Promise<ArrayBuffer> {
  const response = await fetch(new URL(wasmUrl, import.meta.url));
  if (!response.ok) throw new Error(`the JPEG decoder could not be loaded (HTTP ${response.status})`);
  return response.arrayBuffer();
}
