import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { StockpotError } from '../errors.js';
import { fileError } from './open.js';

/**
 * Writes a small file that appears whole or not at all, and replaces one that is there.
 * @throws StockpotError IO, NO_SPACE
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  const partial = `${path}.${randomBytes(4).toString('hex')}.partial`;
  try {
    const handle = await open(partial, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true });
    const folder = dirname(path);
    const full = ['ENOSPC', 'EDQUOT'].includes((cause as NodeJS.ErrnoException).code ?? '');
    if (!full) throw fileError(folder, cause);
    throw new StockpotError('NO_SPACE', `${folder}: the disk is full`, {
      file: folder,
      cause,
      remedy: 'Free some space; what was evaluated so far is kept there.',
    });
  }
}
