import { byteSize, dtypeIndex } from '../checkpoint/dtype.js';
import { runJob } from '../checkpoint/job.js';
import { elementCount } from '../checkpoint/shape.js';
import type { OpenSources, Place, Sources } from '../checkpoint/source_table.js';
import type { TensorEntry } from '../checkpoint/types.js';
import { type HeldHandle, native, type SourceTable } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveThreads } from '../threads.js';

/** Tensors begin at multiples of this in a block. */
const ALIGNMENT = 64;

export const heldBytes = (entry: TensorEntry): number =>
  Math.ceil((elementCount(entry.shape) * byteSize(entry.dtype)) / ALIGNMENT) * ALIGNMENT;

/**
 * A block of memory that tensors of the ingredients are read into, as they are stored, and from which merges and dot
 * products then read as from files. It can be filled again with others.
 */
export class HeldSources implements Sources {
  readonly fileCount = 0;
  private readonly handle: HeldHandle;
  private readonly offsets = new Map<TensorEntry, number>();
  private used = 0;

  /** @throws RangeError where there is not so much memory */
  constructor(readonly bytes: number) {
    this.handle = native().createHeld(bytes);
  }

  /** Reads these tensors, in place of what was there. @throws StockpotError IO, CHANGED, ABORTED */
  async fill(
    sources: OpenSources,
    places: readonly Place[],
    tensor: (place: number) => string | undefined,
    run: RunOptions,
  ): Promise<void> {
    this.offsets.clear();
    this.used = 0;
    const wanted = places.filter((p): p is NonNullable<Place> => p !== null);
    for (const [, entry] of wanted) {
      this.offsets.set(entry, this.used);
      this.used += heldBytes(entry);
    }
    await runJob(
      () =>
        native().hold({
          ...sources.table(wanted),
          threads: resolveThreads(run.threads),
          elements: Float64Array.from(wanted, ([, e]) => elementCount(e.shape)),
          block: this.handle,
          blockOffset: Float64Array.from(wanted, ([, e]) => this.offsets.get(e) as number),
        }),
      { file: (i) => sources.path(i), tensor },
      run,
      'read ingredients',
      this.used,
    );
  }

  table(places: readonly Place[]): SourceTable {
    const n = places.length;
    const t: SourceTable = {
      files: new Float64Array(),
      sourceFile: new Float64Array(n).fill(-1),
      sourceDtype: new Float64Array(n),
      sourceOffset: new Float64Array(n),
      sourceView: new Float64Array(n).fill(-1),
      views: [],
      held: this.handle,
    };
    places.forEach((place, i) => {
      if (!place) return;
      const offset = this.offsets.get(place[1]);
      if (offset === undefined) throw new RangeError(`${place[1].name} is not held`);
      t.sourceFile[i] = 0;
      t.sourceDtype[i] = dtypeIndex(place[1].dtype);
      t.sourceOffset[i] = offset;
    });
    return t;
  }

  path(): string {
    return '';
  }

  async checkUnchanged(): Promise<void> {}

  async close(): Promise<void> {
    native().releaseHeld(this.handle);
  }
}
