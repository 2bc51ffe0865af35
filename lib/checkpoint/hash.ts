import { createHash } from 'node:crypto';
import { native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveThreads } from '../threads.js';
import { byteSize } from './dtype.js';
import { runJob } from './job.js';
import { elementCount } from './shape.js';
import { OpenSources } from './source_table.js';
import type { Checkpoint, TensorEntry } from './types.js';

type Place = readonly [number, TensorEntry];

async function hashPlaces(
  checkpoints: readonly Checkpoint[],
  places: readonly Place[],
  run: RunOptions,
): Promise<string[]> {
  const sources = await OpenSources.open(checkpoints);
  try {
    const elements = Float64Array.from(places, ([, e]) => elementCount(e.shape));
    const total = places.reduce(
      (sum, [, e], i) => sum + (elements[i] as number) * byteSize(e.dtype),
      0,
    );
    const { sha256 } = await runJob(
      () =>
        native().hash({ ...sources.table(places), elements, threads: resolveThreads(run.threads) }),
      { file: (i) => sources.path(i), tensor: (i) => places[i]?.[1].name },
      run,
      'hash',
      total,
    );
    await sources.checkUnchanged();
    return sha256;
  } finally {
    await sources.close();
  }
}

/** SHA-256 (hex) of each tensor's elements in row-major order, little-endian, by stored name. */
export async function tensorHashes(
  checkpoint: Checkpoint,
  names: readonly string[] = [...checkpoint.tensors.keys()],
  run: RunOptions = {},
): Promise<Map<string, string>> {
  const places = names.map((n) => [0, checkpoint.tensors.get(n) as TensorEntry] as const);
  const hashes = await hashPlaces([checkpoint], places, run);
  return new Map(names.map((n, i) => [n, hashes[i] as string]));
}

/** SHA-256 (hex) of each file of each checkpoint, as sha256sum gives it. */
export async function fileHashes(
  checkpoints: readonly Checkpoint[],
  run: RunOptions = {},
): Promise<string[][]> {
  const places = checkpoints.flatMap((c, i) =>
    c.files.map(
      (f, file): Place => [i, { name: f.path, dtype: 'U8', shape: [f.size], file, offset: 0 }],
    ),
  );
  const hashes = await hashPlaces(checkpoints, places, run);
  let at = 0;
  return checkpoints.map((c) => c.files.map(() => hashes[at++] as string));
}

/**
 * A hash of what a checkpoint contains, whatever its format or sharding: SHA-256 over a line
 * `NAME DTYPE SHAPE HASH` a tensor, in byte order of names, HASH being that of its elements.
 * @throws StockpotError IO, CHANGED, ABORTED
 */
export async function contentHash(checkpoint: Checkpoint, run: RunOptions = {}): Promise<string> {
  return combine(checkpoint, await tensorHashes(checkpoint, undefined, run));
}

/** The content hash from hashes of all tensors. */
export function combine(checkpoint: Checkpoint, hashes: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256');
  for (const name of sortByBytes([...checkpoint.tensors.keys()])) {
    const { dtype, shape } = checkpoint.tensors.get(name) as TensorEntry;
    hash.update(`${JSON.stringify(name)} ${dtype} [${shape.join(',')}] ${hashes.get(name)}\n`);
  }
  return hash.digest('hex');
}

/** Byte order, as sha256sum's and ls's in the C locale (JavaScript's own order is by UTF-16 units). */
export const sortByBytes = (names: string[]): string[] =>
  names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

/** The hash of a folder's weight files: SHA-256 of the lines that sha256sum prints for them, in byte order of names. */
export function folderHash(hashes: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256');
  for (const name of sortByBytes([...hashes.keys()])) hash.update(`${hashes.get(name)}  ${name}\n`);
  return hash.digest('hex');
}
