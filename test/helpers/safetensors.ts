import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DType } from '../../lib/checkpoint/dtype.js';
import { bytesOf, decode, encode } from './floats.js';

/** A tensor to write: `values` are encoded as `dtype`, or `bytes` are taken as they are. */
export interface Tensor {
  name: string;
  dtype: DType;
  shape: number[];
  bytes: Buffer;
}

const count = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** tensor('w', 'F32', [2], [1, 2]); one number stands for all elements. */
export function tensor(
  name: string,
  dtype: DType,
  shape: number[],
  values: number | readonly number[],
): Tensor {
  const n = count(shape);
  const list = typeof values === 'number' ? Array<number>(n).fill(values) : values;
  if (list.length !== n) throw new Error(`${name}: ${list.length} values for ${n} elements`);
  return { name, dtype, shape, bytes: encode(dtype, list) };
}

/** A file of a header (text) and data, whatever they say. */
export function rawFile(header: string | Buffer, data: Buffer = Buffer.alloc(0)): Buffer {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

export interface FileOptions {
  metadata?: Record<string, string>;
  /** Header in another order than the data. */
  headerOrder?: readonly number[];
  /** Spaces after the header. */
  padding?: number;
}

/** A valid safetensors file, the tensors' data in the order given. */
export function safetensors(tensors: readonly Tensor[], options: FileOptions = {}): Buffer {
  let at = 0;
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const begin = at;
    at += bytes.length;
    const info = { dtype, shape, data_offsets: [begin, at] };
    return `${JSON.stringify(name)}:${JSON.stringify(info)}`;
  });
  const ordered = (options.headerOrder ?? entries.map((_, i) => i)).map((i) => entries[i]);
  if (options.metadata) ordered.unshift(`"__metadata__":${JSON.stringify(options.metadata)}`);
  const header = `{${ordered.join(',')}}${' '.repeat(options.padding ?? 0)}`;
  return rawFile(header, Buffer.concat(tensors.map((t) => t.bytes)));
}

/** Writes a file, its folders too. */
export async function put(path: string, content: Buffer | string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  return path;
}

export const putTensors = (
  path: string,
  tensors: readonly Tensor[],
  options: FileOptions = {},
): Promise<string> => put(path, safetensors(tensors, options));

/** A folder with an index and a shard for each list of tensors. */
export async function putShards(
  folder: string,
  shards: readonly (readonly Tensor[])[],
): Promise<string> {
  const map = new Map<string, string>();
  for (const [i, tensors] of shards.entries()) {
    const name = `model-0000${i + 1}-of-0000${shards.length}.safetensors`;
    await putTensors(join(folder, name), tensors);
    for (const t of tensors) if (!map.has(t.name)) map.set(t.name, name);
  }
  const text = [...map].map(([t, f]) => `${JSON.stringify(t)}:${JSON.stringify(f)}`).join(',');
  await put(join(folder, 'model.safetensors.index.json'), `{"metadata":{},"weight_map":{${text}}}`);
  return folder;
}

export interface ReadFile {
  tensors: Map<string, Tensor>;
  metadata: Record<string, string>;
}

/** Reads a file without the library: for checking what it wrote. */
export function parse(bytes: Buffer): ReadFile {
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as object;
  const tensors = new Map<string, Tensor>();
  let metadata: Record<string, string> = {};
  for (const [name, info] of Object.entries(header)) {
    if (name === '__metadata__') {
      metadata = info;
      continue;
    }
    const [begin, end] = info.data_offsets;
    const data = bytes.subarray(8 + length + begin, 8 + length + end);
    if (data.length !== count(info.shape) * bytesOf(info.dtype)) throw new Error(`${name}: size`);
    tensors.set(name, { name, dtype: info.dtype, shape: info.shape, bytes: data });
  }
  return { tensors, metadata };
}

export const readBack = async (path: string): Promise<ReadFile> => parse(await readFile(path));

/** The tensors of a folder with an index. */
export async function readShards(folder: string): Promise<ReadFile> {
  const index = JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8'));
  const files = new Map<string, ReadFile>();
  const tensors = new Map<string, Tensor>();
  for (const [name, file] of Object.entries<string>(index.weight_map)) {
    if (!files.has(file)) files.set(file, await readBack(join(folder, file)));
    const found = files.get(file)?.tensors.get(name);
    if (!found) throw new Error(`${name} is not in ${file}`);
    tensors.set(name, found);
  }
  return { tensors, metadata: {} };
}

/** The numbers of one tensor. */
export function numbers(file: ReadFile, name: string): number[] {
  const t = file.tensors.get(name);
  if (!t) throw new Error(`no tensor ${name} among ${[...file.tensors.keys()].join(', ')}`);
  return decode(t.dtype, t.bytes);
}

/** For comparing files whatever their order. */
export const asObject = (file: ReadFile): Record<string, string> =>
  Object.fromEntries(
    [...file.tensors.values()].map((t) => [
      `/${t.name}`,
      `${t.dtype} [${t.shape}] ${t.bytes.toString('hex')}`,
    ]),
  );
