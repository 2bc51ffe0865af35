import { runJob, throwIfAborted } from '../checkpoint/job.js';
import { elementCount } from '../checkpoint/shape.js';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import {
  type DeviceHandle,
  type NetworkInput,
  native,
  type SetHandle,
  type SetTable,
} from '../native.js';
import { onDevice } from './engine.js';

/** A batch by the names of a network's inputs. */
export type Inputs = Record<string, NetworkInput>;

/** What a network of ours takes its examples from: a data set, or a copy of it on a device. */
export interface Feed extends Pick<DataSet, 'path' | 'labels' | 'shared' | 'tokens'> {
  /** As `DataSet.batch`. */
  batch(indices: ArrayLike<number>, length?: number, signal?: AbortSignal): Promise<Inputs>;
}

/** Bytes of examples that are read at a time on their way to a device. */
const PART = 32 * 2 ** 20;

/** A table of a set, and the input that its rows are. */
interface Column {
  name: string;
  table: SetTable;
}

/**
 * The examples of a data set for networks on a device. Once they have a place there, they are copied once, images as
 * bytes, and a batch is rows of that; else each batch goes there when it is run. Logits are the same, to the bit.
 */
export class DeviceFeed implements Feed {
  private readonly columns: readonly Column[];
  private set: SetHandle | undefined;
  private filled = 0;
  private filling: Promise<void> | undefined;

  /** @param used names of the inputs that the networks have */
  constructor(
    private readonly data: DataSet,
    private readonly device: DeviceHandle,
    used: readonly string[],
  ) {
    this.columns = columnsOf(data).filter((c) => used.includes(c.name));
  }

  get path() {
    return this.data.path;
  }

  get labels() {
    return this.data.labels;
  }

  get shared() {
    return this.data.shared;
  }

  get tokens() {
    return this.data.tokens;
  }

  /** Bytes of the device that all examples take there. */
  get size(): number {
    return this.data.count * this.rowBytes;
  }

  /** Bytes that they have taken. */
  get bytes(): number {
    return this.set ? this.size : 0;
  }

  private get rowBytes(): number {
    return this.columns.reduce((sum, { table }) => sum + table.rowBytes, 0);
  }

  /** Takes the device's memory for them, where that is not more than `room` bytes and the device gives it. */
  place(room: number): void {
    if (this.set || this.size > room) return;
    try {
      this.set =
        onDevice(() =>
          native().createSet(
            this.device,
            this.data.count,
            this.columns.map((c) => c.table),
          ),
        ) ?? undefined;
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
    }
  }

  async batch(indices: ArrayLike<number>, length?: number, signal?: AbortSignal): Promise<Inputs> {
    const { set } = this;
    if (!set) return this.data.batch(indices, length);
    await this.fill(set, signal);
    const rows = Int32Array.from(indices);
    return Object.fromEntries(this.columns.map(({ name }, table) => [name, { set, table, rows }]));
  }

  /** Frees the device's memory, when what runs on it is over. */
  close(): void {
    if (this.set) native().freeSet(this.set);
    this.set = undefined;
  }

  /** Reads the examples that are not there yet. @throws StockpotError as the data does; ABORTED */
  private async fill(set: SetHandle, signal: AbortSignal | undefined): Promise<void> {
    while (this.filled < this.data.count) {
      const mine = this.filling === undefined;
      this.filling ??= this.fillPart(set, signal).finally(() => {
        this.filling = undefined;
      });
      try {
        await this.filling;
      } catch (e) {
        // Where it was another call that was aborted, this one goes on.
        if (mine || !(e instanceof StockpotError && e.code === 'ABORTED')) throw e;
      }
      throwIfAborted(signal);
    }
  }

  private async fillPart(set: SetHandle, signal: AbortSignal | undefined): Promise<void> {
    const left = this.data.count - this.filled;
    const n = Math.min(left, Math.max(1, Math.floor(PART / this.rowBytes)));
    const indices = Int32Array.from({ length: n }, (_, i) => this.filled + i);
    const arrays = await this.read(indices);
    await runJob(
      () => native().fillSet(set, n, arrays),
      { file: () => this.data.path, tensor: () => undefined },
      { signal },
      'copy examples',
      0,
    );
    this.filled += n;
  }

  private async read(indices: Int32Array): Promise<(Uint8Array | Float32Array | Int32Array)[]> {
    if (asBytes(this.data)) return [await this.data.pixels.read(indices)];
    const inputs = await this.data.batch(indices);
    return this.columns.map(({ name }) => inputs[name] as Float32Array | Int32Array);
  }
}

/** Whether the examples are images that stockpot prepared, and nothing else. */
const asBytes = (data: DataSet): data is DataSet & Required<Pick<DataSet, 'pixels'>> =>
  data.pixels !== undefined && data.inputs.length === 1;

function columnsOf(data: DataSet): Column[] {
  if (asBytes(data)) {
    const { shape, table } = data.pixels;
    const name = data.inputs[0]?.name as string;
    return [{ name, table: { rowBytes: elementCount(shape), integers: false, values: table } }];
  }
  return data.inputs.map(({ name, dtype, shape }) => ({
    name,
    table: { rowBytes: 4 * elementCount(shape), integers: dtype === 'i32' },
  }));
}
