/**
 * @file JPEG pictures through libjpeg (MozJPEG compiled to WebAssembly): the same samples in browser and Node, and those of
 * Pillow within one grey level. Imports formats and @jsquash/jpeg. Never rotates: EXIF orientation is reported.
 */
import createDecoder, { type MozJPEGModule } from '@jsquash/jpeg/codec/dec/mozjpeg_dec.js';
import { UserError } from '../lib/errors';
import { checkSize, imageCorrupt, imageUnsupported } from './imageErrors';
import type { RasterImage } from './image.types';
import { readJpegHeader } from './jpegHeader';

type WasmSource = () => Promise<BufferSource>;

let source: WasmSource = async () => (await import('./jpegWasmFetch')).fetchJpegWasm();
let compiled: Promise<WebAssembly.Module> | undefined;
let decoder: Promise<MozJPEGModule> | undefined;

/** Says where the decoder's WebAssembly comes from. Browsers need no call; Node calls `useNodeJpegWasm`. */
export function setJpegWasm(load: WasmSource): void {
  source = load;
  compiled = undefined;
  decoder = undefined;
}

async function compile(): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(await source());
  } catch (error) {
    // A failed download may be tried again.
    compiled = undefined;
    throw new UserError('decoder-unavailable', 'The JPEG decoder could not be loaded', {
      hint: 'Reload the page; if it stays so, convert the pictures to PNG.',
      cause: error,
    });
  }
}

/** libjpeg's warnings have no place on the console. */
function quiet(): void {}

async function makeDecoder(): Promise<MozJPEGModule> {
  compiled ??= compile();
  const module = await compiled;
  const options = {
    noInitialRun: true,
    print: quiet,
    printErr: quiet,
    instantiateWasm: (
      imports: WebAssembly.Imports,
      done: (instance: WebAssembly.Instance) => void,
    ): WebAssembly.Exports => {
      const instance = new WebAssembly.Instance(module, imports);
      done(instance);
      return instance.exports;
    },
  };
  // The package's types name the callback's argument a Module; Emscripten passes it an Instance.
  return createDecoder(options as unknown as Parameters<typeof createDecoder>[0]);
}

function getDecoder(): Promise<MozJPEGModule> {
  if (decoder === undefined) {
    const made = makeDecoder();
    made.catch(() => {
      if (decoder === made) decoder = undefined;
    });
    decoder = made;
  }
  return decoder;
}

/** RGBA to grey (all channels are equal) or RGB. */
function dropChannels(rgba: Uint8ClampedArray, keep: 1 | 3): Uint8Array {
  const count = rgba.length / 4;
  const out = new Uint8Array(count * keep);
  if (keep === 1) {
    for (let i = 0; i < count; i++) out[i] = rgba[i * 4] as number;
    return out;
  }
  for (let from = 0, to = 0; to < out.length; from += 4, to += 3) {
    out[to] = rgba[from] as number;
    out[to + 1] = rgba[from + 1] as number;
    out[to + 2] = rgba[from + 2] as number;
  }
  return out;
}

/** @throws UserError 'file-truncated', 'file-corrupt', 'image-unsupported' (CMYK, 12 bit, lossless), 'image-too-large', 'decoder-unavailable'. */
export async function decodeJpeg(bytes: Uint8Array, name: string): Promise<RasterImage> {
  const header = readJpegHeader(bytes, name);
  checkSize(header.width, header.height, name);
  if (header.precision !== 8 || header.frame > 0xc2)
    throw imageUnsupported(name, 'it is a 12-bit, lossless or arithmetic-coded JPEG');
  if (header.components !== 1 && header.components !== 3)
    throw imageUnsupported(name, `it is a JPEG with ${header.components} channels`);
  const module = await getDecoder();
  let picture: ImageData | null;
  try {
    picture = module.decode(bytes as Uint8Array<ArrayBuffer>, false);
  } catch (cause) {
    // libjpeg gave up half-way: this instance's memory is not to be used again.
    decoder = undefined;
    throw imageCorrupt(name, 'its data cannot be decoded', cause);
  }
  if (picture === null || picture.width !== header.width || picture.height !== header.height) {
    throw imageCorrupt(name, 'its data cannot be decoded');
  }
  const grey = header.components === 1;
  return {
    width: header.width,
    height: header.height,
    mode: grey ? 'L' : 'RGB',
    data: dropChannels(picture.data, grey ? 1 : 3),
    format: 'jpeg',
    ...(header.orientation === undefined ? {} : { exifOrientation: header.orientation }),
  };
}
