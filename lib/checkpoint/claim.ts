import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { native } from '../native.js';
import { codeOf } from './system_error.js';

// What a run writes under a temporary name is locked as long as the run lives: so another run can tell it from what a
// killed one left, and removes only that.

const lstatOrNull = (path: string): Promise<Stats | null> => lstat(path).catch(() => null);

/** Whether a path still is what was opened. */
async function isSame(path: string, handle: FileHandle): Promise<boolean> {
  const [mine, now] = [await handle.stat(), await lstatOrNull(path)];
  return now?.ino === mine.ino && now.dev === mine.dev;
}

/** Takes the lock; null where the file system has none. */
function lock(handle: FileHandle): boolean | null {
  try {
    return native().lock(handle.fd);
  } catch (cause) {
    if (['ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'ENOLCK'].includes(codeOf(cause))) return null;
    throw cause;
  }
}

/** Opens what is there already, not through a link, and without waiting for another end. */
const openThere = (path: string): Promise<FileHandle | undefined> =>
  open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((cause) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  });

async function make(path: string, isFile: boolean, mode: number): Promise<FileHandle | undefined> {
  try {
    if (isFile) return await open(path, 'wx+', mode);
    await mkdir(path, { mode });
    return await open(path, constants.O_RDONLY);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    // Made, and removed by another run, in between; or there already.
    if (code === 'ENOENT' && (await lstatOrNull(join(path, '..')))) return undefined;
    if (code === 'EEXIST') return undefined;
    throw cause;
  }
}

/**
 * Makes a file or a folder and locks it; what a killed run left under that name is removed first.
 * @returns what was opened, which holds the lock; `held` where a living run has it; `again` where another try may do
 */
export async function claim(
  path: string,
  isFile: boolean,
  mode = 0o777,
): Promise<FileHandle | 'held' | 'again'> {
  const made = await make(path, isFile, isFile ? mode & 0o666 : mode);
  if (!made) return (await removeLeft(path)) === 'held' ? 'held' : 'again';
  try {
    const locked = lock(made);
    const same = await isSame(path, made);
    // Without locks, that it was not there has to do.
    if (same && locked !== false) return made;
    await made.close();
    return same ? 'held' : 'again';
  } catch (cause) {
    await made.close();
    await rm(path, { recursive: true, force: true });
    throw cause;
  }
}

/** Locks what is there, so that no other run takes it for left. Undefined where it cannot be opened. */
export async function hold(path: string): Promise<FileHandle | 'held' | undefined> {
  const there = await openThere(path).catch(() => undefined);
  if (!there) return undefined;
  if (lock(there) !== false) return there;
  await there.close();
  return 'held';
}

/**
 * Removes what a killed run left.
 * @returns `held` where a living run has it, or where the file system has no locks to tell
 */
export async function removeLeft(path: string): Promise<'removed' | 'held' | 'gone'> {
  const there = await openThere(path);
  if (!there) return 'gone';
  try {
    const locked = lock(there);
    if (!(await isSame(path, there))) return 'gone';
    if (!locked) return 'held';
    await rm(path, { recursive: true, force: true });
    return 'removed';
  } finally {
    await there.close();
  }
}

/** Removes from a folder what killed runs left under names of a kind. What cannot be removed is left. */
export async function sweep(folder: string, isOurs: (name: string) => boolean): Promise<void> {
  const uid = process.geteuid?.();
  for (const name of await readdir(folder).catch(() => [])) {
    if (!isOurs(name)) continue;
    const path = join(folder, name);
    const info = await lstatOrNull(path);
    if (info && (uid === undefined || info.uid === uid)) await removeLeft(path).catch(() => {});
  }
}
