/**
 * @file What lies in front of the phantom's transducer: layered breast tissue and a lesion, as maps of echo power. Imports lib.
 * Levels relative to gland (1): skin and septa above, fat about -8 dB, muscle -9 dB, solid lesions -9 to -18 dB, cysts -30 dB
 * (the order of echogenicity of the BI-RADS atlas: fat is darker than gland, cysts are without echoes).
 */
import type { Random } from '../lib/random';

export type LesionKind = 'benign' | 'malignant';

/** Outline and effect of one lesion; lengths in units of the picture's side. */
export interface Lesion {
  readonly kind: LesionKind;
  readonly cx: number;
  readonly cy: number;
  readonly rx: number;
  readonly ry: number;
  readonly tilt: number; // radians
  /** Radius relative to the ellipse, by angle. */
  readonly outline: (angle: number) => number;
  readonly echo: number; // power inside, relative to gland
  readonly behind: number; // power factor behind: below 1 shadow, above 1 enhancement
}

const db = (level: number): number => 10 ** (level / 10);
const smooth = (t: number): number => t * t * (3 - 2 * t);

/** Smooth random surface in [-1, 1] over the unit square, about `across` x `down` bumps. */
function surface(random: Random, across: number, down: number): (u: number, v: number) => number {
  const grid = Float64Array.from({ length: (across + 2) * (down + 2) }, () => random.uniform(-1, 1));
  return (u, v) => {
    const [x, y] = [Math.min(1, Math.max(0, u)) * across, Math.min(1, Math.max(0, v)) * down];
    const [i, j] = [Math.floor(x), Math.floor(y)];
    const [a, b] = [smooth(x - i), smooth(y - j)];
    const at = j * (across + 2) + i;
    const below = at + across + 2;
    const top = (grid[at] as number) * (1 - a) + (grid[at + 1] as number) * a;
    const bottom = (grid[below] as number) * (1 - a) + (grid[below + 1] as number) * a;
    return top * (1 - b) + bottom * b;
  };
}

/** Echo power [size, size]: skin, fat lobules between septa, gland, muscle under its fascia. */
export function tissue(size: number, random: Random): Float64Array {
  const skinEnd = random.uniform(0.04, 0.065);
  const fatEnd = random.uniform(0.18, 0.32);
  const muscleStart = random.uniform(0.74, 0.88);
  const edges = surface(random, 4, 3);
  const lobules = surface(random, 6, 9);
  const [bands, knots] = [surface(random, 3, 12), surface(random, 9, 14)];
  const fibres = surface(random, 2, 40);
  const [fat, muscle] = [db(random.uniform(-10, -7)), db(random.uniform(-11, -8))];
  const spread = random.uniform(0.35, 0.8);
  const out = new Float64Array(size * size);
  for (let x = 0; x < size; x++) {
    const u = x / size;
    const [skinAt, fatAt, muscleAt] = [
      skinEnd + 0.008 * edges(u, 0),
      fatEnd + 0.09 * edges(u, 0.5),
      muscleStart + 0.05 * edges(u, 1),
    ];
    for (let y = 0; y < size; y++) {
      const v = y / size;
      const toMuscle = v - muscleAt;
      let e: number;
      if (v < skinAt) e = db(5);
      else if (v < fatAt) {
        // Septa run where the lobule surface crosses zero, and along the border to the gland.
        const septum = Math.max(0, 1 - Math.abs(lobules(u, v * 1.4)) / 0.09, 1 - Math.abs(fatAt - v) / 0.012);
        e = fat * (1 + 0.3 * knots(u, v)) + septum * db(-1);
      } else if (toMuscle < 0) e = Math.exp(spread * (1.4 * bands(u, v) + 0.8 * knots(u, v)));
      else if (toMuscle < 0.014) e = db(3);
      else e = muscle * Math.exp(1.6 * Math.max(0, fibres(u, v + 0.15 * edges(u, 1))));
      out[y * size + x] = Math.max(0.02, e);
    }
  }
  return out;
}

/** Ellipse, lobulated or spiculated. */
function outlineOf(kind: LesionKind, random: Random): (angle: number) => number {
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

/** Benign lesions lie flat, some are cysts, a few as bright as gland or brighter; malignant ones stand upright, darken what is behind. */
export function lesionOf(kind: LesionKind, random: Random): Lesion {
  const rx = random.uniform(0.09, 0.24);
  const [ry, cx, cy, tilt] = [
    rx * (kind === 'benign' ? random.uniform(0.5, 0.8) : random.uniform(0.75, 1.15)),
    random.uniform(0.28, 0.72),
    random.uniform(0.38, 0.62),
    random.uniform(-0.4, 0.4),
  ];
  const outline = outlineOf(kind, random);
  const u = random.uniform();
  const level =
    kind === 'malignant'
      ? random.uniform(-18, -12)
      : u < 0.25
        ? -30 // cyst
        : u < 0.85
          ? random.uniform(-15, -9)
          : u < 0.94
            ? random.uniform(-5, -3) // nearly isoechoic
            : random.uniform(3, 5); // hyperechoic (lipoma, angiolipoma)
  const behind =
    kind === 'malignant'
      ? db(random.uniform(-9, -3))
      : level === -30
        ? db(random.uniform(3, 5))
        : db(random.uniform(-0.5, 2));
  return { kind, cx, cy, rx, ry, tilt, outline, echo: db(level), behind };
}

/** Distance of a pixel's centre from the lesion's middle, 1 on its outline. */
function radiusAt(lesion: Lesion, size: number): (x: number, y: number) => number {
  const [cos, sin] = [Math.cos(lesion.tilt), Math.sin(lesion.tilt)];
  return (x, y) => {
    const [dx, dy] = [(x + 0.5) / size - lesion.cx, (y + 0.5) / size - lesion.cy];
    const [px, py] = [(cos * dx + sin * dy) / lesion.rx, (cos * dy - sin * dx) / lesion.ry];
    const r = Math.hypot(px, py);
    // No outline reaches beyond 1.6: most pixels need no angle.
    return r > 1.8 ? r : r / lesion.outline(Math.atan2(py, px));
  };
}

/** The exact mask, 0 / 255: [size, size]; empty without a lesion. */
export function maskOf(lesion: Lesion | null, size: number): Uint8Array {
  const mask = new Uint8Array(size * size);
  if (lesion === null) return mask;
  const radius = radiusAt(lesion, size);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) if (radius(x, y) <= 1) mask[y * size + x] = 255;
  return mask;
}

/** Puts the lesion into the echo map: its inside, its rim (capsule or halo), and what the beam meets behind it. */
export function embed(
  echo: Float64Array,
  mask: Uint8Array,
  lesion: Lesion,
  size: number,
  random: Random,
): void {
  const radius = radiusAt(lesion, size);
  const texture = surface(random, 10, 12);
  const bottom = new Float64Array(size).fill(-1);
  const rim = lesion.kind === 'malignant' ? 0.18 : 0.07;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const i = y * size + x;
      if (mask[i] !== 0) {
        bottom[x] = y;
        echo[i] = lesion.echo * Math.exp(0.5 * texture(x / size, y / size));
        continue;
      }
      const over = radius(x, y) - 1;
      if (over < rim) echo[i] = (echo[i] as number) * (1 + 1.2 * (1 - over / rim));
    }
  }
  castBehind(echo, bottom, lesion, size);
}

/** Shadow or enhancement below the lesion, soft at its sides; round benign ones also refract at both edges (thin dark lines). */
function castBehind(echo: Float64Array, bottom: Float64Array, lesion: Lesion, size: number): void {
  const half = lesion.rx * size;
  const middle = lesion.cx * size;
  for (let x = 0; x < size; x++) {
    const from = bottom[x] as number;
    if (from < 0) continue;
    const side = Math.max(0, 1 - Math.abs(x + 0.5 - middle) / half); // 0 at the edges
    let factor = 1 + (lesion.behind - 1) * smooth(Math.min(1, side / 0.3));
    if (lesion.kind === 'benign' && side < 0.1) factor *= 0.6;
    for (let y = from + 1; y < size; y++) {
      const fade = Math.exp(-(y - from) / (0.8 * size));
      echo[y * size + x] = (echo[y * size + x] as number) * (1 + (factor - 1) * fade);
    }
  }
}
