/**
 * @file CSV tables. Imports lib only. Reference: RFC 4180; OWASP "CSV injection" for the leading apostrophe.
 */
import { UserError } from '../lib/errors';

export type CsvCell = string | number | boolean | null | undefined;

export interface CsvOptions {
  /** Byte order mark, so that Excel reads UTF-8. */
  readonly bom?: boolean;
}

/** Text that a spreadsheet would run as a formula. */
const FORMULA = /^[=+\-@\t\r]/;

function cellText(cell: CsvCell): string {
  if (cell === null || cell === undefined) return '';
  // Not a number, and infinite: no value (peers.md §4.6).
  if (typeof cell === 'number') return Number.isFinite(cell) ? String(cell) : '';
  if (typeof cell === 'boolean') return String(cell);
  const safe = FORMULA.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/**
 * Rows to CSV text with CRLF line ends. Numbers are written with "." and never quoted or prefixed; text that begins with
 * = + - @ gets a leading apostrophe, so that spreadsheets show it instead of running it.
 */
export function stringifyCsv(rows: readonly (readonly CsvCell[])[], options: CsvOptions = {}): string {
  const text = rows.map((row) => `${row.map(cellText).join(',')}\r\n`).join('');
  return options.bom === true ? `\ufeff${text}` : text;
}

function decode(source: string | Uint8Array): string {
  if (typeof source === 'string') return source;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(source);
  } catch {
    // Korean Excel saves code page 949, which the Encoding Standard calls euc-kr.
    return new TextDecoder('euc-kr').decode(source);
  }
}

/**
 * CSV text or bytes (UTF-8, else CP949) to rows of text. Empty lines are left out.
 * @throws UserError 'csv-invalid' naming the file and line for a quote that never closes.
 */
export function parseCsv(source: string | Uint8Array, fileName: string, delimiter = ','): string[][] {
  const text = decode(source).replace(/^\ufeff/, '');
  const rows: string[][] = [];
  let row: string[] = [];
  let at = 0;
  const endRow = (): void => {
    if (row.length > 1 || row[0] !== '') rows.push(row);
    row = [];
  };
  while (at < text.length) {
    let cell: string;
    if (text[at] === '"') {
      const quoted = readQuoted(text, at, fileName);
      // What follows the closing quote up to the delimiter is kept, as spreadsheets do.
      const end = plainEnd(text, quoted.end, delimiter);
      cell = quoted.value + text.slice(quoted.end, end);
      at = end;
    } else {
      const end = plainEnd(text, at, delimiter);
      cell = text.slice(at, end);
      at = end;
    }
    row.push(cell);
    if (at >= text.length) break;
    if (text[at] === delimiter) {
      at++;
      if (at === text.length) row.push('');
      continue;
    }
    at += text[at] === '\r' && text[at + 1] === '\n' ? 2 : 1;
    endRow();
  }
  if (row.length > 0) endRow();
  return rows;
}

function plainEnd(text: string, start: number, delimiter: string): number {
  let end = start;
  while (end < text.length && text[end] !== delimiter && text[end] !== '\n' && text[end] !== '\r') end++;
  return end;
}

function readQuoted(text: string, start: number, fileName: string): { value: string; end: number } {
  let value = '';
  for (let at = start + 1; ;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) {
      const line = text.slice(0, start).split('\n').length;
      throw new UserError('csv-invalid', `"${fileName}", line ${line}: a quoted cell never ends`, {
        subject: fileName,
      });
    }
    value += text.slice(at, quote);
    if (text[quote + 1] !== '"') return { value, end: quote + 1 };
    value += '"';
    at = quote + 2;
  }
}

/** Rows as records by the names in the first row (trimmed); missing cells are "". A Map: names come from files. */
export function csvRecords(rows: readonly (readonly string[])[]): Map<string, string>[] {
  const [head, ...body] = rows;
  const names = (head ?? []).map((n) => n.trim());
  return body.map((row) => new Map(names.map((n, i) => [n, row[i] ?? ''])));
}
