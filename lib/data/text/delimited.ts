import { type Line, linesOf } from './lines.js';

/** A row of a table, or what is wrong with it. */
export interface TableRow {
  /** Of its first line. */
  line: number;
  cells: readonly string[];
  problem?: string;
  /** Bytes of the file up to its end. */
  end: number;
}

const withoutReturn = (text: string): string => (text.endsWith('\r') ? text.slice(0, -1) : text);
const notUtf8 = 'is not UTF-8';

/** Tab-separated values as GLUE has them: nothing is quoted, a quotation mark is a character of its text. */
export async function* tabSeparated(path: string, signal?: AbortSignal): AsyncGenerator<TableRow> {
  for await (const { number, text, end, valid } of linesOf(path, signal)) {
    const row = withoutReturn(text);
    if (row === '') continue;
    const problem = valid ? undefined : notUtf8;
    yield { line: number, cells: row.split('\t'), problem, end };
  }
}

/** Lines that a quoted field may go over; a quotation mark that is never closed is found by then. */
const MOST_LINES = 1000;

/**
 * Comma-separated values (RFC 4180): fields may stand in quotation marks, and may then hold commas, line ends and doubled
 * quotation marks. After a row that is damaged, reading goes on with the next line.
 */
export async function* commaSeparated(
  path: string,
  signal?: AbortSignal,
): AsyncGenerator<TableRow> {
  const lines = linesOf(path, signal);
  const ahead: Line[] = [];
  const line = async (i: number): Promise<Line | undefined> => {
    while (ahead.length <= i) {
      const next = await lines.next();
      if (next.done) return undefined;
      ahead.push(next.value);
    }
    return ahead[i];
  };
  try {
    for (let first = await line(0); first; first = await line(0)) {
      const record = new CsvRecord();
      let used = 0;
      let end = first.end;
      let problem: string | undefined;
      do {
        const l = used < MOST_LINES ? await line(used) : undefined;
        if (!l) problem = 'has a quotation mark that is never closed';
        else {
          if (!l.valid) problem = notUtf8;
          problem = record.add(l.text) ?? problem;
          end = l.end;
          used++;
        }
      } while (record.open && problem === undefined);
      ahead.splice(0, problem === undefined ? used : 1);
      if (problem === undefined && used === 1 && withoutReturn(first.text) === '') continue;
      yield { line: first.number, cells: record.cells, problem, end };
    }
  } finally {
    await lines.return(undefined);
  }
}

/** One row, line by line. */
class CsvRecord {
  readonly cells: string[] = [];
  /** The quoted field that goes on in the next line. */
  private field: string | undefined;

  get open(): boolean {
    return this.field !== undefined;
  }

  /** What is wrong with the row, if anything is. */
  add(line: string): string | undefined {
    let at = 0;
    if (this.field !== undefined) this.field += '\n';
    for (;;) {
      if (this.field === undefined && line[at] !== '"') {
        const comma = line.indexOf(',', at);
        const plain = comma < 0 ? withoutReturn(line.slice(at)) : line.slice(at, comma);
        if (plain.includes('"')) return 'has a quotation mark inside a field that is not quoted';
        this.cells.push(plain);
        if (comma < 0) return undefined;
        at = comma + 1;
        continue;
      }
      if (this.field === undefined) {
        this.field = '';
        at++;
      }
      const close = line.indexOf('"', at);
      if (close < 0) {
        this.field += line.slice(at);
        return undefined;
      }
      this.field += line.slice(at, close);
      at = close + 1;
      if (line[at] === '"') {
        this.field += '"';
        at++;
        continue;
      }
      this.cells.push(this.field);
      this.field = undefined;
      if (at === line.length || line.slice(at) === '\r') return undefined;
      if (line[at] !== ',') return 'has text after a quoted field';
      at++;
    }
  }
}
