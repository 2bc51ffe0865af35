import { type FileHandle, open } from 'node:fs/promises';
import { freemem } from 'node:os';
import { type NativeJob, native } from '../native.js';
import type { Checkpoint } from './types.js';

/** Reading that goes on in the background. */
export interface ReadAhead {
  /** Ends it; harmless where it is over. */
  stop(): void;
  /** Bytes that were asked for, once it is over; never rejects. */
  readonly done: Promise<number>;
}

/**
 * Asks the system to read a checkpoint's files into its page cache while something else goes on. A hint, no more: files
 * that are gone are left to whoever reads them in earnest, and at most half of the memory that is free is asked for, so
 * that what is in use is not driven out.
 */
export function readAhead(checkpoint: Checkpoint): ReadAhead {
  let stopped = false;
  let job: NativeJob<number> | undefined;
  const work = async (): Promise<number> => {
    const handles: FileHandle[] = [];
    try {
      for (const f of checkpoint.files) handles.push(await open(f.path, 'r'));
      if (stopped) return 0;
      let room = Math.floor(freemem() / 2);
      const bytes = checkpoint.files.map(({ size }) => {
        const n = Math.min(size, room);
        room -= n;
        return n;
      });
      const files = Float64Array.from(handles, (h) => h.fd);
      job = native().readAhead({ files, bytes: Float64Array.from(bytes) });
      return await job.promise;
    } finally {
      await Promise.all(handles.map((h) => h.close()));
    }
  };
  return {
    stop: () => {
      stopped = true;
      job?.abort();
    },
    done: work().catch(() => 0),
  };
}
