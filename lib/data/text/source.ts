import { stat } from 'node:fs/promises';
import { showJson } from '../../checkpoint/json.js';
import { fileError } from '../../checkpoint/system_error.js';
import { StockpotError } from '../../errors.js';
import type { BrokenExample } from '../examples.js';
import {
  type ColumnNames,
  type ColumnPlaces,
  columnsOf,
  isHeader,
  KNOWN_COLUMNS,
  placesWithoutNames,
} from './columns.js';
import { commaSeparated, type TableRow, tabSeparated } from './delimited.js';
import { linesOf } from './lines.js';

/** One labelled text, or pair of texts, as it lies in a file. */
export interface RawText {
  /** FILE:LINE. */
  file: string;
  text: string;
  pair?: string;
  /** A number, or a name. */
  label: string;
  /** Bytes of the source that have been read. */
  read: number;
}

/** Labelled texts in the order that a data set has them in. */
export interface TextSource {
  /** As it was given. */
  path: string;
  /** Names of the classes in the data's own order, where it has names and `label` is one of them. */
  classNames?: readonly string[];
  /** Bytes that are read in all. */
  bytes: number;
  examples(signal?: AbortSignal): AsyncIterable<RawText | BrokenExample>;
}

/**
 * Labelled texts in files of one kind: .tsv, .csv or .jsonl. Several are read one after another, each with a header of
 * its own, or without.
 * @param wanted names of columns, where they are not of a layout that is known
 * @throws StockpotError NOT_FOUND, IO
 */
export async function textFiles(
  paths: readonly string[],
  wanted?: Partial<ColumnNames>,
): Promise<TextSource> {
  const sizes: number[] = [];
  for (const path of paths) {
    const info = await stat(path).catch((cause) => {
      throw fileError(path, cause);
    });
    sizes.push(info.size);
  }
  return {
    path: paths.join(', '),
    bytes: sizes.reduce((a, b) => a + b, 0),
    async *examples(signal) {
      let before = 0;
      for (const [i, path] of paths.entries()) {
        const rows = /\.jsonl$/i.test(path)
          ? jsonLines(path, wanted, signal)
          : table(path, wanted, signal);
        for await (const row of rows)
          yield 'problem' in row ? row : { ...row, read: before + row.read };
        before += sizes[i] as number;
      }
    },
  };
}

async function* table(
  path: string,
  wanted?: Partial<ColumnNames>,
  signal?: AbortSignal,
): AsyncGenerator<RawText | BrokenExample> {
  const rows: AsyncGenerator<TableRow> = /\.csv$/i.test(path)
    ? commaSeparated(path, signal)
    : tabSeparated(path, signal);
  let places: ColumnPlaces | undefined;
  let width = 0;
  for await (const { line, cells, problem, end } of rows) {
    const file = `${path}:${line}`;
    if (problem !== undefined) {
      yield { file, problem };
      continue;
    }
    if (!places) {
      width = cells.length;
      const header = wanted !== undefined || isHeader(cells);
      places = header ? placesIn(path, cells, wanted) : placesWithoutNames(cells);
      if (!places) throw noColumns(path, `a table of ${width} columns without a header`);
      if (header) continue;
    }
    if (cells.length !== width) {
      const found = `${cells.length} column${cells.length === 1 ? '' : 's'}`;
      yield { file, problem: `has ${found}, expected ${width}` };
      continue;
    }
    const [text = '', label = ''] = [cells[places.text], cells[places.label]];
    const pair = places.pair === undefined ? undefined : cells[places.pair];
    yield { file, text, pair, label, read: end };
  }
}

function placesIn(path: string, names: readonly string[], wanted?: Partial<ColumnNames>) {
  const found = columnsOf(names, wanted);
  if (!found) throw noColumns(path, `the columns ${names.join(', ')}`, wanted);
  const { text, pair, label } = found;
  return {
    text: names.indexOf(text),
    pair: pair === undefined ? undefined : names.indexOf(pair),
    label: names.indexOf(label),
  };
}

/** What is said where the columns of a file cannot be told apart. */
function noColumns(path: string, found: string, wanted?: object): StockpotError {
  const expected = wanted
    ? Object.entries(wanted)
        .map(([as, name]) => `${name} (as ${as})`)
        .join(', ')
    : KNOWN_COLUMNS;
  return new StockpotError(
    'FORMAT',
    `${path}: expected the columns ${expected} but found ${found}`,
    {
      file: path,
      remedy:
        'Name them: --columns text=NAME,label=NAME (and text_pair=NAME), or give the file such a header.',
    },
  );
}

async function* jsonLines(
  path: string,
  wanted?: Partial<ColumnNames>,
  signal?: AbortSignal,
): AsyncGenerator<RawText | BrokenExample> {
  let columns: ColumnNames | undefined;
  for await (const line of linesOf(path, signal)) {
    if (line.text.trim() === '') continue;
    const file = `${path}:${line.number}`;
    const row = line.valid ? parsed(line.text) : 'is not UTF-8';
    if (typeof row === 'string') {
      yield { file, problem: row };
      continue;
    }
    columns ??= columnsOf(Object.keys(row), wanted);
    if (!columns) throw noColumns(path, `the keys ${Object.keys(row).join(', ')}`, wanted);
    yield labelled(file, line.end, row, columns);
  }
}

function parsed(text: string): Record<string, unknown> | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    return `is not valid JSON: ${(e as Error).message}`;
  }
  const object = typeof value === 'object' && value !== null && !Array.isArray(value);
  return object ? (value as Record<string, unknown>) : 'expected a JSON object';
}

/** A row with values of any type as an example. */
export function labelled(
  file: string,
  read: number,
  row: Record<string, unknown>,
  columns: ColumnNames,
): RawText | BrokenExample {
  const value = (name: string): unknown => (Object.hasOwn(row, name) ? row[name] : undefined);
  const strange = (name: string, expected: string): BrokenExample => ({
    file,
    problem: `has ${name} ${show(value(name))}, expected ${expected}`,
  });
  const text = value(columns.text);
  if (typeof text !== 'string') return strange(columns.text, 'a string');
  const pair = columns.pair === undefined ? undefined : (value(columns.pair) ?? undefined);
  if (pair !== undefined && typeof pair !== 'string')
    return strange(columns.pair as string, 'a string');
  const label = labelOf(value(columns.label));
  if (label === undefined) return strange(columns.label, 'a number or a name');
  return { file, text, pair, label, read };
}

/** A value as a label; undefined where it is none. */
export function labelOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint' || Number.isInteger(value)) return String(value);
  return typeof value === 'boolean' ? String(Number(value)) : undefined;
}

/** A value in a message. */
export const show = (value: unknown): string => {
  if (value === undefined || value === null) return 'missing';
  return typeof value === 'bigint' ? String(value) : showJson(value, 40);
};
