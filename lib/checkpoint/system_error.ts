import { getSystemErrorName } from 'node:util';
import { StockpotError } from '../errors.js';

/** The name of a system error (ENOSPC); the addon's errors have its number only. */
export function codeOf(cause: unknown): string {
  const { code, errno } = cause as NodeJS.ErrnoException;
  return code ?? (typeof errno === 'number' && errno > 0 ? getSystemErrorName(-errno) : '');
}

/** What to do about a disk that fails. */
export const CHECK_DISK = 'Check the disk (dmesg), or use a copy that lies on another.';

const REMEDIES: Record<string, string | undefined> = {
  EIO: CHECK_DISK,
  EACCES: 'Check the permissions of it and of the folders above it (ls -ld).',
};

/** The operating system's error about a file, as a StockpotError. */
export function fileError(path: string, cause: unknown): StockpotError {
  const code = codeOf(cause);
  const why =
    code === 'ENOENT'
      ? 'there is no such file or folder'
      : code === 'EACCES' || code === 'EPERM'
        ? 'permission to read it is denied'
        : code === 'ELOOP'
          ? 'its symbolic links go in a circle'
          : code === 'ENOTDIR' || code === 'EEXIST'
            ? 'a part of its path is a file, not a folder'
            : code === 'EROFS'
              ? 'the file system is read-only'
              : code === 'EMFILE' || code === 'ENFILE'
                ? 'too many files are open (raise the limit with: ulimit -n 4096)'
                : code === 'EIO'
                  ? 'the disk reports an error'
                  : (cause as Error).message;
  const kind = code === 'ENOENT' || code === 'ENOTDIR' ? 'NOT_FOUND' : 'IO';
  const remedy = REMEDIES[code];
  return new StockpotError(kind, `${path}: ${why}`, { file: path, cause, remedy });
}
