import { readFile } from 'node:fs/promises';
import { fileError } from './open.js';
import { codeOf } from './system_error.js';

/**
 * The text of a small file, or undefined where there is none: no other reason for which it cannot be read is taken for
 * that.
 * @throws StockpotError IO
 */
export const readIfThere = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').catch((cause) => {
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes(codeOf(cause))) return undefined;
    throw fileError(path, cause);
  });
