/**
 * @file A folder of ultrasound-like images with exact masks, generated from a seed: the studio can be tried with no data, and tests
 * have data that may be shipped. Imports formats (PNG writing), lib.
 *
 * Model: echogenicity of layered breast tissue with one lesion, times fully developed speckle (magnitude of complex Gaussian noise
 * blurred by the point spread function: Rayleigh), depth attenuation partly undone by gain, shadow or enhancement behind the lesion,
 * log compression to 8 bits.
 */
import { writePng } from '../formats/png';
import { Random } from '../lib/random';
import { UserError } from '../lib/errors';
import type { FileRef, Folder } from './types';

export interface PhantomOptions {
  readonly id?: string;
  readonly name?: string;
  readonly testOnly?: boolean;
  readonly count: number;
  readonly size: number; // pixels, square
  readonly seed: number;
}

interface Plan {
  readonly kind: 'benign' | 'malignant' | 'normal';
  readonly patient: number;
  readonly index: number;
}

/** About 8 % without a lesion, a third malignant; every fourth patient has two images. */
function plan(options: PhantomOptions): Plan[] {
  const random = new Random('phantom-plan', options.seed);
  const out: Plan[] = [];
  for (let patient = 1; out.length < options.count; patient++) {
    const u = random.uniform();
    const kind = u < 0.08 ? 'normal' : u < 0.4 ? 'malignant' : 'benign';
    const images = random.bool(0.25) ? 2 : 1;
    for (let i = 0; i < images && out.length < options.count; i++)
      out.push({ kind, patient, index: out.length });
  }
  return out;
}

function stem(p: Plan): string {
  return `phantom_${String(p.index + 1).padStart(4, '0')}_p${String(p.patient).padStart(3, '0')}_${p.kind}`;
}

/** A folder like any other: `images/*.png` and `masks/*.png`, synthesised when read. Same options, same bytes. */
export function phantomFolder(options: PhantomOptions): Folder {
  const id = options.id ?? `phantom-${options.count}-${options.size}-${options.seed}`;
  const plans = new Map(plan(options).map((p) => [stem(p), p]));
  const files: FileRef[] = [];
  for (const kind of ['images', 'masks']) {
    for (const name of plans.keys())
      files.push({
        folder: id,
        path: `${kind}/${name}.png`,
        size: options.size ** 2,
        modified: options.seed,
      });
  }
  return {
    id,
    name: options.name ?? 'Phantom',
    testOnly: options.testOnly ?? false,
    files,
    read: async (path) => {
      const match = /^(images|masks)\/(.+)\.png$/.exec(path);
      const found = match === null ? undefined : plans.get(match[2] as string);
      if (match === null || found === undefined)
        throw new UserError('file-unreadable', `The phantom set has no file "${path}"`, { subject: path });
      const { image, mask } = phantomImage(options.size, found.kind, [
        options.seed,
        found.patient,
        found.index,
      ]);
      return writePng({
        width: options.size,
        height: options.size,
        mode: 'L',
        data: match[1] === 'images' ? image : mask,
      });
    },
  };
}

/** One image and its mask (0 / 255), size x size. */
export function phantomImage(
  size: number,
  kind: Plan['kind'],
  key: readonly [seed: number, patient: number, index: number],
): { image: Uint8Array; mask: Uint8Array } {
  const random = new Random('phantom', ...key);
  const mask = new Uint8Array(size * size);
  const echo = tissue(size, new Random('phantom-tissue', key[0], key[1]));
  if (kind !== 'normal') addLesion(echo, mask, size, kind, random);
  return { image: insonify(echo, size, random), mask };
}

/** A smooth function of one variable in about [-1, 1]: a few random sines. */
function wander(random: Random, terms: number, frequency: number): (t: number) => number {
  const waves = Array.from({ length: terms }, (_, i) => [
    random.uniform(0.5, 1.5) * frequency * (i + 1),
    random.uniform(0, 2 * Math.PI),
    1 / (i + 1),
  ]) as [number, number, number][];
  const total = waves.reduce((sum, w) => sum + w[2], 0);
  return (t) =>
    waves.reduce((sum, [f, phase, a]) => sum + a * Math.sin(2 * Math.PI * f * t + phase), 0) / total;
}

/** Mean echo power of skin, fat with septa, gland, muscle: [size, size], about 0.05 to 2. */
function tissue(size: number, random: Random): Float64Array {
  const skin = random.uniform(0.04, 0.07);
  const fatEnd = random.uniform(0.2, 0.34);
  const muscle = random.uniform(0.74, 0.9);
  const [b1, b2, b3] = [wander(random, 3, 1.2), wander(random, 4, 1.5), wander(random, 3, 1)];
  const septa = Array.from({ length: 4 }, () => ({
    at: wander(random, 3, 1),
    depth: random.uniform(0.1, fatEnd),
    width: random.uniform(0.004, 0.01),
  }));
  const [cx, cy] = [wander(random, 5, 2.5), wander(random, 5, 3)];
  // Boundaries depend on x alone: once per column, not per pixel.
  const perColumn = (f: (t: number) => number): Float64Array =>
    Float64Array.from({ length: size }, (_, x) => f(x / size));
  const [c1, c2, c3] = [perColumn(b1), perColumn(b2), perColumn(b3)];
  const lines = septa.map((s) => ({ ...s, at: perColumn(s.at) }));
  const out = new Float64Array(size * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [u, v] = [x / size, y / size];
      const muscleWave = c3[x] as number;
      let e: number;
      if (v < skin + 0.008 * (c1[x] as number)) e = 1.6;
      else if (v < fatEnd + 0.05 * (c2[x] as number)) e = 0.22 + 0.05 * cx(u + 0.4 * v);
      else if (v < muscle + 0.03 * muscleWave) e = 0.62 + 0.3 * cx(u + 0.3 * v) * cy(v - 0.2 * u);
      else e = 0.3 + 0.22 * Math.max(0, Math.sin(2 * Math.PI * (14 * v + 1.5 * muscleWave))) ** 3;
      for (const s of lines)
        if (v < fatEnd && Math.abs(v - s.depth - 0.04 * (s.at[x] as number)) < s.width) e = 1.1;
      out[y * size + x] = Math.max(0.04, e);
    }
  }
  return out;
}

/** Relative radius of the outline at an angle: ellipse, lobulated or spiculated. */
function outline(kind: 'benign' | 'malignant', random: Random): (angle: number) => number {
  const u = random.uniform();
  if (kind === 'benign' && u < 0.65) return () => 1;
  const phase = random.uniform(0, 2 * Math.PI);
  if (kind === 'benign' || u < 0.35) {
    const lobes = random.integer(2, 4);
    const depth = random.uniform(0.08, 0.2);
    return (a) => 1 + depth * Math.cos(lobes * a + phase);
  }
  const spikes = random.integer(6, 11);
  const sharp = random.uniform(0.12, 0.3);
  const slow = random.uniform(0.05, 0.18);
  return (a) =>
    0.92 +
    sharp * Math.max(0, Math.cos(spikes * a + phase)) ** 4 +
    slow * Math.cos(2 * a + 2 * phase) -
    0.08 * Math.cos(3 * a);
}

/** Draws a lesion into echo and mask and changes what lies behind it. */
function addLesion(
  echo: Float64Array,
  mask: Uint8Array,
  size: number,
  kind: 'benign' | 'malignant',
  random: Random,
): void {
  const rx = random.uniform(0.09, 0.24) * size;
  const ry = rx * (kind === 'benign' ? random.uniform(0.5, 0.8) : random.uniform(0.75, 1.15));
  const cx = random.uniform(0.28, 0.72) * size;
  const cy = random.uniform(0.36, 0.62) * size;
  const tilt = random.uniform(-0.4, 0.4);
  const radius = outline(kind, random);
  const u = random.uniform();
  // Mostly hypoechoic; some nearly anechoic (cysts), some close to the gland around them.
  const inside =
    kind === 'malignant'
      ? random.uniform(0.08, 0.2)
      : u < 0.25
        ? 0.03
        : u < 0.85
          ? random.uniform(0.1, 0.22)
          : random.uniform(0.28, 0.36);
  const behind =
    kind === 'malignant'
      ? random.uniform(0.25, 0.6)
      : inside < 0.05
        ? random.uniform(1.6, 2.2)
        : random.uniform(0.9, 1.4);
  const texture = wander(random, 4, 4);
  const [cos, sin] = [Math.cos(tilt), Math.sin(tilt)];
  const bottom = new Float64Array(size).fill(-1);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [dx, dy] = [x + 0.5 - cx, y + 0.5 - cy];
      const [px, py] = [(cos * dx + sin * dy) / rx, (cos * dy - sin * dx) / ry];
      const r = Math.hypot(px, py) / radius(Math.atan2(py, px));
      const i = y * size + x;
      if (r <= 1) {
        mask[i] = 255;
        bottom[x] = y;
        echo[i] = Math.max(0.02, inside * (1 + 0.25 * texture((x + 2 * y) / size)));
      } else if (r < 1.12 && kind === 'malignant') echo[i] = (echo[i] as number) * (1 + 0.6 * (1.12 - r) * 8); // echogenic halo
    }
  }
  for (let x = 0; x < size; x++) {
    const from = bottom[x] as number;
    if (from < 0) continue;
    const edge = Math.min(1, (rx - Math.abs(x + 0.5 - cx)) / (0.25 * rx)); // soft sides
    const factor = 1 + (behind - 1) * Math.max(0, edge);
    for (let y = from + 1; y < size; y++) {
      const fade = Math.exp(-(y - from) / (0.5 * size));
      const i = y * size + x;
      if (mask[i] === 0) echo[i] = (echo[i] as number) * (1 + (factor - 1) * fade);
    }
  }
}

/** Gaussian blur along one axis. */
function blur(data: Float64Array, size: number, sigma: number, alongX: boolean): Float64Array {
  const reach = Math.ceil(2.5 * sigma);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-0.5 * ((i - reach) / sigma) ** 2));
  const norm = Math.sqrt(kernel.reduce((sum, k) => sum + k * k, 0)); // keeps the noise power at 1
  const out = new Float64Array(size * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      let sum = 0;
      for (let k = -reach; k <= reach; k++) {
        const p = Math.min(size - 1, Math.max(0, (alongX ? x : y) + k));
        sum += (kernel[k + reach] as number) * (data[alongX ? y * size + p : p * size + x] as number);
      }
      out[y * size + x] = sum / norm;
    }
  }
  return out;
}

/** Speckle, attenuation, log compression: 8-bit picture of an echogenicity map. */
function insonify(echo: Float64Array, size: number, random: Random): Uint8Array {
  const scale = size / 128;
  const field = (): Float64Array => {
    const noise = Float64Array.from({ length: size * size }, () => random.normal());
    // Wider across the beam than along it.
    return blur(blur(noise, size, 1.3 * scale, true), size, 0.65 * scale, false);
  };
  const [re, im] = [field(), field()];
  const attenuation = random.uniform(0.4, 1.1); // left over after time-gain compensation
  const gain = random.uniform(0.8, 1.25);
  const range = random.uniform(42, 50); // dB shown
  const out = new Uint8Array(size * size);
  for (let i = 0; i < out.length; i++) {
    const depth = Math.floor(i / size) / size;
    const rayleigh = Math.hypot(re[i] as number, im[i] as number) / Math.SQRT2;
    const amplitude = gain * Math.sqrt(echo[i] as number) * rayleigh * Math.exp(-attenuation * depth);
    const db = 20 * Math.log10(amplitude + 1e-4);
    out[i] = Math.round(255 * Math.min(1, Math.max(0, (db + range - 19) / range)));
  }
  return out;
}
