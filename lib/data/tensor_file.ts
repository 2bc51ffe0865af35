import { type FileHandle, open } from 'node:fs/promises';
import { byteSize, type DType, isFloat } from '../checkpoint/dtype.js';
import { contentHash } from '../checkpoint/hash.js';
import { openCheckpoint } from '../checkpoint/open.js';
import { elementCount, showShape } from '../checkpoint/shape.js';
import { checkUnchanged } from '../checkpoint/source_table.js';
import { fileError } from '../checkpoint/system_error.js';
import type { Checkpoint, CheckpointFile, TensorEntry } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import { readAll } from './byte_store.js';
import { refuseEmpty } from './labels.js';
import { toFloat32, toInt32 } from './numbers.js';
import type { DataInput, DataSet, TensorData } from './types.js';

/** What networks take one of an example. */
const INPUTS = new Set(['pixel_values', 'input_ids', 'attention_mask', 'token_type_ids']);
/** What is the same for every example. */
const SHARED = new Set(['class_input_ids', 'class_attention_mask', 'label_ids']);

export interface TensorFileOptions {
  /** Bytes of inputs that are held in memory; beyond, a batch is read from the file. 1 GiB by default. */
  cacheMemory?: number;
}

/**
 * A safetensors file with the network's own inputs and `labels` [n], an integer type. Inputs have n rows: pixel_values
 * floating-point, the others integers.
 * @throws StockpotError NOT_FOUND, IO, FORMAT
 */
export async function tensorFile(
  path: string,
  options: TensorFileOptions & RunOptions = {},
): Promise<DataSet> {
  const checkpoint = await openCheckpoint(path);
  const refuse = (message: string, tensor?: string) =>
    new StockpotError('FORMAT', `${path}: ${message}`, {
      file: path,
      tensor,
      remedy:
        'Expected labels [n] and pixel_values, or input_ids with attention_mask, with a row for each of the n examples.',
    });
  const named = checkpoint.tensors.get('labels');
  if (!named) throw refuse('holds no tensor "labels"');
  if (named.shape.length !== 1 || isFloat(named.dtype)) {
    throw refuse(
      `tensor "labels": expected integers [n] but found ${named.dtype} ${showShape(named.shape)}`,
      'labels',
    );
  }
  const count = named.shape[0] as number;
  refuseEmpty(path, count);
  const mine = [...checkpoint.tensors.values()].filter((e) => INPUTS.has(e.name));
  if (mine.length === 0) throw refuse('holds no input of a network');
  const inputs = mine.map((e): DataInput => {
    const floats = e.name === 'pixel_values';
    const empty = elementCount(e.shape.slice(1)) === 0;
    if (isFloat(e.dtype) !== floats || e.shape[0] !== count || e.shape.length < 2 || empty) {
      throw refuse(
        `tensor "${e.name}": expected ${floats ? 'floating-point numbers' : 'integers'} [${count}, …] but found ${e.dtype} ${showShape(e.shape)}`,
        e.name,
      );
    }
    return { name: e.name, dtype: floats ? 'f32' : 'i32', shape: e.shape.slice(1) };
  });
  const unused = [...checkpoint.tensors.keys()].filter(
    (n) => n !== 'labels' && !INPUTS.has(n) && !SHARED.has(n),
  );
  const handle = await openHandle(checkpoint);
  try {
    const labels = (await readRows(handle, path, named, 0, count, 'i32')) as Int32Array;
    const negative = labels.findIndex((l) => l < 0);
    if (negative >= 0)
      throw refuse(`tensor "labels": example ${negative} has label ${labels[negative]}`, 'labels');
    const shared: Record<string, TensorData> = {};
    for (const e of checkpoint.tensors.values()) {
      if (!SHARED.has(e.name)) continue;
      if (isFloat(e.dtype) || e.shape.length !== 2 || elementCount(e.shape) === 0) {
        throw refuse(
          `tensor "${e.name}": expected integers [classes, L] but found ${e.dtype} ${showShape(e.shape)}`,
          e.name,
        );
      }
      const data = await readRows(handle, path, e, 0, e.shape[0] as number, 'i32');
      shared[e.name] = { dtype: 'i32', shape: e.shape, data };
    }
    const bytes = inputs.reduce((sum, i) => sum + 4 * count * elementCount(i.shape), 0);
    const held = bytes <= (options.cacheMemory ?? 2 ** 30);
    const rows = held
      ? await heldRows(handle, path, mine, inputs, count)
      : fileRows(handle, checkpoint.files[0] as CheckpointFile, mine, inputs);
    return {
      path,
      count,
      labels,
      inputs,
      shared,
      heldBytes: held ? bytes : 0,
      batch: async (indices) => {
        for (let i = 0; i < indices.length; i++) {
          if (!((indices[i] as number) >= 0 && (indices[i] as number) < count))
            throw new RangeError(`there is no example ${indices[i]}`);
        }
        const all = inputs.map(async (input, k) => [input.name, await rows(k, indices)] as const);
        return Object.fromEntries(await Promise.all(all));
      },
      contentHash: await contentHash(checkpoint, options),
      skipped: [],
      notes: unused.length > 0 ? [`${path}: ${unused.join(', ')} not used.`] : [],
      close: () => handle.close(),
    };
  } catch (e) {
    await handle.close();
    throw e;
  }
}

async function openHandle(checkpoint: Checkpoint): Promise<FileHandle> {
  const path = checkpoint.files[0]?.path as string;
  return open(path, 'r').catch((cause) => {
    throw fileError(path, cause);
  });
}

/** Rows [from, from + n) of a tensor, converted. */
async function readRows(
  handle: FileHandle,
  path: string,
  e: TensorEntry,
  from: number,
  n: number,
  as: 'f32' | 'i32',
): Promise<Float32Array | Int32Array> {
  const rowBytes = elementCount(e.shape.slice(1)) * byteSize(e.dtype);
  const bytes = new Uint8Array(n * rowBytes);
  try {
    await readAll(handle, bytes, e.offset + from * rowBytes);
  } catch (cause) {
    throw fileError(path, cause);
  }
  return convert(path, e.name, e.dtype, bytes, as);
}

function convert(path: string, name: string, dtype: DType, bytes: Uint8Array, as: 'f32' | 'i32') {
  const made = as === 'f32' ? toFloat32(dtype, bytes) : toInt32(dtype, bytes);
  if (typeof made !== 'string') return made;
  throw new StockpotError('FORMAT', `${path}: tensor "${name}": ${made}`, {
    file: path,
    tensor: name,
  });
}

type Rows = (input: number, indices: ArrayLike<number>) => Promise<Float32Array | Int32Array>;

const makeOut = (input: DataInput, n: number) => {
  const length = n * elementCount(input.shape);
  return input.dtype === 'f32' ? new Float32Array(length) : new Int32Array(length);
};

async function heldRows(
  handle: FileHandle,
  path: string,
  entries: readonly TensorEntry[],
  inputs: readonly DataInput[],
  count: number,
): Promise<Rows> {
  const held: (Float32Array | Int32Array)[] = [];
  for (const [k, e] of entries.entries())
    held.push(await readRows(handle, path, e, 0, count, (inputs[k] as DataInput).dtype));
  return async (k, indices) => {
    const input = inputs[k] as DataInput;
    const row = elementCount(input.shape);
    const from = held[k] as Float32Array;
    const out = makeOut(input, indices.length);
    for (let i = 0; i < indices.length; i++) {
      const at = (indices[i] as number) * row;
      out.set(from.subarray(at, at + row), i * row);
    }
    return out;
  };
}

/** Rows are read when they are wanted; the file must stay what it was. */
function fileRows(
  handle: FileHandle,
  file: CheckpointFile,
  entries: readonly TensorEntry[],
  inputs: readonly DataInput[],
): Rows {
  return async (k, indices) => {
    const input = inputs[k] as DataInput;
    const row = elementCount(input.shape);
    const out = makeOut(input, indices.length);
    const entry = entries[k] as TensorEntry;
    for (let i = 0; i < indices.length; i++)
      out.set(
        await readRows(handle, file.path, entry, indices[i] as number, 1, input.dtype),
        i * row,
      );
    await checkUnchanged(handle, file);
    return out;
  };
}
