import { type Mismatch, StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';

/** Between reports of progress, in milliseconds. */
const TICK = 100;

/** Reports how many bytes of a data set have been prepared; called with how many more there are. */
export function reporter(bytesTotal: number, { onProgress }: RunOptions): (bytes: number) => void {
  const began = performance.now();
  let last = began;
  let bytesRead = 0;
  return (bytes) => {
    bytesRead += bytes;
    const now = performance.now();
    if (!onProgress || (now - last < TICK && bytesRead < bytesTotal)) return;
    last = now;
    const seconds = (now - began) / 1000;
    onProgress({ phase: 'prepare', bytesRead, bytesWritten: 0, bytesTotal, seconds });
  };
}

/** Examples of a data set that cannot be used: refused with all of them. */
export function badExamples(path: string, bad: Mismatch[], good: number): StockpotError {
  const [first] = bad as [Mismatch];
  const n = bad.length;
  return new StockpotError(
    'FORMAT',
    `${first.file}: ${first.message}${n > 1 ? ` (${n} of ${n + good} examples of ${path} cannot be used)` : ''}`,
    {
      file: first.file,
      details: bad,
      remedy: 'Repair or remove them, or pass --skip-bad to go on without them.',
    },
  );
}

/** What is said where they are left out. */
export const leftOut = (path: string, bad: number, good: number): string[] =>
  bad === 0 ? [] : [`${path}: ${bad} of ${bad + good} examples cannot be used and are left out.`];
