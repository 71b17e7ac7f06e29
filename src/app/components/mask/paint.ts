/**
 * @file Masks to pixels: fill, outline, difference. Pure functions on RGBA arrays; nearest neighbour only, nothing is smoothed.
 */

export type Rgb = readonly [number, number, number];

/** Okabe-Ito, label 1 first (tokens.css holds the same). */
export const CLASS_COLORS: readonly Rgb[] = [
  [230, 159, 0],
  [86, 180, 233],
  [0, 158, 115],
  [240, 228, 66],
  [0, 114, 178],
  [213, 94, 0],
  [204, 121, 167],
  [153, 153, 153],
];
/** Agreement, false positive, false negative: told apart without red against green. */
export const DIFFERENCE_COLORS = {
  tp: [0, 158, 115],
  fp: [213, 94, 0],
  fn: [86, 180, 233],
} as const satisfies Record<string, Rgb>;

export function classColor(label: number): Rgb {
  return CLASS_COLORS[(label - 1) % CLASS_COLORS.length] as Rgb;
}

/** RGB bytes to opaque RGBA. */
export function rgbToRgba(rgb: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray((rgb.length / 3) * 4);
  for (let i = 0, o = 0; i < rgb.length; i += 3, o += 4) {
    out[o] = rgb[i] as number;
    out[o + 1] = rgb[i + 1] as number;
    out[o + 2] = rgb[i + 2] as number;
    out[o + 3] = 255;
  }
  return out;
}

function blend(rgba: Uint8ClampedArray, i: number, color: Rgb, opacity: number): void {
  for (let c = 0; c < 3; c++)
    rgba[i * 4 + c] = (rgba[i * 4 + c] as number) * (1 - opacity) + (color[c] as number) * opacity;
}

/** A pixel whose right, left, upper or lower neighbour has another label (or lies outside). */
export function isEdge(mask: Uint8Array, width: number, height: number, i: number): boolean {
  const v = mask[i];
  const x = i % width;
  const y = (i - x) / width;
  return (
    x === 0 ||
    y === 0 ||
    x === width - 1 ||
    y === height - 1 ||
    mask[i - 1] !== v ||
    mask[i + 1] !== v ||
    mask[i - width] !== v ||
    mask[i + width] !== v
  );
}

export interface OverlayStyle {
  readonly opacity: number; // 0..1, of the fill
  readonly mode: 'fill' | 'outline';
  /** Labels not to draw. */
  readonly hidden?: ReadonlySet<number>;
}

/** Draws a label map over an RGBA picture in place. */
export function paintMask(
  rgba: Uint8ClampedArray,
  mask: Uint8Array,
  width: number,
  height: number,
  style: OverlayStyle,
): void {
  for (let i = 0; i < mask.length; i++) {
    const label = mask[i] as number;
    if (label === 0 || style.hidden?.has(label) === true) continue;
    const edge = isEdge(mask, width, height, i);
    if (edge) blend(rgba, i, classColor(label), Math.min(1, style.opacity + 0.5));
    else if (style.mode === 'fill') blend(rgba, i, classColor(label), style.opacity);
  }
}

/** TP, FP and FN of a prediction over an RGBA picture; FN is hatched, so that colour is not the only sign. A wrong label counts as FP. */
export function paintDifference(
  rgba: Uint8ClampedArray,
  prediction: Uint8Array,
  truth: Uint8Array,
  width: number,
  opacity: number,
): void {
  for (let i = 0; i < truth.length; i++) {
    const p = prediction[i] as number;
    const t = truth[i] as number;
    if (p === 0 && t === 0) continue;
    if (p === t) blend(rgba, i, DIFFERENCE_COLORS.tp, opacity);
    else if (p !== 0) blend(rgba, i, DIFFERENCE_COLORS.fp, Math.min(1, opacity + 0.25));
    else {
      const x = i % width;
      const y = (i - x) / width;
      blend(rgba, i, DIFFERENCE_COLORS.fn, (x + y) % 4 < 2 ? Math.min(1, opacity + 0.35) : opacity * 0.4);
    }
  }
}

/** Label map of a stored prediction. Probabilities are p x 255. */
export function predictionLabels(
  prediction: Uint8Array,
  kind: 'probability' | 'labels',
  threshold: number,
): Uint8Array {
  return kind === 'labels' ? prediction : prediction.map((v) => (v > threshold * 255 ? 1 : 0));
}
