import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../native.js';
import { fileError } from './open.js';

/** What is being written in this process: removed when it ends, however that happens short of being killed. */
const unfinished = new Set<string>();

const removeUnfinished = (): void => {
  for (const path of unfinished) rmSync(path, { recursive: true, force: true });
};

/** The addon removes it when a worker is terminated, this when somebody calls process.exit(). */
export function guard(path: string): void {
  native().guard(path);
  if (unfinished.size === 0) process.on('exit', removeUnfinished);
  unfinished.add(path);
}

export function unguard(path: string): void {
  native().unguard(path);
  unfinished.delete(path);
  if (unfinished.size === 0) process.off('exit', removeUnfinished);
}

/** A folder for temporary files, in TMPDIR; removed by `remove`, and where the process ends before. */
export class TemporaryFolder {
  private constructor(readonly path: string) {}

  /** @param prefix what its name begins with @throws StockpotError IO, NOT_FOUND */
  static async make(prefix: string): Promise<TemporaryFolder> {
    const path = await mkdtemp(join(tmpdir(), prefix)).catch((cause) => {
      throw fileError(tmpdir(), cause);
    });
    guard(path);
    return new TemporaryFolder(path);
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
    unguard(this.path);
  }
}
