import { closeSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { finished, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { findDuplicates } from '../checkpoint/duplicates.js';
import { fileHashes, folderHash } from '../checkpoint/hash.js';
import { throwIfAborted } from '../checkpoint/job.js';
import { openCheckpoint } from '../checkpoint/open.js';
import { AtomicOutput, isFileOutput, RECORD_FILE } from '../checkpoint/output.js';
import { METADATA_KEY, type SoupRecord } from '../checkpoint/record.js';
import { safetensorsHeader } from '../checkpoint/safetensors.js';
import { configWithDtype, sideFiles } from '../checkpoint/side_files.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { writeAll } from '../checkpoint/writing.js';
import { StockpotError } from '../errors.js';
import { type Allowances, type ExecuteOptions, execute, judge } from '../merge/execute.js';
import { type GroupWeights, groupMixture, groupTensors, meanWeights } from '../merge/groups.js';
import { initialisationWarnings } from '../merge/initialisation.js';
import { type Matched, type MatchOptions, matchTensors } from '../merge/match.js';
import {
  bytesToRead,
  bytesToWrite,
  type OutputDType,
  type PlannedTensor,
  planTensors,
} from '../merge/plan.js';
import { type Shard, shardIndex, splitIntoShards } from '../merge/shards.js';
import { resolveWeights, type Weighting } from '../merge/weights.js';
import { type MergeResult, native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveMemory, resolveThreads } from '../threads.js';
import { version } from '../version.js';
import { putStatistics } from './put_statistics.js';

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

/** A soup that was made (or, in a dry run, would be). */
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

/** What recipes decide, beside what users choose. */
export interface RecipeOptions extends SoupOptions, RunOptions, Pick<ExecuteOptions, 'tuning'> {
  /** Weights by group of tensors, in place of `weights`. */
  mixture?: GroupWeights;
  /** Batch-norm statistics that were computed again, by the tensor's name, in place of the averaged ones. */
  statistics?: ReadonlyMap<string, Float32Array>;
}

/** Opens, checks and matches the ingredients, and plans every tensor of the soup. Nothing is written. */
export async function prepareSoup(
  ingredients: readonly (string | Checkpoint)[],
  options: RecipeOptions,
) {
  if (ingredients.length === 0)
    throw new StockpotError('USAGE', 'expected at least one ingredient');
  const checkpoints: Checkpoint[] = [];
  for (const i of ingredients) {
    throwIfAborted(options.signal);
    checkpoints.push(typeof i === 'string' ? await openCheckpoint(i, { key: options.key }) : i);
  }
  const { tensors: matched, left, notes } = await matchTensors(checkpoints, options);
  const { weighting, mixture } = await chooseWeights(checkpoints, matched, options);
  const tensors = planTensors(matched, mixture, options.dtype ?? 'keep');
  const averaged = (t: PlannedTensor) =>
    /\.running_(mean|var)$/.test(t.name) && !options.statistics?.has(t.name);
  const warnings = tensors.some(averaged)
    ? [
        "Batch-norm statistics are averaged like weights; they are not those of the soup's own activations.",
      ]
    : [];
  for (const group of await findDuplicates(checkpoints, options)) {
    warnings.push(
      `Ingredients ${group.join(', ')} (${group.map((i) => checkpoints[i]?.path).join(', ')}) hold the same tensors; each counts.`,
    );
  }
  // A dry run reads no tensors.
  if (!options.dryRun)
    warnings.push(...(await initialisationWarnings(checkpoints, matched, options)));
  if (left.length > 0) notes.push(`${left.length} tensors are left out by --include/--exclude.`);
  return {
    checkpoints,
    weighting,
    tensors,
    warnings,
    notes: [...checkpoints.flatMap((c) => c.notes), ...notes],
  };
}

/** The weights of the whole soup (for groups of tensors: their mean), and those of each tensor. */
async function chooseWeights(
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  { weights, normalize, mixture }: RecipeOptions,
) {
  const k = checkpoints.length;
  if (!mixture) {
    const weighting = resolveWeights(k, weights, normalize);
    return { weighting, mixture: weighting };
  }
  const grouping = await groupTensors(checkpoints, matched, mixture.by);
  const weighting: Weighting = {
    weights: meanWeights(grouping, mixture.alpha, k),
    members: [...Array(k).keys()].filter((i) =>
      grouping.names.some((g) => mixture.alpha[g]?.[i] !== 0),
    ),
    equal: false,
  };
  return { weighting, mixture: await groupMixture(checkpoints, matched, mixture) };
}

type Prepared = Awaited<ReturnType<typeof prepareSoup>>;

/**
 * Makes a soup of given weights and writes it: what every recipe ends with.
 * @param details what the recipe says in the soup's record of how it came to these weights
 */
export async function makeSoup(
  recipe: string,
  ingredients: readonly (string | Checkpoint)[],
  output: string | Writable,
  options: RecipeOptions,
  details?: Record<string, unknown>,
): Promise<Soup> {
  const began = performance.now();
  const threads = resolveThreads(options.threads);
  const memory = resolveMemory(options.memory);
  if (typeof output === 'string') checkShardSize(output, options.maxShardSize);
  else if (output.destroyed || output.writableEnded)
    throw new StockpotError('USAGE', 'the output stream has ended already');
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
  // A donor whose files cannot be had is refused before the work.
  if (options.like !== undefined || (typeof output === 'string' && !isFileOutput(output)))
    await sideFiles(options.like ?? (checkpoints[0] as Checkpoint).path);
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
    const hashes = options.hash ? await fileHashes(checkpoints, options) : undefined;
    const record = makeRecord(recipe, prepared, options, hashes, details);
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
    const { result, sha256, warnings } = await toDisk(target, recipe, prepared, options, details);
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

function makeRecord(
  recipe: string,
  { checkpoints, weighting }: Prepared,
  options: RecipeOptions,
  hashes: readonly (readonly string[])[] | undefined,
  details: Record<string, unknown> | undefined,
): SoupRecord {
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
    mixture: options.mixture && {
      by: options.mixture.by,
      alpha: Object.fromEntries(
        Object.entries(options.mixture.alpha).map(([group, row]) => [group, [...row]]),
      ),
    },
    options: { dtype, normalize, include, exclude, allowNonfinite, allowOverflow, key },
    details,
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
  options: RecipeOptions,
): Promise<{ result: MergeResult; warnings: string[] }> => {
  const { checkpoints } = prepared;
  const result = await execute(checkpoints, shards, {
    ...options,
    sink,
    outputs,
    hashInputs: options.hash === true && sink === 'file',
  });
  const tensors: PlannedTensor[] = shards.flatMap((s) => s.tensors);
  return { result, warnings: judge(result.findings, tensors, checkpoints, options) };
};

async function toDisk(
  target: AtomicOutput,
  recipe: string,
  prepared: Prepared,
  options: RecipeOptions,
  details: Record<string, unknown> | undefined,
) {
  const first = prepared.checkpoints[0] as Checkpoint;
  const limit = target.isFile ? Number.POSITIVE_INFINITY : (options.maxShardSize ?? DEFAULT_SHARD);
  const shards = splitIntoShards(prepared.tensors, limit);
  // Hashes of the ingredients come out of the pass, after the header was written: a placeholder keeps their room.
  const blank = options.hash
    ? prepared.checkpoints.map((c) => c.files.map(() => '0'.repeat(64)))
    : undefined;
  const header = (s: Shard, hashes: typeof blank) =>
    safetensorsHeader(
      s.tensors,
      metadataOf(
        first,
        target.isFile ? makeRecord(recipe, prepared, options, hashes, details) : undefined,
      ),
    );
  await target.needRoom(bytesToWrite(prepared.tensors));
  const handles: FileHandle[] = [];
  const outputs: ExecuteOptions['outputs'] = [];
  for (const s of shards) {
    const handle = await target.create(s.name);
    const path = target.isFile ? target.path : join(target.path, s.name);
    handles.push(handle);
    outputs.push({ fd: handle.fd, prefix: header(s, blank), path });
  }
  const { result, warnings } = await run(prepared, shards, outputs, 'file', options);
  if (options.statistics) {
    for (const [i, s] of shards.entries()) {
      const from = outputs[i]?.prefix.length ?? 0;
      const statistics = options.statistics;
      await target.writing(() =>
        putStatistics(handles[i] as FileHandle, from, s.tensors, statistics),
      );
      const path = target.isFile ? target.partial : join(target.partial, s.name);
      const [[sha256]] = (await fileHashes([await openCheckpoint(path)], options)) as [[string]];
      result.sha256[i] = sha256;
    }
  }
  const hashes = options.hash
    ? await restOfHashes(prepared.checkpoints, result, options)
    : undefined;
  if (target.isFile) {
    if (!hashes) return { result, warnings, sha256: result.sha256[0] as string };
    const [handle] = handles as [FileHandle];
    await target.writing(async () => {
      await writeAll(handle, header(shards[0] as Shard, hashes), 0);
      await handle.sync();
    });
    const [[sha256]] = (await fileHashes([await openCheckpoint(target.partial)], options)) as [
      [string],
    ];
    return { result, warnings, sha256 };
  }
  if (shards.length > 1) await target.write('model.safetensors.index.json', shardIndex(shards));
  const record = makeRecord(recipe, prepared, options, hashes, details);
  await target.write(RECORD_FILE, `${JSON.stringify(record, null, 2)}\n`);
  await copySideFiles(target, options.like ?? first.path, options.dtype ?? 'keep');
  const written = new Map(shards.map((s, i) => [s.name, result.sha256[i] as string]));
  return { result, warnings, sha256: folderHash(written) };
}

/** The hashes of all ingredients' files: those that the pass took, and the others read for it. */
async function restOfHashes(
  checkpoints: readonly Checkpoint[],
  result: MergeResult,
  run: RunOptions,
): Promise<string[][]> {
  let at = 0;
  const taken = checkpoints.map((c) => c.files.map(() => result.inputSha256[at++] as string));
  const without = checkpoints.filter((_, i) => taken[i]?.includes(''));
  const read = new Map((await fileHashes(without, run)).map((h, i) => [without[i], h]));
  return taken.map((hashes, i) => read.get(checkpoints[i]) ?? hashes);
}

async function copySideFiles(
  target: AtomicOutput,
  donor: string,
  dtype: OutputDType,
): Promise<void> {
  const { folder, names } = await sideFiles(donor);
  for (const name of names) {
    const changed =
      name === 'config.json' ? await configWithDtype(join(folder, name), dtype) : null;
    if (changed === null) await target.copy(join(folder, name), name);
    else await target.write(name, changed);
  }
}

/** Streams one safetensors file through a pipe, whose filling holds the native writer back. */
async function toStream(
  output: Writable,
  prepared: Prepared,
  record: SoupRecord,
  options: RecipeOptions,
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
  let writing = true;
  let streamError: Error | undefined;
  // Listens to the end, so that an error of the stream, at whatever time, is never an uncaught one.
  const ended = new Promise<void>((resolve) => {
    finished(output, { readable: false }, (error) => {
      if (error || writing) {
        streamError = error ?? new Error('it was ended before the soup was');
        stop.abort();
      }
      resolve();
    });
    signal.addEventListener('abort', () => resolve());
  });
  // Closing the pipe also frees a writer that waits for a stream that no longer takes anything.
  const close = () => from.destroy();
  signal.addEventListener('abort', close);
  // A refused soup must not end the stream as if it were whole: the pipe's end is only passed on when all is well.
  const sink = new Writable({
    write: (chunk, _encoding, next) => {
      if (output.write(chunk)) next();
      else output.once('drain', next);
    },
  });
  const piped = pipeline(from, sink).catch(() => {}); // whoever closed the pipe knows why
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
    if (!signal.aborted) output.end();
    await ended;
    if (signal.aborted) throw signal.reason;
    return { result, warnings };
  } catch (cause) {
    if (writing) closeSync(writeEnd);
    writing = false;
    from.destroy();
    const error = options.signal?.aborted
      ? new StockpotError('ABORTED', 'aborted')
      : streamError
        ? new StockpotError('IO', `the output stream failed: ${streamError.message}`, {
            cause: streamError,
          })
        : (cause as Error);
    output.destroy(error);
    throw error;
  } finally {
    signal.removeEventListener('abort', close);
  }
}
