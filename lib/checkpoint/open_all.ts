import { throwIfAborted } from './job.js';
import { type OpenOptions, openCheckpoint } from './open.js';
import type { Checkpoint } from './types.js';

/** Opens those that are paths; open checkpoints stay as they are. @throws StockpotError as `openCheckpoint`; ABORTED */
export async function openAll(
  checkpoints: readonly (string | Checkpoint)[],
  { key, signal }: OpenOptions & { signal?: AbortSignal },
): Promise<Checkpoint[]> {
  const all: Checkpoint[] = [];
  for (const c of checkpoints) {
    throwIfAborted(signal);
    all.push(typeof c === 'string' ? await openCheckpoint(c, { key }) : c);
  }
  return all;
}
