import { getSystemErrorName } from 'node:util';

/** The name of a system error (ENOSPC); the addon's errors have its number only. */
export function codeOf(cause: unknown): string {
  const { code, errno } = cause as NodeJS.ErrnoException;
  return code ?? (typeof errno === 'number' && errno > 0 ? getSystemErrorName(-errno) : '');
}
