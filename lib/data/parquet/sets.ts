import { StockpotError } from '../../errors.js';
import { type ClassLabels, classLabels } from '../class_labels.js';
import type { BrokenExample, ExampleSource, RawExample } from '../examples.js';
import { type ColumnNames, columnsOf, KNOWN_COLUMNS } from '../text/columns.js';
import { labelled, labelOf, type RawText, show, type TextSource } from '../text/source.js';
import { type ParquetColumn, ParquetFile, type ParquetRow } from './reader.js';

/** Columns that the user names. */
export type WantedColumns = Partial<ColumnNames> & { image?: string };

type Source =
  | { images: (known?: readonly string[]) => Promise<ExampleSource> }
  | { texts: TextSource };

/**
 * Parquet files as one data set, of images or of texts.
 * @throws StockpotError NOT_FOUND, IO, FORMAT, MISMATCH
 */
export async function parquetSource(
  paths: readonly string[],
  wanted?: WantedColumns,
): Promise<Source> {
  const files: ParquetFile[] = [];
  for (const path of paths) files.push(await ParquetFile.open(path));
  const [first] = files as [ParquetFile];
  const image = imageColumn(first, wanted);
  const columns = image ?? textColumns(first, wanted);
  const used = Object.values(columns).filter((c) => c !== undefined);
  for (const file of files) checkSame(first, file, used);
  const of = { path: paths.join(', '), files, used };
  return image
    ? { images: (known) => imageSource(of, image, known) }
    : { texts: textSource(of, columns as ColumnNames) };
}

interface Files {
  path: string;
  files: readonly ParquetFile[];
  used: readonly string[];
}

const named = (file: ParquetFile, name: string): ParquetColumn | undefined =>
  file.columns.find((c) => c.name === name);

interface ImageColumns {
  image: string;
  label: string;
}

function imageColumn(file: ParquetFile, wanted?: WantedColumns): ImageColumns | undefined {
  if (wanted?.text !== undefined) return undefined;
  const images = file.columns.filter((c) => c.kind === 'image').map((c) => c.name);
  const image = wanted?.image ?? (images.length === 1 ? images[0] : undefined);
  if (image === undefined) {
    if (images.length === 0) return undefined;
    throw refused(file, 'one column of images', '--columns image=NAME,label=NAME');
  }
  const kind = named(file, image)?.kind;
  if (kind !== 'image' && kind !== 'bytes')
    throw refused(file, `images in the column ${image}`, '--columns image=NAME,label=NAME');
  const labels = file.columns.filter((c) => c.classNames).map((c) => c.name);
  const label =
    wanted?.label ?? (named(file, 'label') ? 'label' : labels.length === 1 ? labels[0] : undefined);
  if (label === undefined || !named(file, label))
    throw refused(
      file,
      `a column of labels${label ? ` named ${label}` : ''}`,
      '--columns label=NAME',
    );
  return { image, label };
}

function textColumns(file: ParquetFile, wanted?: WantedColumns): ColumnNames {
  const { image: _, ...rest } = wanted ?? {};
  const names = file.columns.map((c) => c.name);
  const found = columnsOf(names, wanted && rest);
  if (found) return found;
  throw refused(
    file,
    `an image column, or the columns ${KNOWN_COLUMNS}`,
    '--columns text=NAME,label=NAME (and text_pair=NAME), or --columns image=NAME,label=NAME',
  );
}

function refused(file: ParquetFile, expected: string, option: string): StockpotError {
  const found = file.columns.map((c) => `${c.name} (${c.classNames ? 'classes' : c.kind})`);
  return new StockpotError(
    'FORMAT',
    `${file.path}: expected ${expected} but found ${found.join(', ') || 'no columns'}`,
    { file: file.path, remedy: `Name them: ${option}.` },
  );
}

/** Files of one set have the same columns, and the same names for the classes. */
function checkSame(first: ParquetFile, file: ParquetFile, used: readonly string[]): void {
  for (const name of used) {
    const [a, b] = [named(first, name), named(file, name)];
    if (b && a?.kind === b.kind && JSON.stringify(a.classNames) === JSON.stringify(b.classNames))
      continue;
    throw new StockpotError(
      'MISMATCH',
      `${file.path}: expected the column ${name} as in ${first.path} but ${b ? 'its type or its classes differ' : 'it is not there'}`,
      { file: file.path, remedy: 'Give files of one data set.' },
    );
  }
}

/** A class's name in place of its number, where the names tell classes apart. */
function classNamesOf(set: Files, label: string): readonly string[] | undefined {
  const names = named(set.files[0] as ParquetFile, label)?.classNames;
  return names && new Set(names).size === names.length ? names : undefined;
}

/** A column's value as the label that it stands for. */
function nameOf(value: unknown, names?: readonly string[]): unknown {
  if (!names || (typeof value !== 'bigint' && typeof value !== 'number')) return value;
  return names[Number(value)] ?? value;
}

function textSource(set: Files, columns: ColumnNames): TextSource {
  const names = classNamesOf(set, columns.label);
  return {
    path: set.path,
    classNames: names,
    bytes: set.files.reduce((n, f) => n + f.bytes(set.used), 0),
    async *examples(signal): AsyncGenerator<RawText | BrokenExample> {
      let before = 0;
      for (const file of set.files) {
        const perRow = file.bytes(set.used) / Math.max(1, file.rows);
        for await (const { row, at, n } of rowsOf(file, set.used, signal)) {
          const texts = Object.fromEntries(Object.entries(row).map(([k, v]) => [k, textOf(v)]));
          texts[columns.label] = nameOf(texts[columns.label], names);
          yield labelled(at, before + n * perRow, texts, columns);
        }
        before += file.bytes(set.used);
      }
    },
  };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Texts whose column does not say that it holds texts are bytes. */
function textOf(value: unknown): unknown {
  if (!(value instanceof Uint8Array)) return value;
  try {
    return utf8.decode(value);
  } catch {
    return undefined;
  }
}

async function* rowsOf(file: ParquetFile, columns: readonly string[], signal?: AbortSignal) {
  let n = 0;
  for await (const rows of file.read(columns, signal))
    for (const row of rows) yield { row, at: `${file.path}:row ${n++}`, n };
}

/** Images of a set; its labels are read before, since what they mean depends on all of them. */
async function imageSource(
  set: Files,
  { image, label }: ImageColumns,
  known?: readonly string[],
): Promise<ExampleSource> {
  const names = classNamesOf(set, label);
  const labelIn = (row: ParquetRow, at: string): string | BrokenExample => {
    const value = nameOf(textOf(row[label]), names);
    return (
      labelOf(value) ?? {
        file: at,
        problem: `has ${label} ${show(value)}, expected a number or a name`,
      }
    );
  };
  const found = new Set<string>();
  for (const file of set.files) {
    for await (const { row, at } of rowsOf(file, [label])) {
      const l = labelIn(row, at);
      if (typeof l === 'string') found.add(l);
    }
  }
  const meaning = classLabels(set.path, found, known ? [known] : [], names);
  return {
    path: set.path,
    classNames: meaning.classNames,
    notes: meaning.notes,
    bytes: set.files.reduce((n, f) => n + f.bytes([image]), 0),
    async *examples(signal) {
      for (const file of set.files)
        for await (const { row, at } of rowsOf(file, [image, label], signal))
          yield toExample(at, row[image], labelIn(row, at), meaning);
    },
  };
}

function toExample(
  file: string,
  image: unknown,
  name: string | BrokenExample,
  meaning: ClassLabels,
): RawExample | BrokenExample {
  if (typeof name !== 'string') return name;
  const label = meaning.classOf(name);
  if (label === undefined)
    return { file, problem: `has the label ${show(name)}, expected ${meaning.expected}` };
  const bytes = image instanceof Uint8Array ? image : (image as { bytes?: unknown } | null)?.bytes;
  if (!(bytes instanceof Uint8Array) || bytes.length === 0) {
    const path = (image as { path?: unknown } | null)?.path;
    const named =
      typeof path === 'string' ? ` (only the name of a file, ${path.slice(0, 80)})` : '';
    return { file, problem: `has no bytes of an image${named}` };
  }
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { file, label, size: whole.length, load: async () => whole };
}
