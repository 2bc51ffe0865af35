import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { claim, sweep } from './claim.js';
import { makeFolders } from './folders.js';
import { writeError } from './writing.js';

const MAKE_ROOM = 'Free some space; what was evaluated so far is kept there.';

/**
 * Writes a small file that appears whole or not at all, and replaces one that is there; several runs may write it.
 * @throws StockpotError IO, NO_SPACE
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  let partial = '';
  let handle: Awaited<ReturnType<typeof claim>> = 'again';
  try {
    while (typeof handle === 'string') {
      partial = `${path}.${randomBytes(4).toString('hex')}.partial`;
      handle = await claim(partial, true);
    }
    await handle.writeFile(text);
    await handle.sync();
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true }).catch(() => {});
    throw writeError(dirname(path), cause, MAKE_ROOM);
  } finally {
    if (typeof handle !== 'string') await handle.close();
  }
}

/**
 * Makes the folder of such files, and removes from it what killed runs left half-written.
 * @throws StockpotError IO, NO_SPACE
 */
export async function makeKept(folder: string): Promise<void> {
  await makeFolders(resolve(folder)).catch((cause) => {
    throw writeError(folder, cause);
  });
  await sweep(folder, (name) => /^(learned-)?[0-9a-f]{64}\.json\.[0-9a-f]{8}\.partial$/.test(name));
}
