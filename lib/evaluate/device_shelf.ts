import { OpenSources, type Place } from '../checkpoint/source_table.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { DeviceSources } from '../merge/device_sources.js';
import { heldBytes } from '../merge/held.js';
import { planResidency, STREAMING } from '../merge/residency.js';
import type { DeviceHandle } from '../native.js';
import type { RunOptions } from '../progress.js';

const bytesOf = (its: readonly TensorEntry[]): number => its.reduce((n, e) => n + heldBytes(e), 0);

/** Bytes that must be left for ingredients: for all of them, or to stream them. */
export const leastForIngredients = (entries: readonly (readonly TensorEntry[])[]): number =>
  Math.min(
    STREAMING,
    entries.reduce((n, its) => n + bytesOf(its), 0),
  );

/**
 * Ingredients on a device between the mixes that are made of them: as many as fit, each read when it is first needed; the
 * others are streamed in every pass.
 */
export class DeviceShelf {
  private readonly filled = new Set<number>();

  private constructor(
    private readonly files: OpenSources,
    readonly sources: DeviceSources,
    private readonly resident: ReadonlySet<number>,
    private readonly entries: readonly (readonly TensorEntry[])[],
  ) {}

  /**
   * @param entries of each ingredient, what the network uses of it
   * @param room bytes of the device that they may take
   * @throws StockpotError IO, CHANGED; RangeError
   */
  static async open(
    checkpoints: readonly Checkpoint[],
    entries: readonly (readonly TensorEntry[])[],
    device: DeviceHandle,
    room: number,
  ): Promise<DeviceShelf> {
    const sizes = entries.map(bytesOf);
    const none = { soup: 0, gradient: 0, activations: 0 };
    const { resident } = planResidency(sizes, { ...none, ring: STREAMING }, room);
    const files = await OpenSources.open(checkpoints);
    try {
      const bytes = resident.reduce((n, i) => n + (sizes[i] as number), 0);
      return new DeviceShelf(
        files,
        new DeviceSources(files, bytes, device),
        new Set(resident),
        entries,
      );
    } catch (e) {
      await files.close();
      throw e;
    }
  }

  /** Reads those of these places' ingredients that belong there and are not yet. @throws StockpotError */
  async prepare(places: readonly Place[], run: RunOptions): Promise<void> {
    const wanted = new Set(places.flatMap((p) => (p ? [p[0]] : [])));
    for (const i of wanted) {
      if (!this.resident.has(i) || this.filled.has(i)) continue;
      const its = this.entries[i] as readonly TensorEntry[];
      await this.sources.add(
        its.map((e) => [i, e] as const),
        (n) => its[n]?.name,
        { ...run, onProgress: undefined },
      );
      this.filled.add(i);
    }
  }

  async close(): Promise<void> {
    await this.sources.close();
    await this.files.close();
  }
}
