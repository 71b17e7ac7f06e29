/**
 * @file One pass over JSON text before `JSON.parse`: finds what `JSON.parse` hides (duplicate keys, key order, depth).
 * Imports nothing. `JSON.parse` still decides whether the text is JSON; this only needs strings and brackets.
 */

export interface JsonScan {
  /** Keys of the top-level object, in the text's order. */
  readonly topKeys: readonly string[];
  /** The first key that occurs twice in one object, if any. */
  readonly duplicate: string | undefined;
  readonly depth: number;
}

interface Frame {
  readonly keys: Set<string> | undefined;
  expectKey: boolean;
}

function stringEnd(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text.charCodeAt(i) !== 0x22) i += text.charCodeAt(i) === 0x5c ? 2 : 1;
  return i;
}

/** Scans JSON text. Stops early (with what it has) once nesting passes `maxDepth`. */
export function scanJson(text: string, maxDepth: number): JsonScan {
  const frames: Frame[] = [];
  const topKeys: string[] = [];
  let duplicate: string | undefined;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    const frame = frames[frames.length - 1];
    if (c === '"') {
      const end = stringEnd(text, i);
      if (frame?.keys !== undefined && frame.expectKey) {
        const key = decodeString(text.slice(i, end + 1));
        if (frame.keys.has(key)) duplicate ??= key;
        frame.keys.add(key);
        if (frames.length === 1) topKeys.push(key);
        frame.expectKey = false;
      }
      i = end;
    } else if (c === '{' || c === '[') {
      frames.push({ keys: c === '{' ? new Set() : undefined, expectKey: true });
      depth = Math.max(depth, frames.length);
      if (depth > maxDepth) break;
    } else if (c === '}' || c === ']') {
      frames.pop();
    } else if (c === ',' && frame !== undefined) {
      frame.expectKey = true;
    }
  }
  return { topKeys, duplicate, depth };
}

function decodeString(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted;
  }
}
