import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type FileHandle, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../native.js';
import { claim, sweep } from './claim.js';
import { writeError } from './writing.js';

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

/** What temporary folders are for; each kind's names begin with `stockpot-KIND-`. */
export type TemporaryKind = 'soup' | 'graph' | 'analyses' | 'compare' | 'cache';

const isTemporary = (name: string): boolean =>
  /^stockpot-(soup|graph|analyses|compare|cache)-[0-9a-f]{16}$/.test(name);

/**
 * A folder for temporary files, in TMPDIR; removed by `remove`, and where the process ends before. It is locked, so that
 * what a killed run left there is told from it; the next one that is made removes that.
 */
export class TemporaryFolder {
  private constructor(
    readonly path: string,
    private readonly lock: FileHandle,
  ) {}

  /** @param parent in place of TMPDIR @throws StockpotError IO, NO_SPACE */
  static async make(kind: TemporaryKind, parent = tmpdir()): Promise<TemporaryFolder> {
    try {
      await sweep(parent, isTemporary);
      for (;;) {
        const path = join(parent, `stockpot-${kind}-${randomBytes(8).toString('hex')}`);
        const lock = await claim(path, false, 0o700);
        if (typeof lock === 'string') continue;
        guard(path);
        return new TemporaryFolder(path, lock);
      }
    } catch (cause) {
      throw writeError(parent, cause, MAKE_ROOM);
    }
  }

  /** What cannot be removed is left for the next run, which finds it unlocked. */
  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true }).catch(() => {});
    unguard(this.path);
    await this.lock.close();
  }
}

/** What to do where temporary files do not fit. */
export const MAKE_ROOM = 'Free some space, or name another folder for temporary files in TMPDIR.';
