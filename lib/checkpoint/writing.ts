import type { FileHandle } from 'node:fs/promises';
import { StockpotError } from '../errors.js';
import { codeOf, fileError } from './system_error.js';

/** What is said where there is no room, unless there is something better to say. */
const MAKE_ROOM = 'Free some space or choose another place; nothing was left behind.';

/** Whether writing failed because there is no more room: on the disk, in a quota, or below the limit on files' sizes. */
export const isFull = (cause: unknown): boolean =>
  ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(codeOf(cause));

export const noSpace = (path: string, what: string, remedy = MAKE_ROOM, cause?: unknown) =>
  new StockpotError('NO_SPACE', `${path}: ${what}`, { file: path, remedy, cause });

/**
 * What the system says when something cannot be written, as an error that names it.
 * @param remedy what to do where there is no room
 */
export function writeError(path: string, cause: unknown, remedy = MAKE_ROOM): StockpotError {
  if (cause instanceof StockpotError) return cause;
  if (isFull(cause)) {
    const what =
      codeOf(cause) === 'EFBIG'
        ? 'the disk is full, or files may not be so large here (ulimit -f)'
        : 'the disk is full';
    return noSpace(path, what, remedy, cause);
  }
  const { code, message, remedy: check } = fileError(path, cause);
  const said = message.replace('permission to read it', 'permission to write there');
  return new StockpotError(code === 'NOT_FOUND' ? 'IO' : code, said, {
    file: path,
    cause,
    remedy: check,
  });
}

/** Writes all of the bytes at a position: the system may take fewer at a time. */
export async function writeAll(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
