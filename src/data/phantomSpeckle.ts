/**
 * @file What the scanner makes of an echo map: speckle, attenuation, log compression. Imports lib.
 * Fully developed speckle: complex Gaussian scatterers under a Gaussian point spread function, so that the amplitude of an even
 * region is Rayleigh distributed (Wagner et al., IEEE Trans. Sonics Ultrasonics 30(3), 1983); then the light smoothing of power
 * that scanners apply (spatial compounding).
 */
import type { Random } from '../lib/random';

/** Gaussian weights; `unit` 2: squares sum to 1 (keeps the power of noise), 1: they sum to 1 (keeps a mean). */
function gaussian(sigma: number, unit: 1 | 2): Float64Array {
  const reach = Math.ceil(2.5 * sigma);
  const k = Float64Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-0.5 * ((i - reach) / sigma) ** 2),
  );
  const norm =
    unit === 2 ? Math.sqrt(k.reduce((sum, w) => sum + w * w, 0)) : k.reduce((sum, w) => sum + w, 0);
  return k.map((w) => w / norm);
}

/** Filters along one axis of [size, size]; the border pixel is repeated. @param step 1 along x, size along y. */
function filtered(data: Float64Array, size: number, kernel: Float64Array, step: 1 | number): Float64Array {
  const reach = (kernel.length - 1) / 2;
  const line = step === 1 ? size : 1;
  const out = new Float64Array(data.length);
  for (let a = 0; a < size; a++) {
    for (let b = 0; b < size; b++) {
      let sum = 0;
      for (let k = -reach; k <= reach; k++) {
        const p = b + k < 0 ? 0 : b + k >= size ? size - 1 : b + k;
        sum += (kernel[k + reach] as number) * (data[a * line + p * step] as number);
      }
      out[a * line + b * step] = sum;
    }
  }
  return out;
}

/** Independent normal numbers, Box-Muller in pairs: [real, imaginary] scatterers. */
function scatterers(count: number, random: Random): readonly [Float64Array, Float64Array] {
  const [re, im] = [new Float64Array(count), new Float64Array(count)];
  for (let i = 0; i < count; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - random.uniform()));
    const angle = 2 * Math.PI * random.uniform();
    re[i] = radius * Math.cos(angle);
    im[i] = radius * Math.sin(angle);
  }
  return [re, im];
}

/** 8-bit picture [size, size] of an echo power map. */
export function insonify(echo: Float64Array, size: number, random: Random): Uint8Array {
  const scale = Math.max(0.6, size / 128);
  // Wider across the beam than along it.
  const [across, along] = [gaussian(1.15 * scale, 2), gaussian(0.6 * scale, 2)];
  const field = scatterers(size * size, random).map((noise) =>
    filtered(filtered(noise, size, across, 1), size, along, size),
  ) as [Float64Array, Float64Array];
  const power = field[0].map((re, i) => 0.5 * (re * re + (field[1][i] as number) ** 2) * (echo[i] as number));
  const compound = gaussian(0.7 * scale, 1);
  const smooth = filtered(filtered(power, size, compound, 1), size, compound, size);
  const attenuation = random.uniform(3, 9); // dB from top to bottom, left over after time-gain compensation
  const gain = random.uniform(-2, 2);
  const range = random.uniform(46, 54); // dB shown
  const contact = random.uniform(0, 6); // dB lost at the edges of the transducer
  const out = new Uint8Array(size * size);
  for (let i = 0; i < out.length; i++) {
    const depth = Math.floor(i / size) / size;
    const off = Math.abs(((i % size) + 0.5) / size - 0.5) * 2;
    const level =
      10 * Math.log10((smooth[i] as number) + 1e-5) + gain - attenuation * depth - contact * off ** 4;
    out[i] = Math.round(255 * Math.min(1, Math.max(0, (level + range - 22) / range)));
  }
  return out;
}
