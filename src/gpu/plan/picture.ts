/**
 * @file A recorded step drawn as an SVG: its dispatches from left to right, below them what lies in memory when. Pure.
 * Used for ARCHITECTURE.md (`npm run bench -- picture`).
 */
import type { Slot } from './lifetimes';
import type { RecordedDispatch } from './recording';

/** One plan of a step; plans follow each other and share slots. */
export interface DrawnPlan {
  readonly title: string;
  readonly dispatches: readonly RecordedDispatch[];
  readonly slots: readonly Slot[];
}

const WIDTH = 1180;
const MARGIN = { left: 70, right: 20, top: 128, bottom: 58 };
const MEMORY_HEIGHT = 380;
const STRIP = 14;
const FONT = 'font-family="system-ui, sans-serif"';

/** Okabe and Ito's palette, by what a kernel does. */
const FAMILIES: readonly (readonly [RegExp, string, string])[] = [
  [/^matmul|^lora|^pack/, '#0072b2', 'matrix product'],
  [/^attention|^rope|^window/, '#009e73', 'attention'],
  [/norm/i, '#e69f00', 'normalisation'],
  [/conv|depthwise|resize|bilinear/, '#56b4e9', 'convolution, resize'],
  [/loss|mean-square|sum|reduce|gather|binary|class/, '#cc79a7', 'loss, sums'],
  [/adam|sgd|clip|norm-of|square|accumulate|copy/, '#d55e00', 'update'],
];
const OTHER = ['#8a8f98', 'element-wise'] as const;

function familyOf(label: string): readonly [string, string] {
  const found = FAMILIES.find(([pattern]) => pattern.test(label));
  return found === undefined ? OTHER : [found[1], found[2]];
}

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const round = (x: number): string => x.toFixed(1);

/**
 * The picture of a step. A bar is one virtual buffer, from the dispatch that writes it to the last that reads it, in its slot, as high as
 * it has bytes; its colour is that of the kernel that wrote it. Weights, gradients, moments and inputs lie outside (they outlive the step).
 */
export function drawPlans(plans: readonly DrawnPlan[]): string {
  const count = plans.reduce((n, { dispatches }) => n + dispatches.length, 0);
  const slotSizes: number[] = [];
  for (const { slots } of plans) {
    slots.forEach(({ size }, i) => (slotSizes[i] = Math.max(slotSizes[i] ?? 0, size)));
  }
  const total = slotSizes.reduce((sum, size) => sum + size, 0);
  const innerWidth = WIDTH - MARGIN.left - MARGIN.right;
  const x = (i: number): number => MARGIN.left + (i / Math.max(1, count)) * innerWidth;
  const top = MARGIN.top + STRIP + 6;
  const y = (bytes: number): number => top + (bytes / Math.max(1, total)) * MEMORY_HEIGHT;
  const bottom = y(total);
  const parts: string[] = [];
  const used = new Map<string, string>();
  let first = 0;
  for (const { title, dispatches, slots } of plans) {
    dispatches.forEach(({ pipeline: { label } }, i) => {
      const [colour, family] = familyOf(label);
      used.set(family, colour);
      const at = x(first + i);
      const width = Math.max(0.5, x(first + i + 1) - at - 1);
      parts.push(
        `<rect x="${round(at)}" y="${MARGIN.top}" width="${round(width)}" height="${STRIP}" fill="${colour}"/>`,
      );
      if (count <= 80) {
        const middle = at + width / 2;
        parts.push(
          `<text transform="translate(${round(middle + 3)} ${MARGIN.top - 5}) rotate(-60)" font-size="10" fill="currentColor">${escape(label)}</text>`,
        );
      }
    });
    let offset = 0;
    slots.forEach(({ lives }, s) => {
      for (const { buffer, first: from, last } of lives) {
        const end = Math.min(last, dispatches.length - 1) + 1;
        const [colour] = familyOf(dispatches[from]?.pipeline.label ?? '');
        const mb = (buffer.size / 1e6).toFixed(2);
        parts.push(
          `<rect x="${round(x(first + from))}" y="${round(y(offset))}" width="${round(x(first + end) - x(first + from) - 1)}" height="${round(Math.max(1, y(offset + buffer.size) - y(offset) - 0.5))}" fill="${colour}" fill-opacity="0.75"><title>${mb} MB, written by ${escape(dispatches[from]?.pipeline.label ?? '')}</title></rect>`,
        );
      }
      offset += slotSizes[s] ?? 0;
    });
    const isNarrow = WIDTH - MARGIN.right - x(first) < 150; // its title then ends at the edge
    const place = isNarrow ? `x="${WIDTH - MARGIN.right}" text-anchor="end"` : `x="${round(x(first) + 2)}"`;
    parts.push(
      `<text ${place} y="${round(bottom + 16)}" font-size="12" fill="currentColor">${escape(title)}: ${dispatches.length} dispatch${dispatches.length === 1 ? '' : 'es'}</text>`,
      `<line x1="${round(x(first))}" x2="${round(x(first))}" y1="${MARGIN.top}" y2="${round(bottom + 3)}" stroke="currentColor" stroke-opacity="0.4"/>`,
    );
    first += dispatches.length;
  }
  let edge = 0;
  for (const size of slotSizes) {
    edge += size;
    parts.push(
      `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${round(y(edge))}" y2="${round(y(edge))}" stroke="currentColor" stroke-opacity="0.15"/>`,
    );
  }
  parts.push(
    `<text x="${MARGIN.left - 6}" y="${round(top + 10)}" font-size="11" text-anchor="end" fill="currentColor">0</text>`,
    `<text x="${MARGIN.left - 6}" y="${round(bottom)}" font-size="11" text-anchor="end" fill="currentColor">${(total / 1e6).toFixed(1)} MB</text>`,
  );
  [...used].forEach(([family, colour], i) => {
    const at = MARGIN.left + i * 165;
    const line = bottom + 34;
    parts.push(
      `<rect x="${at}" y="${round(line)}" width="12" height="12" fill="${colour}"/>`,
      `<text x="${at + 17}" y="${round(line + 10)}" font-size="12" fill="currentColor">${family}</text>`,
    );
  });
  const height = Math.ceil(bottom + MARGIN.bottom);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ${FONT} color="#1b1f24">
<rect width="100%" height="100%" fill="#ffffff"/>
${parts.join('\n')}
</svg>
`;
}
