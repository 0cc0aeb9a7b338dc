/** Tables that people keep: CSV or TSV with a header line, or one JSON object a line. Node only. */

import { InputError } from '../../core/errors.js';
import { isBroken, type Line, parseLine, type ReadProgress, readLines } from './jsonl.js';
import { Fields } from './rows.js';

const WHAT = 'a table: .csv or .tsv with a header line, or .jsonl';
/** Lines that one quoted cell may go over. */
const MAX_RECORD_LINES = 1000;

/** One row: the texts in each of its columns; a CSV cell is one text, a JSON list several. */
export interface TableRow {
  /** File and line, for messages. */
  readonly where: string;
  /**
   * The texts of the first of these columns that the row has; none when it has none of them. Throws InputError, with file
   * and line, for a row that is none.
   */
  texts(columns: readonly string[]): readonly string[];
}

/** The rows of a table. Throws InputError, with file and line, for what is no table; broken rows say so when asked. */
export async function* readTable(path: string, onProgress?: ReadProgress): AsyncGenerator<TableRow> {
  const lines = readLines(path, WHAT, onProgress);
  if (/\.(jsonl|ndjson)$/i.test(path)) {
    for await (const line of lines) yield jsonRow(path, line);
    return;
  }
  if (!/\.(csv|tsv)$/i.test(path)) throw new InputError(`${path} is no table by its name; expected ${WHAT}.`);
  let header: readonly string[] | undefined;
  let separator = '\t';
  for await (const line of records(path, lines)) {
    if (!header) {
      const { text } = line;
      if (/\.csv$/i.test(path)) separator = text.includes(',') || !text.includes(';') ? ',' : ';';
      header = cells(text.replace(/^\ufeff/, ''), separator).map((name) => name.trim().toLowerCase());
      const twice = header.find((name, i) => header?.indexOf(name) !== i);
      if (twice !== undefined) throw new InputError(`${path}: the column ${JSON.stringify(twice)} is there twice.`);
      continue;
    }
    yield csvRow(header, separator, path, line);
  }
}

function csvRow(header: readonly string[], separator: string, path: string, line: Line): TableRow {
  const where = `${path}:${line.number}`;
  let parsed: readonly string[] | null = null;
  return {
    where,
    texts(columns) {
      const row = (parsed ??= cells(line.text, separator));
      if (row.length !== header.length) {
        throw new InputError(
          `${where}: the row has ${row.length} columns, the header ${header.length}; put quotes around a cell that holds the separator.`,
        );
      }
      const column = columns.find((name) => header.includes(name));
      const text = column === undefined ? '' : row[header.indexOf(column)].trim();
      return text === '' ? [] : [text];
    },
  };
}

function jsonRow(path: string, line: Line): TableRow {
  const where = `${path}:${line.number}`;
  let parsed: Fields | null = null;
  return {
    where,
    texts(columns) {
      const fields = (parsed ??= new Fields(parseLine(path, line), where, 'the row'));
      const column = columns.find((name) => fields.has(name) && !fields.isNull(name));
      if (column === undefined) return [];
      const value = fields.value(column);
      const list: readonly unknown[] = Array.isArray(value) ? value : [value];
      return list.map((item) => {
        if (typeof item === 'string' || typeof item === 'number' || typeof item === 'boolean')
          return String(item).trim();
        return fields.expected(column, 'a text or a list of texts');
      });
    },
  };
}

/** Lines joined where a quoted cell goes over several. */
async function* records(path: string, lines: AsyncIterable<Line>): AsyncGenerator<Line> {
  let open: { texts: string[]; number: number; start: number } | undefined;
  for await (const line of lines) {
    const { number, start, end } = line;
    if (!open && isBroken(line)) {
      yield line;
      continue;
    }
    const { text } = line;
    const quotes = text.split('"').length - 1;
    if (!open) {
      if (quotes % 2 === 0) yield line;
      else open = { texts: [text], number, start };
      continue;
    }
    open.texts.push(text);
    if (quotes % 2 === 1) {
      yield { text: open.texts.join('\n'), number: open.number, start: open.start, end };
      open = undefined;
    } else if (open.texts.length > MAX_RECORD_LINES) break;
  }
  if (open) throw new InputError(`${path}:${open.number}: a quote is opened in this row and not closed.`);
}

/** The cells of a record (RFC 4180): a cell in quotes may hold the separator, line ends and doubled quotes. */
function cells(record: string, separator: string): string[] {
  const found: string[] = [];
  for (let at = 0; ; at++) {
    if (record[at] === '"') {
      let text = '';
      for (at++; at < record.length; at++) {
        const to = record.indexOf('"', at);
        text += record.slice(at, to < 0 ? record.length : to);
        at = to < 0 ? record.length : to;
        if (record[at + 1] !== '"') break;
        text += '"';
        at++;
      }
      const end = record.indexOf(separator, at);
      found.push(text + record.slice(at + 1, end < 0 ? record.length : end));
      at = end < 0 ? record.length : end;
    } else {
      const end = record.indexOf(separator, at);
      found.push(record.slice(at, end < 0 ? record.length : end));
      at = end < 0 ? record.length : end;
    }
    if (at >= record.length) return found;
  }
}
