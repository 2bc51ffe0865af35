import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isObject } from '../../checkpoint/json.js';
import { makeKept, writeWhole } from '../../checkpoint/whole_file.js';
import type { DescentState } from './descent.js';

const FORMAT = 1;

/**
 * The state of a descent in a file of a folder (--resume), named by a hash of everything that the descent depends on. It
 * is written whole or not at all; one that cannot be read is as if it were not there. JSON's numbers are exact.
 */
export class SavedState {
  private constructor(private readonly path: string) {}

  /** @throws StockpotError IO */
  static async open(folder: string, key: string): Promise<SavedState> {
    await makeKept(folder);
    return new SavedState(join(folder, `learned-${key}.json`));
  }

  /** What was saved of a descent with `groups` rows of k, or null. */
  async read(groups: number, k: number): Promise<DescentState | null> {
    const text = await readFile(this.path, 'utf8').catch(() => null);
    if (text === null) return null;
    try {
      const file: unknown = JSON.parse(text);
      if (!isObject(file) || file.stockpotLearned !== FORMAT) return null;
      return isState(file.state, groups, k) ? file.state : null;
    } catch {
      return null;
    }
  }

  /** @throws StockpotError IO, NO_SPACE */
  async write(state: DescentState): Promise<void> {
    await writeWhole(this.path, `${JSON.stringify({ stockpotLearned: FORMAT, state })}\n`);
  }
}

const isNumbers = (v: unknown, n: number): boolean =>
  Array.isArray(v) && v.length === n && v.every((x) => typeof x === 'number');

const isMoments = (v: unknown, n: number): boolean =>
  isObject(v) && isNumbers(v.first, n) && isNumbers(v.second, n);

function isState(v: unknown, groups: number, k: number): v is DescentState {
  return (
    isObject(v) &&
    typeof v.step === 'number' &&
    typeof v.beta === 'number' &&
    Array.isArray(v.raw) &&
    v.raw.length === groups &&
    v.raw.every((row) => isNumbers(row, k)) &&
    isObject(v.moments) &&
    Array.isArray(v.moments.raw) &&
    v.moments.raw.length === groups &&
    v.moments.raw.every((m) => isMoments(m, k)) &&
    isMoments(v.moments.beta, 1) &&
    isNumbers(v.loss, v.step) &&
    Array.isArray(v.path)
  );
}
