import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { StockpotError } from '../../lib/errors.js';

/** What a reader is given in place of a file from a stranger. Files that inputs begin from are in `targets/index.ts`. */
export type FuzzTarget = (bytes: Buffer) => Promise<void>;

/** Longer messages than this quote more of a file than a reader wants. */
const LONGEST_MESSAGE = 10_000;

/** A folder of this process alone, in memory where the system has such a place. */
const scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'stockpot-fuzz-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

export const at = (...names: string[]): string => join(scratch, ...names);

/** Writes a file, its folders too. */
export function put(name: string, content: Uint8Array | string): string {
  const path = at(name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

/**
 * Does the work, which must succeed or be refused: a StockpotError in one line of bounded length, and none that says that
 * the addon or the system is at fault.
 * @returns whether it succeeded
 */
export async function survives(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (!(error instanceof StockpotError)) throw error;
    const { code, message } = error;
    if (code === 'NATIVE' || code === 'IO')
      throw new Error(`refused with ${code}`, { cause: error });
    if (/[\n\r]/.test(message)) throw new Error('a message of several lines', { cause: error });
    if (message.length > LONGEST_MESSAGE)
      throw new Error(`a message of ${message.length} characters`, { cause: error });
    return false;
  }
}
