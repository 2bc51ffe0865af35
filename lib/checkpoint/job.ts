import { StockpotError } from '../errors.js';
import type { NativeFailure, NativeJob } from '../native.js';
import type { Progress, RunOptions } from '../progress.js';
import { CHECK_DISK } from './system_error.js';

/** How often progress is reported, in milliseconds. */
const TICK = 100;

/** Names for what a native failure points at. */
export interface FailureNames {
  file(index: number): string;
  tensor(segment: number): string | undefined;
  output?(index: number): string;
  /** The data that a network is run on. */
  data?: string;
}

/**
 * Waits for a native job: passes on aborts, reports progress (a timer that keeps no process alive), and turns a failure
 * into a StockpotError with names in place of numbers.
 */
export async function runJob<T>(
  start: () => NativeJob<T>,
  names: FailureNames,
  run: RunOptions,
  phase: string,
  bytesTotal: number,
): Promise<T> {
  throwIfAborted(run.signal);
  const began = performance.now();
  const job = start();
  let thrown: { error: unknown } | undefined;
  const report = () => {
    const seconds = (performance.now() - began) / 1000;
    try {
      run.onProgress?.({ phase, ...job.progress(), bytesTotal, seconds } satisfies Progress);
    } catch (error) {
      // The caller's own failure: it ends the job and reaches the caller, not the process.
      thrown ??= { error };
      job.abort();
    }
  };
  const abort = () => job.abort();
  run.signal?.addEventListener('abort', abort, { once: true });
  const timer = run.onProgress ? setInterval(report, TICK) : undefined;
  timer?.unref();
  try {
    const result = await job.promise;
    report();
    if (thrown) throw thrown.error;
    return result;
  } catch (failure) {
    throw thrown ? thrown.error : explain(failure as NativeFailure, names);
  } finally {
    clearInterval(timer);
    run.signal?.removeEventListener('abort', abort);
  }
}

/** @throws StockpotError ABORTED */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new StockpotError('ABORTED', 'aborted');
}

function explain(f: NativeFailure, names: FailureNames): unknown {
  if (f instanceof Error) return f;
  const file = f.file >= 0 ? names.file(f.file) : undefined;
  const tensor = f.segment >= 0 ? names.tensor(f.segment) : undefined;
  const where = tensor === undefined ? '' : ` (at tensor "${tensor}")`;
  switch (f.kind) {
    case 'aborted':
      return new StockpotError('ABORTED', 'aborted');
    case 'short-read':
      return new StockpotError('CHANGED', `${file}: became shorter while it was read${where}`, {
        file,
        tensor,
        remedy: 'Make sure that nothing writes to it, and run again.',
      });
    case 'read':
      return new StockpotError('IO', `${file}: cannot be read: ${f.strerror}${where}`, {
        file,
        tensor,
        remedy: CHECK_DISK,
      });
    case 'write': {
      const output = names.output?.(f.output);
      const full = /no space|quota|file too large/i.test(f.strerror);
      return new StockpotError(
        full ? 'NO_SPACE' : 'IO',
        `${output}: cannot be written: ${f.strerror}`,
        {
          file: output,
          remedy: full
            ? 'Free some space or choose another place; nothing was left behind.'
            : CHECK_DISK,
        },
      );
    }
    case 'input':
      return new StockpotError(
        'FORMAT',
        `${names.data ?? 'the data'}: does not fit the network: ${f.what}`,
        {
          file: names.data,
          remedy:
            'Use data that was made for this network (the same vocabulary, the same classes).',
        },
      );
    case 'device':
      return new StockpotError('DEVICE', `the device failed: ${f.what}`, {
        remedy: /out of memory/i.test(f.what)
          ? 'Free memory of the device, lower --memory, or use --device cpu.'
          : 'Use --device cpu.',
      });
    case 'memory':
      return new StockpotError('MEMORY', 'out of memory', {
        remedy: 'Lower --memory or --threads.',
      });
    default:
      return new StockpotError('NATIVE', `internal error: ${f.what}`);
  }
}
