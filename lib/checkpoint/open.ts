import type { BigIntStats } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { type Mismatch, StockpotError } from '../errors.js';
import { isObject, parseJsonStrict } from './json.js';
import { readPyTorch } from './pytorch/index.js';
import { refuseQuantised } from './quantised.js';
import { readSafetensors } from './safetensors.js';
import { readSmallFile } from './small_file.js';
import { SNIFF_BYTES, sniff } from './sniff.js';
import { fileError } from './system_error.js';
import type { Checkpoint, CheckpointFile, CheckpointFormat, TensorEntry } from './types.js';

/** How a checkpoint is opened. */
export interface OpenOptions {
  /** The dict inside a wrapped PyTorch checkpoint, as a dotted path. */
  key?: string;
}

const WEIGHTS = /\.(safetensors|pt|pth|bin|ckpt)$/i;
/** What trainers put beside the weights. */
const NO_WEIGHTS =
  /^(optimizer|scheduler|scaler|training_args|rng_state.*|random_states.*)\.(pt|pth|bin)$/i;

/** The index of a sharded checkpoint, named in place of its folder. */
const INDEX = /\.(safetensors|bin)\.index\.json$/;

/**
 * Opens a checkpoint: a file, or a folder as transformers, timm, open_clip or PyTorch leave it. Reads and checks the
 * structure only; no element is read, and no file stays open.
 * @param path a file or folder
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED, or USAGE for a `key` that is not there
 */
export async function openCheckpoint(path: string, options: OpenOptions = {}): Promise<Checkpoint> {
  if (path === '')
    throw new StockpotError('USAGE', 'expected the path of a checkpoint but received ""');
  const info = await statOrRefuse(path);
  const named = INDEX.test(path) ? { index: path } : { weights: path };
  const found = info.isDirectory() ? await findInFolder(path) : named;
  const checkpoint =
    'index' in found
      ? await openSharded(path, found.index, options)
      : await openSingle(path, found.weights, options);
  await refuseQuantised(checkpoint, info.isDirectory() ? path : undefined);
  if (checkpoint.tensors.size === 0) {
    throw new StockpotError('FORMAT', `${path}: holds no tensor`, { file: path });
  }
  return checkpoint;
}

/** What the system says of a file or folder. @throws StockpotError NOT_FOUND, IO */
export async function statOrRefuse(path: string) {
  try {
    return await stat(path);
  } catch (cause) {
    throw fileError(path, cause);
  }
}

/** The names of what lies in a folder, in no order. @throws StockpotError NOT_FOUND, IO */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    throw fileError(folder, cause);
  }
}

/** Where a folder's weights are: one file, or an index of shards. The order of the contract. */
async function findInFolder(folder: string): Promise<{ weights: string } | { index: string }> {
  const names = await namesIn(folder);
  const there = new Set(names);
  for (const name of ['model.safetensors', 'pytorch_model.bin']) {
    if (there.has(name)) return { weights: join(folder, name) };
    if (there.has(`${name}.index.json`)) return { index: join(folder, `${name}.index.json`) };
  }
  const candidates = names.filter((n) => WEIGHTS.test(n) && !NO_WEIGHTS.test(n)).sort();
  if (candidates.length === 1) return { weights: join(folder, candidates[0] as string) };
  if (candidates.length === 0) {
    throw new StockpotError('NOT_FOUND', `${folder}: there is no checkpoint in this folder`, {
      file: folder,
      remedy:
        'Expected model.safetensors, pytorch_model.bin, one of them with .index.json, or one file *.safetensors, *.pt, *.pth, *.bin or *.ckpt.',
    });
  }
  throw new StockpotError(
    'NOT_FOUND',
    `${folder}: holds ${candidates.length} checkpoints (${candidates.slice(0, 5).join(', ')}${candidates.length > 5 ? ', …' : ''}), expected one`,
    { file: folder, remedy: 'Name the file itself instead of the folder.' },
  );
}

interface OneFile {
  file: CheckpointFile;
  format: CheckpointFormat;
  entries: readonly Omit<TensorEntry, 'file'>[];
  metadata: Record<string, string>;
  tied: readonly (readonly string[])[];
  key?: string;
  notes: readonly string[];
}

async function readOne(path: string, options: OpenOptions): Promise<OneFile> {
  let handle: FileHandle;
  try {
    // Before it is opened: that would wait for ever at a named pipe.
    if (!(await stat(path)).isFile()) {
      throw new StockpotError('NOT_FOUND', `${path}: expected a file, found something else`, {
        file: path,
        remedy: 'Name a regular file: tensors are read from many places of it, more than once.',
      });
    }
    handle = await open(path, 'r');
  } catch (cause) {
    throw cause instanceof StockpotError ? cause : fileError(path, cause);
  }
  try {
    const before = await handle.stat({ bigint: true });
    const kind = sniff(
      (await handle.read(Buffer.alloc(SNIFF_BYTES), 0, SNIFF_BYTES, 0)).buffer.subarray(
        0,
        Math.min(SNIFF_BYTES, Number(before.size)),
      ),
    );
    const one = await readByKind(handle, path, kind, options);
    return {
      ...one,
      file: { path, size: Number(before.size), mtimeNs: mtime(before), headerHash: one.headerHash },
    };
  } catch (cause) {
    if (cause instanceof StockpotError) throw cause;
    throw fileError(path, cause);
  } finally {
    await handle.close();
  }
}

async function readByKind(handle: FileHandle, path: string, kind: string, options: OpenOptions) {
  const named = extname(path).toLowerCase() === '.safetensors' ? 'safetensors' : 'pytorch';
  // What a file is, its bytes say; its name only decides which error a broken one gets.
  const actual = kind === 'safetensors' ? 'safetensors' : kind === 'zip' ? 'pytorch' : named;
  const notes =
    actual === named
      ? []
      : [
          `${path} is named like a ${named} file but is a ${actual} file; it is read as what it is.`,
        ];
  if (actual === 'safetensors') {
    const { headerHash, entries, metadata, tied } = await readSafetensors(handle, path);
    if (options.key !== undefined) {
      throw new StockpotError(
        'USAGE',
        `${path}: --key is for PyTorch files; a safetensors file has no dicts`,
        { file: path },
      );
    }
    return { format: 'safetensors' as const, headerHash, entries, metadata, tied, notes };
  }
  const { headerHash, entries, tied, key, notes: said } = await readPyTorch(handle, path, options);
  return {
    format: 'pytorch' as const,
    headerHash,
    entries,
    metadata: {},
    tied,
    key,
    notes: [...notes, ...said],
  };
}

const mtime = (info: BigIntStats): string => info.mtimeNs.toString();

async function openSingle(
  path: string,
  weights: string,
  options: OpenOptions,
): Promise<Checkpoint> {
  const one = await readOne(weights, options);
  return {
    path,
    format: one.format,
    files: [one.file],
    tensors: new Map(one.entries.map((e) => [e.name, { ...e, file: 0 }])),
    metadata: one.metadata,
    tied: one.tied,
    key: one.key,
    notes: one.notes,
  };
}

async function openSharded(path: string, index: string, options: OpenOptions): Promise<Checkpoint> {
  const where = await readIndex(index);
  const names = [...new Set(where.values())].sort();
  const folder = dirname(index);
  const there = new Set(await namesIn(folder));
  const missing = names.filter((n) => !there.has(n));
  if (missing.length > 0) {
    throw new StockpotError(
      'NOT_FOUND',
      `${index}: names ${missing.length === 1 ? 'a shard that is' : `${missing.length} shards that are`} not there: ${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ', …' : ''}`,
      {
        file: index,
        details: missing.map((n) => ({ file: join(folder, n), message: 'the shard is missing' })),
        remedy: 'Fetch the missing shards, or name another checkpoint.',
      },
    );
  }
  const shards: OneFile[] = [];
  for (const name of names) shards.push(await readOne(join(folder, name), options));
  const details: Mismatch[] = [];
  const tensors = new Map<string, TensorEntry>();
  shards.forEach((shard, file) => {
    for (const entry of shard.entries) {
      const first = tensors.get(entry.name);
      const listed = where.get(entry.name);
      const at = { file: shard.file.path, tensor: entry.name };
      if (first) {
        details.push({
          ...at,
          message: `is in two shards, ${names[first.file]} and ${names[file]}`,
        });
      } else if (listed === undefined) {
        details.push({ ...at, message: `is in ${names[file]} but not in the index` });
      } else if (listed !== names[file]) {
        details.push({ ...at, message: `is in ${names[file]} but the index says ${listed}` });
      }
      if (!first) tensors.set(entry.name, { ...entry, file });
    }
  });
  for (const [name, file] of where) {
    if (!tensors.has(name)) {
      details.push({
        file: join(folder, file),
        tensor: name,
        message: `the index says ${file}, which does not hold it`,
      });
    }
  }
  if (details.length > 0) {
    const first = details[0] as Mismatch;
    throw new StockpotError(
      'FORMAT',
      `${index}: index and shards disagree: tensor "${first.tensor}" ${first.message}`,
      {
        file: index,
        tensor: first.tensor,
        details,
        remedy: 'Fetch the checkpoint again, or save it again.',
      },
    );
  }
  const base = basename(index)
    .replace('.index.json', '')
    .replace(/\.[a-z]+$/, '');
  const stray = [...there].filter(
    (n) => n.startsWith(`${base}-`) && WEIGHTS.test(n) && !names.includes(n),
  );
  const notes = shards.flatMap((s) => s.notes);
  if (stray.length > 0) {
    notes.push(
      `${path}: ${stray.join(', ')} ${stray.length === 1 ? 'is' : 'are'} not in the index and not read.`,
    );
  }
  return {
    path,
    format: (shards[0] as OneFile).format,
    files: shards.map((s) => s.file),
    tensors,
    metadata: (shards[0] as OneFile).metadata,
    tied: shards.flatMap((s) => s.tied),
    key: shards[0]?.key,
    notes,
  };
}

/** The index's tensor name -> shard name; shard names must stay inside the folder. */
async function readIndex(path: string): Promise<Map<string, string>> {
  const refuse = (message: string) =>
    new StockpotError('FORMAT', `${path}: ${message}`, {
      file: path,
      remedy: 'Fetch or save the checkpoint again.',
    });
  const text = await readSmallFile(path);
  let value: unknown;
  try {
    value = parseJsonStrict(text);
  } catch (e) {
    throw refuse(`the index is not valid JSON: ${(e as Error).message}`);
  }
  const map = isObject(value) ? value.weight_map : undefined;
  if (!isObject(map)) throw refuse('expected an object with weight_map');
  const out = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (
      typeof file !== 'string' ||
      file === '' ||
      file === '.' ||
      file === '..' ||
      /[/\\\0]/.test(file)
    ) {
      throw refuse(
        `weight_map gives ${JSON.stringify(file)} for tensor "${name}", expected the name of a file in the same folder`,
      );
    }
    out.set(name, file);
  }
  if (out.size === 0) throw refuse('weight_map is empty');
  return out;
}
