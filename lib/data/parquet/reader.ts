import { open, stat } from 'node:fs/promises';
import type { AsyncBuffer, Compressors, FileMetaData, SchemaTree } from 'hyparquet';
import { isObject } from '../../checkpoint/json.js';
import { fileError } from '../../checkpoint/system_error.js';
import { StockpotError } from '../../errors.js';

/** Most bytes of the wanted columns in one row group, which are held at a time. */
const LARGEST_GROUP = 2 ** 30;

/** Most rows in one row group, which become objects; also where repeated values take no room in the file. */
const MOST_ROWS = 2 ** 24;

/** What a column holds, as far as it matters here. */
export interface ParquetColumn {
  name: string;
  kind: 'text' | 'integer' | 'image' | 'bytes' | 'other';
  /** Of a ClassLabel of the `datasets` library, by class. */
  classNames?: readonly string[];
}

/** A row's values by column. */
export type ParquetRow = Record<string, unknown>;

/**
 * A parquet file as the hub stores data sets (huggingface/datasets `Features`; the key "huggingface" of its metadata),
 * read by hyparquet, one row group at a time.
 */
export class ParquetFile {
  private constructor(
    readonly path: string,
    readonly columns: readonly ParquetColumn[],
    private readonly metadata: FileMetaData,
    private readonly buffer: AsyncBuffer,
  ) {}

  /** Reads the footer. @throws StockpotError NOT_FOUND, IO, FORMAT */
  static async open(path: string): Promise<ParquetFile> {
    const info = await stat(path).catch((cause) => {
      throw fileError(path, cause);
    });
    const buffer: AsyncBuffer = {
      byteLength: info.size,
      slice: (from, to = info.size) => slice(path, from, to),
    };
    const begins = Buffer.from(await buffer.slice(0, Math.min(64, info.size))).toString('latin1');
    if (!begins.startsWith('PAR1')) {
      const lfs = begins.startsWith('version https://git-lfs');
      throw new StockpotError(
        'FORMAT',
        `${path}: is ${lfs ? 'a Git LFS pointer, not the data' : 'no parquet file'}`,
        { file: path, remedy: lfs ? 'Run: git lfs pull' : 'Fetch or save it again.' },
      );
    }
    const { parquetMetadataAsync, parquetSchema } = await import('hyparquet');
    try {
      const metadata = await parquetMetadataAsync(buffer, { geoparquet: false });
      const schema = parquetSchema(metadata);
      checkChunks(schema, metadata);
      return new ParquetFile(path, columnsOf(schema, metadata), metadata, buffer);
    } catch (cause) {
      throw cause instanceof StockpotError ? cause : damaged(path, cause);
    }
  }

  get rows(): number {
    return this.metadata.row_groups.reduce((n, g) => n + Number(g.num_rows), 0);
  }

  /** Bytes that columns take in the file, unpacked. */
  bytes(columns: readonly string[]): number {
    return this.metadata.row_groups.reduce((n, _, g) => n + this.groupBytes(g, columns), 0);
  }

  private groupBytes(group: number, columns: readonly string[]): number {
    let bytes = 0;
    for (const { meta_data } of this.metadata.row_groups[group]?.columns ?? []) {
      if (meta_data && columns.includes(meta_data.path_in_schema[0] ?? ''))
        bytes += Number(meta_data.total_uncompressed_size);
    }
    return bytes;
  }

  /**
   * Rows with the values of some columns, a row group at a time.
   * @throws StockpotError FORMAT for a damaged file; UNSUPPORTED for row groups that would not fit in memory
   */
  async *read(columns: readonly string[], signal?: AbortSignal): AsyncGenerator<ParquetRow[]> {
    const [{ parquetReadObjects }, { compressors }] = await Promise.all([
      import('hyparquet'),
      import('hyparquet-compressors'),
    ]);
    let from = 0;
    for (const [g, group] of this.metadata.row_groups.entries()) {
      const rowEnd = from + Number(group.num_rows);
      const bytes = this.groupBytes(g, columns);
      if (!(bytes <= LARGEST_GROUP)) {
        throw new StockpotError(
          'UNSUPPORTED',
          `${this.path}: row group ${g} has ${bytes} bytes in ${columns.join(', ')}, more than the ${LARGEST_GROUP} that are held at a time`,
          {
            file: this.path,
            remedy:
              'Write it with smaller row groups: dataset.to_parquet(FILE, batch_size=100), or row_group_size in pyarrow.',
          },
        );
      }
      if (!(rowEnd - from >= 0 && rowEnd - from <= MOST_ROWS)) {
        throw new StockpotError(
          'UNSUPPORTED',
          `${this.path}: row group ${g} says that it has ${group.num_rows} rows, more than the ${MOST_ROWS} that are held at a time`,
          { file: this.path, remedy: 'Write it with smaller row groups.' },
        );
      }
      if (signal?.aborted) throw new StockpotError('ABORTED', 'aborted');
      const rows: ParquetRow[] = Array.from({ length: rowEnd - from }, () => ({}));
      // One after the other, so that less is held. (hyparquet waits for all that it reads together; checkChunks has
      // what it would not.)
      for (const column of columns) {
        const values = await parquetReadObjects({
          file: this.buffer,
          metadata: this.metadata,
          columns: [column],
          rowStart: from,
          rowEnd,
          compressors: bounded(compressors),
          utf8: false,
          geoparquet: false,
        }).catch((cause) => {
          throw cause instanceof StockpotError ? cause : damaged(this.path, cause);
        });
        if (values.length !== rows.length)
          throw damaged(
            this.path,
            new Error(`row group ${g} has ${values.length} rows, expected ${rows.length}`),
          );
        for (const [i, row] of rows.entries()) row[column] = values[i]?.[column];
      }
      yield rows;
      from = rowEnd;
    }
  }
}

/** Compressors that unpack no more than may be held. */
const bounded = (all: Compressors): Compressors =>
  Object.fromEntries(
    Object.entries(all).map(([name, unpack]) => [
      name,
      (input: Uint8Array, length: number) => {
        if (!(length >= 0 && length <= LARGEST_GROUP))
          throw new Error(`a page says that it has ${length} bytes`);
        return unpack(input, length);
      },
    ]),
  );

async function slice(path: string, from: number, to: number): Promise<ArrayBuffer> {
  const length = to - from;
  if (!(from >= 0 && length >= 0 && length <= 2 * LARGEST_GROUP))
    throw new Error(`it says that something lies at bytes ${from} to ${to}`);
  const file = await open(path, 'r').catch((cause) => {
    throw fileError(path, cause);
  });
  try {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const part = file.read(bytes, done, length - done, from + done);
      const { bytesRead } = await part.catch((cause) => {
        throw fileError(path, cause);
      });
      if (bytesRead === 0) throw new Error('it ends too early');
      done += bytesRead;
    }
    return bytes.buffer;
  } finally {
    await file.close();
  }
}

function damaged(path: string, cause: unknown): StockpotError {
  const message = (cause as Error)?.message ?? String(cause);
  return new StockpotError('FORMAT', `${path}: the parquet file cannot be read: ${message}`, {
    file: path,
    cause,
    remedy: 'Fetch it again, or write it again with datasets or pyarrow.',
  });
}

/**
 * Each part of a column has its data once, under a name of the schema: hyparquet starts to read the parts one after the
 * other and waits for those that it looks for. Where it stops at one with another name, or two have the same, the failure
 * of the others would be nobody's, and end the process.
 */
function checkChunks(schema: SchemaTree, { row_groups }: FileMetaData): void {
  const parts = new Set(partsOf(schema));
  for (const [g, group] of row_groups.entries()) {
    const seen = new Set<string>();
    for (const { meta_data } of group.columns) {
      const path = JSON.stringify(meta_data?.path_in_schema);
      if (!parts.has(path))
        throw new Error(`row group ${g} has data of a column that the schema does not name`);
      if (seen.has(path)) throw new Error(`row group ${g} has data of the column ${path} twice`);
      seen.add(path);
    }
  }
}

/** What has data of its own, by the names that lead to it. */
const partsOf = ({ children, path }: SchemaTree): string[] =>
  children.length > 0 ? children.flatMap(partsOf) : [JSON.stringify(path)];

function columnsOf(schema: SchemaTree, metadata: FileMetaData): ParquetColumn[] {
  const features = featuresOf(metadata);
  return schema.children.map((c) => {
    const name: unknown = c.element.name;
    if (typeof name !== 'string') throw new Error('a column has no name');
    const feature = Object.hasOwn(features, name) ? features[name] : undefined;
    const of = isObject(feature) ? feature : {};
    const names =
      of._type === 'ClassLabel' &&
      Array.isArray(of.names) &&
      of.names.every((n) => typeof n === 'string')
        ? (of.names as string[])
        : undefined;
    return { name, kind: kindOf(c, of._type), classNames: names };
  });
}

function kindOf({ element, children }: SchemaTree, feature: unknown): ParquetColumn['kind'] {
  if (element.repetition_type === 'REPEATED') return 'other';
  if (children.some((c) => c.element.name === 'bytes' && c.element.type === 'BYTE_ARRAY'))
    return 'image';
  if (children.length > 0) return 'other';
  if (element.type === 'INT32' || element.type === 'INT64' || element.type === 'BOOLEAN')
    return 'integer';
  if (element.type !== 'BYTE_ARRAY') return 'other';
  if (feature === 'Image') return 'image';
  const text = element.converted_type === 'UTF8' || element.logical_type?.type === 'STRING';
  return text ? 'text' : 'bytes';
}

/** The `datasets` library's own description of the columns, where it is there. */
function featuresOf(metadata: FileMetaData): Record<string, unknown> {
  const stored = metadata.key_value_metadata?.find((k) => k.key === 'huggingface')?.value;
  if (stored === undefined) return {};
  try {
    const { info } = JSON.parse(stored);
    return isObject(info?.features) ? info.features : {};
  } catch {
    return {};
  }
}
