import { runJob } from '../checkpoint/job.js';
import { elementCount } from '../checkpoint/shape.js';
import type { OpenSources, Place, Sources } from '../checkpoint/source_table.js';
import type { TensorEntry } from '../checkpoint/types.js';
import { type DeviceHandle, type HeldHandle, native, type SourceTable } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveMemory, resolveThreads } from '../threads.js';
import { heldBytes } from './held.js';

/**
 * Ingredients' tensors in a device's memory, as they are stored, and the files for those that are not there: passes on
 * the device use what lies there and stream the rest.
 */
export class DeviceSources implements Sources {
  private readonly block: HeldHandle;
  private readonly offsets = new Map<TensorEntry, number>();
  private used = 0;

  /**
   * @param files stay open, and are closed by whoever opened them
   * @throws RangeError where the device has not so much memory
   */
  constructor(
    private readonly files: OpenSources,
    readonly bytes: number,
    device: DeviceHandle,
  ) {
    this.block = native().createHeld(bytes, device);
  }

  get fileCount(): number {
    return this.files.fileCount;
  }

  /** Reads these tensors, in place of what was there. @throws StockpotError IO, CHANGED, DEVICE, ABORTED */
  async fill(
    places: readonly Place[],
    tensor: (place: number) => string | undefined,
    run: RunOptions,
  ): Promise<void> {
    this.offsets.clear();
    this.used = 0;
    await this.add(places, tensor, run);
  }

  /** Reads these tensors too. */
  async add(
    places: readonly Place[],
    tensor: (place: number) => string | undefined,
    run: RunOptions,
  ): Promise<void> {
    const wanted = places.filter((p): p is NonNullable<Place> => p !== null);
    const offsets: number[] = [];
    let end = this.used;
    for (const [, entry] of wanted) {
      offsets.push(end);
      end += heldBytes(entry);
    }
    await runJob(
      () =>
        native().hold({
          ...this.files.table(wanted),
          threads: resolveThreads(run.threads),
          memory: resolveMemory(run.memory),
          elements: Float64Array.from(wanted, ([, e]) => elementCount(e.shape)),
          block: this.block,
          blockOffset: Float64Array.from(offsets),
        }),
      { file: (i) => this.files.path(i), tensor },
      run,
      'read ingredients',
      end - this.used,
    );
    wanted.forEach(([, entry], i) => {
      this.offsets.set(entry, offsets[i] as number);
    });
    this.used = end;
  }

  table(places: readonly Place[]): SourceTable {
    const there = (place: Place) => (place ? this.offsets.get(place[1]) : undefined) ?? -1;
    return {
      ...this.files.table(places),
      deviceBlock: this.block,
      deviceOffset: Float64Array.from(places, there),
    };
  }

  path(file: number): string {
    return this.files.path(file);
  }

  checkUnchanged(): Promise<void> {
    return this.files.checkUnchanged();
  }

  async close(): Promise<void> {
    native().releaseHeld(this.block);
  }
}
