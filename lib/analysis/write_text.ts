import { randomBytes } from 'node:crypto';
import { link, lstat, mkdir, open, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileError } from '../checkpoint/open.js';
import { StockpotError } from '../errors.js';

export interface WriteOptions {
  overwrite?: boolean;
  /** Paths that are never replaced. */
  inputs?: readonly string[];
}

/**
 * Refuses what must not be written, before the work is done.
 * @throws StockpotError OUTPUT, USAGE
 */
export async function checkTextOutput(path: string, options: WriteOptions = {}): Promise<void> {
  if (path === '')
    throw new StockpotError('USAGE', 'expected the name of an output but received ""');
  const refuse = (message: string, remedy: string) =>
    new StockpotError('OUTPUT', `${path}: ${message}`, { file: path, remedy });
  const there = await realpath(path).catch(() => null);
  for (const input of options.inputs ?? []) {
    const real = await realpath(input).catch(() => null);
    if (there !== null && real === there)
      throw refuse('is an input of this run', 'Choose another output.');
  }
  const info = await lstat(path).catch(() => null);
  if (info?.isDirectory()) throw refuse('is a folder', 'Name a file.');
  if (info && !options.overwrite)
    throw refuse('exists already', 'Choose another output, or pass --overwrite.');
}

/**
 * Writes a text file that appears whole or not at all; missing parents are made.
 * @throws StockpotError OUTPUT, USAGE, IO, NO_SPACE
 */
export async function writeText(
  path: string,
  text: string,
  options: WriteOptions = {},
): Promise<void> {
  await checkTextOutput(path, options);
  const folder = dirname(resolve(path));
  const partial = join(folder, `.${basename(path)}.${randomBytes(4).toString('hex')}.partial`);
  try {
    await mkdir(folder, { recursive: true });
    const handle = await open(partial, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link does not replace what came there meanwhile.
    if (options.overwrite) await rename(partial, path);
    else await link(partial, path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') await checkTextOutput(path, options);
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new StockpotError('NO_SPACE', `${path}: the disk is full`, {
        file: path,
        cause,
        remedy: 'Free some space or choose another place; nothing was left behind.',
      });
    }
    throw fileError(path, cause);
  } finally {
    await rm(partial, { force: true });
  }
}
