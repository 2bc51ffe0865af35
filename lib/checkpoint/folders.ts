import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Makes a folder and those above it; gives the uppermost that it made. (Node's own loops for ever in /proc.) */
export async function makeFolders(folder: string): Promise<string | undefined> {
  const exists = () =>
    stat(folder).then(
      (info) => info.isDirectory(),
      () => false,
    );
  if (folder === dirname(folder) || (await exists())) return undefined;
  const above = await makeFolders(dirname(folder));
  try {
    await mkdir(folder);
  } catch (cause) {
    if (!(await exists())) throw cause; // else another run made it at the same time
  }
  return above ?? folder;
}

/** Has a file, or a folder and all that is in it, written to the disk. */
export async function syncTree(path: string): Promise<void> {
  if ((await lstat(path)).isDirectory())
    for (const name of await readdir(path)) await syncTree(join(path, name));
  await syncFolder(path);
}

/** Has a folder's names (or a file) written to the disk. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'EINVAL') throw e; // file systems that cannot sync a folder
  } finally {
    await handle.close();
  }
}
