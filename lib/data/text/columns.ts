/** Names of the columns that are read. */
export interface ColumnNames {
  text: string;
  pair?: string;
  label: string;
}

/** Where they are in a row. */
export interface ColumnPlaces {
  text: number;
  pair?: number;
  label: number;
}

/**
 * Layouts that are known by their columns' names: stockpot's own, and those of GLUE (Wang et al. 2019) as its files have
 * them and as the hub's copies do. The first that fits is taken.
 */
const LAYOUTS: readonly ColumnNames[] = [
  { text: 'text', pair: 'text_pair', label: 'label' },
  { text: 'text', label: 'label' },
  { text: '#1 String', pair: '#2 String', label: 'Quality' }, // MRPC
  { text: 'sentence1', pair: 'sentence2', label: 'label' }, // RTE, WNLI
  { text: 'sentence1', pair: 'sentence2', label: 'gold_label' }, // MNLI
  { text: 'premise', pair: 'hypothesis', label: 'label' },
  { text: 'question', pair: 'sentence', label: 'label' }, // QNLI
  { text: 'question1', pair: 'question2', label: 'is_duplicate' }, // QQP
  { text: 'question1', pair: 'question2', label: 'label' },
  { text: 'sentence', label: 'label' }, // SST-2, CoLA
];

/** The columns to read, of those that there are. */
export function columnsOf(
  names: readonly string[],
  wanted?: Partial<ColumnNames>,
): ColumnNames | undefined {
  const fits = (l: ColumnNames) =>
    [l.text, l.label, ...(l.pair === undefined ? [] : [l.pair])].every((n) => names.includes(n));
  if (!wanted) return LAYOUTS.find(fits);
  const layout = LAYOUTS.find((l) => fits({ ...l, ...wanted })) ?? { text: 'text', label: 'label' };
  const { text, label } = { ...layout, ...wanted };
  const pair = wanted.text === undefined ? (wanted.pair ?? layout.pair) : wanted.pair;
  const columns = { text, label, pair };
  return fits(columns) ? columns : undefined;
}

/** Whether a first row names columns: one of its cells is a name that texts or labels have in a layout. */
export const isHeader = (cells: readonly string[]): boolean =>
  cells.some((c) => LAYOUTS.some((l) => c === l.text || c === l.label));

/** The places of columns in a table without names, by its first row. */
export function placesWithoutNames(cells: readonly string[]): ColumnPlaces | undefined {
  if (cells.length === 2) return { text: 0, label: 1 };
  if (cells.length === 3) return { text: 0, pair: 1, label: 2 };
  // CoLA: source, label, the author's mark, sentence.
  const [, label = '', mark = ''] = cells;
  const cola = cells.length === 4 && /^[01]$/.test(label) && /^\**$/.test(mark);
  return cola ? { text: 3, label: 1 } : undefined;
}

/** For messages. */
export const KNOWN_COLUMNS = 'text, text_pair and label, or those of GLUE';
