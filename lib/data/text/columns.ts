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

/** The columns to read, of those that there are; capitals and spaces round a name do not count where none is exact. */
export function columnsOf(
  names: readonly string[],
  wanted?: Partial<ColumnNames>,
): ColumnNames | undefined {
  const find = (name: string) =>
    names.find((n) => n === name) ?? names.find((n) => plain(n) === plain(name));
  const fitted = ({ text, pair, label }: ColumnNames): ColumnNames | undefined => {
    const found = {
      text: find(text),
      pair: pair === undefined ? '' : find(pair),
      label: find(label),
    };
    if (found.text === undefined || found.pair === undefined || found.label === undefined)
      return undefined;
    return { text: found.text, pair: found.pair || undefined, label: found.label };
  };
  for (const layout of LAYOUTS) {
    // A text that is named has the second text that is named, or none.
    const own = wanted?.text === undefined ? layout : { ...layout, pair: undefined };
    const found = fitted({ ...own, ...wanted });
    if (found) return found;
  }
  return undefined;
}

const plain = (name: string): string => name.trim().toLowerCase();

/** Whether a first row names columns: one of its cells is a name that texts or labels have in a layout. */
export const isHeader = (cells: readonly string[]): boolean =>
  cells.some((c) => LAYOUTS.some((l) => plain(c) === plain(l.text) || plain(c) === plain(l.label)));

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
