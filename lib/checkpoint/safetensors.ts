import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { StockpotError } from '../errors.js';
import { byteSize, isDType } from './dtype.js';
import { isObject, parseJsonStrict } from './json.js';
import { elementCount, showShape } from './shape.js';
import { refuseWrongKind, sniff } from './sniff.js';
import type { TensorEntry } from './types.js';

/** The format's limit on the header's length in bytes (safetensors `MAX_HEADER_SIZE`). */
const MAX_HEADER = 100_000_000;

/** What one safetensors file says about itself. */
export interface SafetensorsFile {
  size: number;
  headerHash: string;
  /** In the order in which the elements lie; `file` is 0. */
  entries: TensorEntry[];
  metadata: Record<string, string>;
  tied: string[][];
}

/**
 * Reads and checks a safetensors header: length, JSON, dtypes, shapes, and that the tensors cover the data without
 * overlaps, holes or trailing bytes (huggingface/safetensors, `Metadata::validate`). No element is read.
 * @throws StockpotError FORMAT or UNSUPPORTED, naming the file and the tensor
 */
export async function readSafetensors(handle: FileHandle, path: string): Promise<SafetensorsFile> {
  const refuse = (
    message: string,
    tensor?: string,
    remedy = 'The file is damaged: fetch or save it again.',
  ) => new StockpotError('FORMAT', `${path}: ${message}`, { file: path, tensor, remedy });
  const { size } = await handle.stat();
  const start = await readUpTo(handle, 0, 512);
  const kind = sniff(start);
  if (kind !== 'safetensors' && kind !== 'unknown')
    throw refuseWrongKind(path, kind, 'safetensors');
  if (start.length < 8)
    throw refuse(`expected a safetensors file but it has only ${start.length} bytes`);
  const length = start.readBigUInt64LE(0);
  if (length > BigInt(MAX_HEADER)) {
    throw refuse(
      `the header's length is ${length} bytes, more than the format allows (${MAX_HEADER})`,
    );
  }
  const dataStart = 8 + Number(length);
  if (dataStart > size) {
    throw refuse(`the header needs ${dataStart} bytes but the file has ${size}: it is cut short`);
  }
  const head = await readUpTo(handle, 0, dataStart);
  if (head.length < dataStart) throw refuse('the file became shorter while it was read');
  const table = parseHeader(head.subarray(8), refuse);
  const metadata = readMetadata(table, refuse);
  const entries = Object.entries(table)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, info]) => readEntry(name, info, dataStart, refuse));
  entries.sort((a, b) => a.entry.offset - b.entry.offset || a.end - b.end);
  checkCoverage(entries, dataStart, size, refuse);
  const names = new Set(entries.map((e) => e.entry.name));
  return {
    size,
    headerHash: createHash('sha256').update(head).digest('hex'),
    entries: entries.map((e) => e.entry),
    metadata,
    tied: Object.entries(metadata)
      .filter(([removed, kept]) => !names.has(removed) && names.has(kept))
      .map(([removed, kept]) => [kept, removed]),
  };
}

type Refuse = (message: string, tensor?: string, remedy?: string) => StockpotError;

async function readUpTo(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

function parseHeader(bytes: Buffer, refuse: Refuse): Record<string, unknown> {
  if (bytes[0] !== 0x7b)
    throw refuse('the header does not begin with "{": this is no safetensors file');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw refuse('the header is not UTF-8');
  }
  try {
    const value = parseJsonStrict(text);
    if (isObject(value)) return value;
  } catch (e) {
    throw refuse(`the header is not valid JSON: ${(e as Error).message}`);
  }
  throw refuse('the header is not a JSON object');
}

function readMetadata(table: Record<string, unknown>, refuse: Refuse): Record<string, string> {
  const raw = table.__metadata__;
  if (raw === undefined || raw === null) return {};
  if (!isObject(raw) || !Object.values(raw).every((v) => typeof v === 'string')) {
    throw refuse('__metadata__ must be an object of strings');
  }
  return raw as Record<string, string>;
}

const isCount = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;

function readEntry(name: string, info: unknown, dataStart: number, refuse: Refuse) {
  const where = `tensor ${JSON.stringify(name)}`;
  if (!isObject(info))
    throw refuse(`${where}: expected an object with dtype, shape, data_offsets`, name);
  const { dtype, shape, data_offsets: offsets } = info;
  if (typeof dtype !== 'string' || !isDType(dtype)) {
    throw new StockpotError(
      'UNSUPPORTED',
      `${refuse(`${where}: dtype ${JSON.stringify(dtype)} is not one that stockpot reads`).message}`,
      {
        file: refuse('').file,
        tensor: name,
        remedy: 'Save it as F64, F32, F16, BF16, F8_E4M3, F8_E5M2, an integer type or BOOL.',
      },
    );
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw refuse(`${where}: shape ${JSON.stringify(shape)} is not a list of sizes`, name);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw refuse(
      `${where}: data_offsets ${JSON.stringify(offsets)} are not two byte positions`,
      name,
    );
  }
  const [begin, end] = offsets as [number, number];
  const bytes = elementCount(shape) * byteSize(dtype);
  if (!Number.isSafeInteger(bytes)) {
    throw refuse(`${where}: shape ${showShape(shape)} has too many elements to be real`, name);
  }
  if (end - begin !== bytes) {
    throw refuse(
      `${where}: ${dtype} ${showShape(shape)} takes ${bytes} bytes but data_offsets [${begin}, ${end}] give ${end - begin}`,
      name,
    );
  }
  const entry: TensorEntry = { name, dtype, shape, file: 0, offset: dataStart + begin };
  return { entry, end: dataStart + end };
}

function checkCoverage(
  entries: { entry: TensorEntry; end: number }[],
  dataStart: number,
  size: number,
  refuse: Refuse,
): void {
  let at = dataStart;
  for (const { entry, end } of entries) {
    if (entry.offset !== at) {
      const what = entry.offset < at ? 'overlaps the tensor before it' : 'leaves a hole before it';
      throw refuse(
        `tensor ${JSON.stringify(entry.name)}: begins at data byte ${entry.offset - dataStart}, expected ${at - dataStart}: it ${what}`,
        entry.name,
      );
    }
    if (end > size) {
      throw refuse(
        `tensor ${JSON.stringify(entry.name)}: ends at byte ${end} but the file has ${size}: it is cut short`,
        entry.name,
      );
    }
    at = end;
  }
  if (at !== size)
    throw refuse(
      `${size - at} ${size - at === 1 ? 'byte follows' : 'bytes follow'} the last tensor`,
    );
}

/** One tensor of a file that is to be written. */
export interface TensorToWrite {
  name: string;
  dtype: TensorEntry['dtype'];
  shape: readonly number[];
}

/**
 * The bytes before the data: 8 of length, the JSON header, spaces up to a multiple of 8.
 * `tensors` lie in this order, without gaps.
 */
export function safetensorsHeader(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Buffer {
  const table: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) table.push(['__metadata__', metadata]);
  let at = 0;
  for (const t of tensors) {
    const end = at + elementCount(t.shape) * byteSize(t.dtype);
    table.push([t.name, { dtype: t.dtype, shape: t.shape, data_offsets: [at, end] }]);
    at = end;
  }
  // Written pair by pair: an object would reorder names that look like integers.
  const text = `{${table.map(([name, v]) => `${JSON.stringify(name)}:${JSON.stringify(v)}`).join(',')}}`;
  const json = Buffer.from(text);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + padded, 0x20);
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}
