import { readFile, stat } from 'node:fs/promises';
import { StockpotError } from '../errors.js';
import { fileError } from './system_error.js';

/** Bytes of the largest configuration, index, tokenizer or record; real ones stay below 40 MB. */
const LARGEST = 100_000_000;

/**
 * A text file that belongs to a model and is never large, whole.
 * @throws StockpotError NOT_FOUND, IO; FORMAT for one that is larger than any real one
 */
export async function readSmallFile(path: string): Promise<string> {
  try {
    // Before it is opened: that would wait for ever at a named pipe.
    const info = await stat(path);
    if (!info.isFile()) {
      throw new StockpotError('NOT_FOUND', `${path}: expected a file, found something else`, {
        file: path,
      });
    }
    if (info.size > LARGEST) {
      throw new StockpotError(
        'FORMAT',
        `${path}: has ${info.size} bytes, more than any real file of its kind (${LARGEST})`,
        { file: path, remedy: 'Fetch or save it again.' },
      );
    }
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw cause instanceof StockpotError ? cause : fileError(path, cause);
  }
}

/** The same; undefined where there is no such file. @throws StockpotError IO, FORMAT */
export async function readSmallFileIfThere(path: string): Promise<string | undefined> {
  try {
    return await readSmallFile(path);
  } catch (error) {
    if (error instanceof StockpotError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
