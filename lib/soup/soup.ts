import type { Allowances, ExecuteOptions } from '../merge/execute.js';
import type { GroupWeights } from '../merge/groups.js';
import type { MatchOptions } from '../merge/match.js';
import type { OutputDType } from '../merge/plan.js';
import type { RunOptions } from '../progress.js';

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

/** What recipes decide, beside what users choose. */
export interface RecipeOptions extends SoupOptions, RunOptions, Pick<ExecuteOptions, 'tuning'> {
  /** Weights by group of tensors, in place of `weights`. */
  mixture?: GroupWeights;
  /** Batch-norm statistics that were computed again, by the tensor's name, in place of the averaged ones. */
  statistics?: ReadonlyMap<string, Float32Array>;
}
