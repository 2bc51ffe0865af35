import { type FileHandle, open } from 'node:fs/promises';
import { StockpotError } from '../errors.js';
import type { SourceTable } from '../native.js';
import { dtypeIndex } from './dtype.js';
import { fileError } from './system_error.js';
import type { Checkpoint, CheckpointFile, TensorEntry } from './types.js';

/** @throws StockpotError CHANGED where a file's size or time is no longer what `openCheckpoint` saw */
export async function checkUnchanged(handle: FileHandle, file: CheckpointFile): Promise<void> {
  const now = await handle.stat({ bigint: true });
  if (now.size === BigInt(file.size) && now.mtimeNs.toString() === file.mtimeNs) return;
  throw new StockpotError('CHANGED', `${file.path}: changed while it was read`, {
    file: file.path,
    remedy: 'Make sure that nothing writes to it, and run again.',
  });
}

/** A tensor of a checkpoint (by position), or null where none takes part. */
export type Place = readonly [number, TensorEntry] | null;

/** Where a pass reads ingredients' tensors from. */
export interface Sources {
  /** Number of files in the tables. */
  readonly fileCount: number;
  /** One source a place. */
  table(places: readonly Place[]): SourceTable;
  path(file: number): string;
  /** @throws StockpotError CHANGED where a file is no longer what `openCheckpoint` saw */
  checkUnchanged(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The files of several checkpoints, opened for reading, and the flat table of tensors that the addon takes.
 * Close it when the job is over; `checkUnchanged` first.
 */
export class OpenSources implements Sources {
  private handles: FileHandle[] = [];
  private readonly firstFile: number[] = [];
  private readonly paths: string[] = [];

  private constructor(readonly checkpoints: readonly Checkpoint[]) {}

  /** @throws StockpotError CHANGED where a file is no longer what `openCheckpoint` saw; IO, NOT_FOUND */
  static async open(checkpoints: readonly Checkpoint[]): Promise<OpenSources> {
    const self = new OpenSources(checkpoints);
    try {
      for (const c of checkpoints) {
        self.firstFile.push(self.paths.length);
        for (const f of c.files) {
          self.paths.push(f.path);
          self.handles.push(
            await open(f.path, 'r').catch((cause) => {
              throw fileError(f.path, cause);
            }),
          );
        }
      }
      await self.checkUnchanged();
      return self;
    } catch (e) {
      await self.close();
      throw e;
    }
  }

  /** @throws StockpotError CHANGED where a file's size or time is no longer what `openCheckpoint` saw */
  async checkUnchanged(): Promise<void> {
    for (const [i, c] of this.checkpoints.entries()) {
      for (const [j, f] of c.files.entries()) {
        const handle = this.handles[(this.firstFile[i] as number) + j] as FileHandle;
        await checkUnchanged(handle, f);
      }
    }
  }

  get fileCount(): number {
    return this.paths.length;
  }

  /** The file descriptor of a checkpoint's file. */
  descriptor(checkpoint: number, file: number): number {
    return (this.handles[(this.firstFile[checkpoint] as number) + file] as FileHandle).fd;
  }

  path(file: number): string {
    return this.paths[file] ?? '';
  }

  table(places: readonly Place[]): SourceTable {
    const n = places.length;
    const t: SourceTable = {
      files: Float64Array.from(this.handles, (h) => h.fd),
      sourceFile: new Float64Array(n).fill(-1),
      sourceDtype: new Float64Array(n),
      sourceOffset: new Float64Array(n),
      sourceView: new Float64Array(n).fill(-1),
      views: [],
    };
    places.forEach((place, i) => {
      if (!place) return;
      const [checkpoint, entry] = place;
      t.sourceFile[i] = (this.firstFile[checkpoint] as number) + entry.file;
      t.sourceDtype[i] = dtypeIndex(entry.dtype);
      t.sourceOffset[i] = entry.offset;
      if (entry.strides && !entry.shape.includes(0)) {
        t.sourceView[i] = t.views.length;
        t.views.push({
          shape: Float64Array.from(entry.shape),
          strides: Float64Array.from(entry.strides),
        });
      }
    });
    return t;
  }

  async close(): Promise<void> {
    const handles = this.handles;
    this.handles = [];
    await Promise.all(handles.map((h) => h.close()));
  }
}
