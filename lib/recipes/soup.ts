import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { findDuplicates } from '../checkpoint/duplicates.js';
import { fileHashes, folderHash } from '../checkpoint/hash.js';
import { openCheckpoint } from '../checkpoint/open.js';
import { AtomicOutput, isFileOutput, RECORD_FILE } from '../checkpoint/output.js';
import { METADATA_KEY, type SoupRecord } from '../checkpoint/record.js';
import { safetensorsHeader } from '../checkpoint/safetensors.js';
import { configWithDtype, sideFiles } from '../checkpoint/side_files.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { type Allowances, type ExecuteOptions, execute, judge } from '../merge/execute.js';
import { type MatchOptions, matchTensors } from '../merge/match.js';
import {
  bytesToRead,
  bytesToWrite,
  type OutputDType,
  type PlannedTensor,
  planTensors,
} from '../merge/plan.js';
import { type Shard, shardIndex, splitIntoShards } from '../merge/shards.js';
import { resolveWeights } from '../merge/weights.js';
import { type MergeResult, native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveMemory, resolveThreads } from '../threads.js';
import { version } from '../version.js';

/** What all recipes take about the soup that they write. */
export interface SoupOptions extends MatchOptions, Allowances {
  /** One an ingredient; any finite numbers, used as they are. The mean by default. */
  weights?: readonly number[];
  /** Divide the weights by their sum. */
  normalize?: boolean;
  /** Type of the floating-point tensors; `keep` (default) is the first ingredient's, tensor by tensor. */
  dtype?: OutputDType;
  /** Bytes of data a file of an output folder may have; 5 GB by default. */
  maxShardSize?: number;
  /** Checkpoint (or its folder) that config, tokenizer and the like are copied from; the first ingredient by default. */
  like?: string;
  /** Put the SHA-256 of every ingredient's files in the record. */
  hash?: boolean;
  /** Replace an output that exists. */
  overwrite?: boolean;
  /** The dict inside wrapped PyTorch checkpoints. */
  key?: string;
  /** Only say what would be done. */
  dryRun?: boolean;
}

export interface Soup {
  recipe: string;
  /** Paths as given. */
  ingredients: string[];
  /** Positions of the ingredients that are in the soup. */
  members: number[];
  /** One an ingredient, as used. */
  weights: number[];
  /** As given; null for a stream and in a dry run without one. */
  output: string | null;
  /** Of the output's file; for a folder, of the lines `HASH  NAME` of its weight files. Null in a dry run. */
  sha256: string | null;
  /** Bytes of tensor data read, and of weight files written (headers included). */
  bytesRead: number;
  bytesWritten: number;
  seconds: number;
  tensors: number;
  parameters: number;
  /** Things that may be wrong. */
  warnings: string[];
  /** Things that were done to make the ingredients fit. */
  notes: string[];
  /** What the run may hold in memory for buffers, and its threads. */
  memory: number;
  threads: number;
  dryRun?: true;
}

const DEFAULT_SHARD = 5e9;

/** Opens, checks and matches the ingredients, and plans every tensor of the soup. Nothing is written. */
export async function prepareSoup(
  ingredients: readonly (string | Checkpoint)[],
  options: SoupOptions & RunOptions,
) {
  if (ingredients.length === 0)
    throw new StockpotError('USAGE', 'expected at least one ingredient');
  const checkpoints: Checkpoint[] = [];
  for (const i of ingredients) {
    checkpoints.push(typeof i === 'string' ? await openCheckpoint(i, { key: options.key }) : i);
  }
  const weighting = resolveWeights(checkpoints.length, options.weights, options.normalize);
  const { tensors: matched, left, notes } = await matchTensors(checkpoints, options);
  const tensors = planTensors(matched, weighting, options.dtype ?? 'keep');
  const warnings = tensors.some((t) => /\.running_(mean|var)$/.test(t.name))
    ? [
        "Batch-norm statistics are averaged like weights; they are not those of the soup's own activations.",
      ]
    : [];
  for (const group of await findDuplicates(checkpoints, options)) {
    warnings.push(
      `Ingredients ${group.join(', ')} (${group.map((i) => checkpoints[i]?.path).join(', ')}) hold the same tensors; each counts.`,
    );
  }
  if (left.length > 0) notes.push(`${left.length} tensors are left out by --include/--exclude.`);
  return {
    checkpoints,
    weighting,
    tensors,
    warnings,
    notes: [...checkpoints.flatMap((c) => c.notes), ...notes],
  };
}

type Prepared = Awaited<ReturnType<typeof prepareSoup>>;

/** Makes a soup of given weights and writes it: what every recipe ends with. */
export async function makeSoup(
  recipe: string,
  ingredients: readonly (string | Checkpoint)[],
  output: string | Writable,
  options: SoupOptions & RunOptions & Pick<ExecuteOptions, 'tuning'>,
): Promise<Soup> {
  const began = performance.now();
  const threads = resolveThreads(options.threads);
  const memory = resolveMemory(options.memory);
  if (typeof output === 'string') checkShardSize(output, options.maxShardSize);
  const prepared = await prepareSoup(ingredients, options);
  const { checkpoints, weighting, tensors } = prepared;
  const done = (
    r: Pick<Soup, 'sha256' | 'bytesRead' | 'bytesWritten'>,
    warnings: string[] = [],
  ): Soup => ({
    recipe,
    ingredients: checkpoints.map((c) => c.path),
    members: weighting.members,
    weights: weighting.weights,
    output: typeof output === 'string' ? output : null,
    ...r,
    seconds: (performance.now() - began) / 1000,
    tensors: tensors.length,
    parameters: tensors.reduce((n, t) => n + t.shape.reduce((a, b) => a * b, 1), 0),
    warnings: [...prepared.warnings, ...warnings],
    notes: prepared.notes,
    memory,
    threads,
  });
  const inputs = checkpoints.flatMap((c) => [c.path, ...c.files.map((f) => f.path)]);
  if (options.dryRun) {
    if (typeof output === 'string')
      await AtomicOutput.check(output, { overwrite: options.overwrite, inputs });
    return {
      ...done({
        sha256: null,
        bytesRead: bytesToRead(tensors),
        bytesWritten: bytesToWrite(tensors),
      }),
      dryRun: true,
    };
  }
  if (typeof output !== 'string') {
    const record = await makeRecord(recipe, prepared, options);
    const { result, warnings } = await toStream(output, prepared, record, options);
    return done(
      {
        sha256: result.sha256[0] as string,
        bytesRead: result.bytesRead,
        bytesWritten: result.bytesWritten,
      },
      warnings,
    );
  }
  const target = await AtomicOutput.begin(output, { overwrite: options.overwrite, inputs });
  try {
    const record = await makeRecord(recipe, prepared, options);
    const { result, sha256, warnings } = await toDisk(target, prepared, record, options);
    await target.commit();
    return done(
      { sha256, bytesRead: result.bytesRead, bytesWritten: result.bytesWritten },
      warnings,
    );
  } finally {
    await target.abandon();
  }
}

function checkShardSize(output: string, size: number | undefined): void {
  if (size === undefined) return;
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new StockpotError(
      'USAGE',
      `maxShardSize must be a positive number of bytes but received ${size}`,
    );
  }
  if (isFileOutput(output)) {
    throw new StockpotError(
      'USAGE',
      `${output}: --max-shard-size is for an output folder, and a name ending in .safetensors is a file`,
      {
        remedy: 'Name a folder, or leave out --max-shard-size.',
      },
    );
  }
}

async function makeRecord(
  recipe: string,
  { checkpoints, weighting }: Prepared,
  options: SoupOptions & RunOptions,
): Promise<SoupRecord> {
  const hashes = options.hash ? await fileHashes(checkpoints, options) : undefined;
  const {
    dtype = 'keep',
    normalize,
    include,
    exclude,
    allowNonfinite,
    allowOverflow,
    key,
  } = options;
  return {
    stockpot: version,
    recipe,
    ingredients: checkpoints.map((c, i) => ({
      path: c.path,
      ...(c.key === undefined ? {} : { key: c.key }),
      files: c.files.map((f, j) => ({
        name: basename(f.path),
        size: f.size,
        mtimeNs: f.mtimeNs,
        headerHash: f.headerHash,
        ...(hashes ? { sha256: hashes[i]?.[j] } : {}),
      })),
    })),
    members: weighting.members,
    weights: weighting.weights,
    // JSON leaves out what is undefined.
    options: { dtype, normalize, include, exclude, allowNonfinite, allowOverflow, key },
  };
}

/** The first ingredient's own strings, and what loaders look for. */
const metadataOf = (first: Checkpoint, record?: SoupRecord): Record<string, string> => {
  const { [METADATA_KEY]: _old, ...kept } = first.metadata;
  return { ...kept, format: 'pt', ...(record ? { [METADATA_KEY]: JSON.stringify(record) } : {}) };
};

const run = async (
  prepared: Prepared,
  shards: Shard[],
  outputs: ExecuteOptions['outputs'],
  sink: ExecuteOptions['sink'],
  options: SoupOptions & RunOptions & Pick<ExecuteOptions, 'tuning'>,
): Promise<{ result: MergeResult; warnings: string[] }> => {
  const { checkpoints, weighting } = prepared;
  const result = await execute(checkpoints, shards, {
    ...options,
    sink,
    outputs,
    weights: weighting.weights,
  });
  const tensors: PlannedTensor[] = shards.flatMap((s) => s.tensors);
  return { result, warnings: judge(result.findings, tensors, checkpoints, options) };
};

async function toDisk(
  target: AtomicOutput,
  prepared: Prepared,
  record: SoupRecord,
  options: SoupOptions & RunOptions & Pick<ExecuteOptions, 'tuning'>,
) {
  const first = prepared.checkpoints[0] as Checkpoint;
  const limit = target.isFile ? Number.POSITIVE_INFINITY : (options.maxShardSize ?? DEFAULT_SHARD);
  const shards = splitIntoShards(prepared.tensors, limit);
  const metadata = metadataOf(first, target.isFile ? record : undefined);
  await target.needRoom(bytesToWrite(prepared.tensors));
  const outputs: ExecuteOptions['outputs'] = [];
  for (const s of shards) {
    const { fd } = await target.create(s.name);
    const path = target.isFile ? target.path : join(target.path, s.name);
    outputs.push({ fd, prefix: safetensorsHeader(s.tensors, metadata), path });
  }
  const { result, warnings } = await run(prepared, shards, outputs, 'file', options);
  if (target.isFile) return { result, warnings, sha256: result.sha256[0] as string };
  if (shards.length > 1) await target.write('model.safetensors.index.json', shardIndex(shards));
  await target.write(RECORD_FILE, `${JSON.stringify(record, null, 2)}\n`);
  await copySideFiles(target, options.like ?? first.path, options.dtype ?? 'keep');
  const hashes = new Map(shards.map((s, i) => [s.name, result.sha256[i] as string]));
  return { result, warnings, sha256: folderHash(hashes) };
}

async function copySideFiles(
  target: AtomicOutput,
  donor: string,
  dtype: OutputDType,
): Promise<void> {
  const { folder, names } = await sideFiles(donor).catch((cause) => {
    throw new StockpotError(
      'NOT_FOUND',
      `${donor}: side files cannot be read: ${(cause as Error).message}`,
      { file: donor, cause },
    );
  });
  for (const name of names) {
    const changed =
      name === 'config.json' && dtype !== 'keep'
        ? await configWithDtype(join(folder, name), dtype)
        : null;
    if (changed === null) await target.copy(join(folder, name), name);
    else await target.write(name, changed);
  }
}

/** Streams one safetensors file through a pipe, whose filling holds the native writer back. */
async function toStream(
  output: Writable,
  prepared: Prepared,
  record: SoupRecord,
  options: SoupOptions & RunOptions & Pick<ExecuteOptions, 'tuning'>,
) {
  const shards = splitIntoShards(prepared.tensors, Number.POSITIVE_INFINITY);
  const prefix = safetensorsHeader(
    prepared.tensors,
    metadataOf(prepared.checkpoints[0] as Checkpoint, record),
  );
  const [readEnd, writeEnd] = native().pipe();
  const from = new Socket({ fd: readEnd, readable: true, writable: false });
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  // A refused soup must not end the stream as if it were whole: the pipe's end is only passed on when all is well.
  const sink = new Writable({
    write: (chunk, _encoding, next) => {
      if (output.destroyed) next(new Error('the stream was destroyed'));
      else if (output.write(chunk)) next();
      else {
        const go = (error?: Error | null) => {
          output.off('drain', go).off('error', go).off('close', closed);
          next(error ?? null);
        };
        const closed = () => go(new Error('the stream was closed'));
        output.on('drain', go).on('error', go).on('close', closed);
      }
    },
  });
  let streamError: Error | undefined;
  let writing = true;
  const piped = pipeline(from, sink).catch((e: Error) => {
    streamError = e;
    stop.abort();
  });
  try {
    const { result, warnings } = await run(
      prepared,
      shards,
      [{ fd: writeEnd, prefix, path: 'the output stream' }],
      'pipe',
      { ...options, signal },
    );
    closeSync(writeEnd);
    writing = false;
    await piped;
    if (streamError) throw streamError;
    await new Promise<void>((resolve, reject) => {
      output.once('error', reject);
      output.end(resolve);
    });
    return { result, warnings };
  } catch (cause) {
    if (writing) closeSync(writeEnd);
    from.destroy();
    if (streamError && !options.signal?.aborted) {
      throw new StockpotError('IO', `the output stream failed: ${streamError.message}`, {
        cause: streamError,
      });
    }
    output.destroy(cause as Error);
    throw cause;
  }
}
