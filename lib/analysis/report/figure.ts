import type { MethodKind } from '../compare/types.js';
import type { ChartSpec } from './render.js';

export type Cell = string | number | null;

/** The numbers behind a figure, one row a mark. */
export interface Table {
  columns: readonly string[];
  rows: readonly (readonly Cell[])[];
}

/** One figure of a report: what it shows, how, and the numbers. */
export interface Figure {
  /** Unique in a report; names its files. */
  id: string;
  title: string;
  /** What one sees, in words; with the numbers that matter. */
  caption: string;
  /** For who does not see it. */
  description: string;
  /** Kinds whose looks need a key. */
  kinds: readonly MethodKind[];
  chart: ChartSpec;
  table: Table;
}

/** Quotes a cell as RFC 4180 has it. Numbers are in full. */
const csvCell = (cell: Cell): string => {
  const text = cell === null ? '' : String(cell);
  // A spreadsheet must not take a name for a formula.
  const safe = typeof cell === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
};

export const toCsv = ({ columns, rows }: Table): string =>
  [columns, ...rows].map((row) => `${row.map(csvCell).join(',')}\r\n`).join('');
