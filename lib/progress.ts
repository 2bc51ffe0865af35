/** How far a long call is. Bytes are of tensor data. */
export interface Progress {
  /** What is being done, e.g. "merge", "hash", "prepare", "evaluate". */
  phase: string;
  /** In this phase so far. */
  bytesRead: number;
  bytesWritten: number;
  /** What bytesRead will be at the end. */
  bytesTotal: number;
  /** In the phase `evaluate`, whose bytes are 0: examples that were evaluated, and all of them. */
  examples?: number;
  examplesTotal?: number;
  /** Which of several passes over the examples it is, from 1, and how many there are. */
  pass?: number;
  passes?: number;
  /** Seconds since the phase began. */
  seconds: number;
  /** For work that is counted in steps and not in bytes. */
  steps?: { done: number; all: number };
}

/** Told of progress, at most some times a second. */
export type OnProgress = (progress: Progress) => void;

/** What every long call takes. */
export interface RunOptions {
  /** Aborts the call; it rejects with StockpotError ABORTED and leaves nothing half-written. */
  signal?: AbortSignal;
  onProgress?: OnProgress;
  /** Worker threads; all the machine's by default. */
  threads?: number;
  /**
   * Bytes that the call may hold: in buffers, 128 MiB by default; where a network runs also in its weights, activations
   * and data, by default what the machine has. Calls of one process share it: together they hold no more than the largest
   * of them may.
   */
  memory?: number;
  /** Where to compute: `auto` (default), `cpu`, `cuda` or `cuda:N`. A named device never falls back. */
  device?: string;
}
