import type { DType } from './checkpoint/dtype.js';
import { combine, fileHashes, tensorHashes } from './checkpoint/hash.js';
import { type OpenOptions, openCheckpoint } from './checkpoint/open.js';
import { readRecord, type SoupRecord } from './checkpoint/record.js';
import { elementCount } from './checkpoint/shape.js';
import type { Checkpoint, CheckpointFile } from './checkpoint/types.js';
import { requireProcessor } from './cuda.js';
import { tensorBytes } from './merge/plan.js';
import type { RunOptions } from './progress.js';

export interface InspectOptions extends OpenOptions, RunOptions {
  /** Also hash every tensor and file; reads everything. */
  hash?: boolean;
}

/** What a checkpoint holds. */
export interface Inspection {
  path: string;
  format: string;
  /** The dict of a wrapped PyTorch file that was taken; null where it is the top one. */
  key: string | null;
  files: (CheckpointFile & { sha256?: string })[];
  /** Elements of all tensors, and their bytes. */
  parameters: number;
  bytes: number;
  /** Number of tensors of each type. */
  dtypes: Partial<Record<DType, number>>;
  tensors: {
    name: string;
    dtype: DType;
    shape: number[];
    bytes: number;
    /** Row-major, without gaps. */
    contiguous: boolean;
    sha256?: string;
  }[];
  /** Groups of names that are one tensor. */
  tied: string[][];
  metadata: Record<string, string>;
  /** What a soup says about itself; null where it is none. */
  record: SoupRecord | null;
  /** Over all tensors' names, types, shapes and bytes; only with `hash`. */
  contentHash?: string;
  notes: string[];
}

/**
 * What a checkpoint holds.
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED; USAGE for a `key` that is not there; CHANGED, ABORTED where
 *   `hash` reads all of it
 */
export async function inspect(
  checkpoint: string | Checkpoint,
  options: InspectOptions = {},
): Promise<Inspection> {
  requireProcessor(options.device, 'checkpoints are inspected');
  const c = typeof checkpoint === 'string' ? await openCheckpoint(checkpoint, options) : checkpoint;
  const hashes = options.hash ? await tensorHashes(c, undefined, options) : undefined;
  const [files] = options.hash ? await fileHashes([c], options) : [];
  const dtypes: Partial<Record<DType, number>> = {};
  const tensors = [...c.tensors.values()].map(({ name, dtype, shape, strides }) => {
    dtypes[dtype] = (dtypes[dtype] ?? 0) + 1;
    const sha256 = hashes?.get(name);
    return {
      name,
      dtype,
      shape: [...shape],
      bytes: tensorBytes({ dtype, shape }),
      contiguous: strides === undefined,
      ...(sha256 ? { sha256 } : {}),
    };
  });
  return {
    path: c.path,
    format: c.format,
    key: c.key ?? null,
    files: c.files.map((f, i) => ({ ...f, ...(files ? { sha256: files[i] } : {}) })),
    parameters: tensors.reduce((n, t) => n + elementCount(t.shape), 0),
    bytes: tensors.reduce((n, t) => n + t.bytes, 0),
    dtypes,
    tensors,
    tied: c.tied.map((g) => [...g]),
    metadata: { ...c.metadata },
    record: await readRecord(c),
    ...(hashes ? { contentHash: combine(c, hashes) } : {}),
    notes: [...c.notes],
  };
}
