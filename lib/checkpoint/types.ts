import type { DType } from './dtype.js';

/** Where one tensor's elements lie on disk, and how they are to be read. */
export interface TensorEntry {
  /** Name as stored. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Position in `Checkpoint.files` of the file that holds the elements. */
  readonly file: number;
  /** Byte offset of element [0, …, 0] from the start of that file. Any alignment. */
  readonly offset: number;
  /**
   * Strides in elements, one a dimension, all ≥ 0; absent where the elements lie in row-major order without gaps.
   * Only PyTorch files have them (views saved as they were).
   */
  readonly strides?: readonly number[];
}

/** One file that a checkpoint's tensors lie in. */
export interface CheckpointFile {
  /** Path as given by the user (for shards: the folder as given joined with the shard's name). */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Modification time in nanoseconds since 1970, as a decimal string. */
  readonly mtimeNs: string;
  /**
   * SHA-256 (hex) of the file's structure: the safetensors header's 8 + n bytes, or a PyTorch file's `data.pkl`.
   * It changes when names, types, shapes or places change, not when only values do.
   */
  readonly headerHash: string;
}

/** What a checkpoint's files are. */
export type CheckpointFormat = 'safetensors' | 'pytorch';

/** A trained network's tensors on disk, opened: structure is in memory, the elements are not. */
export interface Checkpoint {
  /** Path as given by the user: a file or a folder. */
  readonly path: string;
  readonly format: CheckpointFormat;
  readonly files: readonly CheckpointFile[];
  /** In the order in which the elements lie in the files; names are unique. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Free-form strings that the file carries (safetensors' `__metadata__`); empty for PyTorch files. */
  readonly metadata: Readonly<Record<string, string>>;
  /**
   * Groups of names that the file itself says are one tensor: shared storage in a PyTorch file, or the
   * duplicates that safetensors' `save_model` removed and noted in `__metadata__`.
   */
  readonly tied: readonly (readonly string[])[];
  /** The dict inside a wrapped PyTorch checkpoint that was taken, or undefined when it is the top one. */
  readonly key?: string;
  /** Things worth telling the user that are no errors; one sentence each. */
  readonly notes: readonly string[];
}
