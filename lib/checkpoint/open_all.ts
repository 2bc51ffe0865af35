import { StockpotError } from '../errors.js';
import { throwIfAborted } from './job.js';
import { type OpenOptions, openCheckpoint } from './open.js';
import type { Checkpoint } from './types.js';

/**
 * Opens those that are paths; open checkpoints stay as they are.
 * @throws StockpotError as `openCheckpoint`; ABORTED; USAGE where callers without types give something else
 */
export async function openAll(
  checkpoints: readonly (string | Checkpoint)[],
  { key, signal }: OpenOptions & { signal?: AbortSignal },
): Promise<Checkpoint[]> {
  if (!Array.isArray(checkpoints))
    throw new StockpotError('USAGE', `expected a list of ingredients but received ${checkpoints}`);
  const all: Checkpoint[] = [];
  for (const [i, c] of checkpoints.entries()) {
    throwIfAborted(signal);
    if (typeof c !== 'string' && !((c as Checkpoint | null)?.tensors instanceof Map)) {
      throw new StockpotError(
        'USAGE',
        `expected ingredient ${i} to be a path or an open checkpoint but received ${c}`,
      );
    }
    all.push(typeof c === 'string' ? await openCheckpoint(c, { key }) : c);
  }
  return all;
}
