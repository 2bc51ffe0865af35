import { availableParallelism } from 'node:os';
import { StockpotError } from './errors.js';

/** The number of worker threads to use: `threads` if given, else one a processor. */
export function resolveThreads(threads: number | undefined): number {
  if (threads === undefined) return availableParallelism();
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw new StockpotError(
      'USAGE',
      `threads must be an integer from 1 to 1024 but received ${threads}`,
    );
  }
  return threads;
}

/** Bytes for buffers: `memory` if given, else 128 MiB. */
export function resolveMemory(memory: number | undefined): number {
  if (memory === undefined) return 128 * 2 ** 20;
  if (!Number.isSafeInteger(memory) || memory < 2 ** 20) {
    throw new StockpotError('USAGE', `memory must be at least 1 MiB but received ${memory} bytes`);
  }
  return memory;
}
