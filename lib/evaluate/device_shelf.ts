import { throwIfAborted } from '../checkpoint/job.js';
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

/** An ingredient that is being read before it is asked for. */
interface Reading {
  readonly ingredient: number;
  readonly stop: AbortController;
  /** Never rejects. */
  readonly done: Promise<void>;
}

/** Waits until it is over, which is at once where it is not wanted. @throws StockpotError ABORTED */
async function settled(reading: Reading, wanted: ReadonlySet<number>, signal?: AbortSignal) {
  const end = () => reading.stop.abort();
  if (!wanted.has(reading.ingredient) || signal?.aborted) end();
  signal?.addEventListener('abort', end, { once: true });
  await reading.done;
  signal?.removeEventListener('abort', end);
  throwIfAborted(signal);
}

/**
 * Ingredients on a device between the mixes that are made of them: as many as fit, each read when it is first needed; the
 * others are streamed in every pass.
 */
export class DeviceShelf {
  private readonly filled = new Set<number>();
  private reading: Reading | undefined;

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
    if (this.reading) await settled(this.reading, wanted, run.signal);
    for (const i of wanted) if (this.isMissing(i)) await this.read(i, run);
  }

  /** Whether it stays there once it is read. */
  keeps(ingredient: number): boolean {
    return this.resident.has(ingredient);
  }

  /**
   * Begins to read the first of these that belongs there and is not yet. What goes wrong is left to `prepare`, which reads
   * in earnest what is not there.
   */
  readAhead(ingredients: readonly number[], run: RunOptions): void {
    const next = ingredients.find((i) => this.isMissing(i));
    if (this.reading || next === undefined) return;
    const stop = new AbortController();
    const signal = run.signal ? AbortSignal.any([run.signal, stop.signal]) : stop.signal;
    const done = this.read(next, { ...run, signal })
      .catch(() => {})
      .finally(() => {
        this.reading = undefined;
      });
    this.reading = { ingredient: next, stop, done };
  }

  /** Ends what `readAhead` began. */
  stopReading(): void {
    this.reading?.stop.abort();
  }

  async close(): Promise<void> {
    this.stopReading();
    await this.reading?.done;
    await this.sources.close();
    await this.files.close();
  }

  private isMissing(ingredient: number): boolean {
    return this.resident.has(ingredient) && !this.filled.has(ingredient);
  }

  private async read(ingredient: number, run: RunOptions): Promise<void> {
    const its = this.entries[ingredient] as readonly TensorEntry[];
    await this.sources.add(
      its.map((e) => [ingredient, e] as const),
      (n) => its[n]?.name,
      { ...run, onProgress: undefined },
    );
    this.filled.add(ingredient);
  }
}
