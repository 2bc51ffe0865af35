import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileError } from '../checkpoint/system_error.js';
import { TemporaryFolder } from '../checkpoint/unfinished.js';
import { isFull, noSpace, writeAll } from '../checkpoint/writing.js';
import { StockpotError } from '../errors.js';

/** Bytes of records that are allocated at a time. */
const BLOCK = 8 * 2 ** 20;

const FULL = 'the disk is full: prepared images do not fit';
const ROOM = 'Free some space, set TMPDIR to a larger disk, or raise --cache-memory.';

/**
 * Many records of one size: the first ones in memory, as far as they fit, the rest in a cache file. The file has no
 * name once it is open, so nothing is left of it however the process ends.
 */
export class ByteStore {
  private readonly blocks: Uint8Array[] = [];
  private readonly perBlock: number;
  private readonly inMemory: number;
  private file: Promise<FileHandle> | undefined;

  /**
   * @param size bytes of a record
   * @param memory bytes that may be held
   * @param folder for the cache file
   */
  constructor(
    readonly size: number,
    memory: number,
    private readonly folder: string = tmpdir(),
  ) {
    this.perBlock = Math.max(1, Math.floor(Math.min(BLOCK, memory) / size));
    this.inMemory = Math.floor(memory / size / this.perBlock) * this.perBlock;
  }

  /** Bytes in memory. */
  get held(): number {
    return this.blocks.reduce((sum, b) => sum + b.length, 0);
  }

  /** Records may come in any order. @throws StockpotError IO, NO_SPACE */
  async put(index: number, record: Uint8Array): Promise<void> {
    if (index < this.inMemory) {
      const block = Math.floor(index / this.perBlock);
      this.blocks[block] ??= new Uint8Array(this.perBlock * this.size);
      this.blocks[block]?.set(record, (index % this.perBlock) * this.size);
      return;
    }
    this.file ??= openUnnamed(this.folder);
    try {
      const handle = await this.file;
      await writeAll(handle, record, (index - this.inMemory) * this.size);
    } catch (cause) {
      throw this.refused(cause);
    }
  }

  /** Copies a record to `out` at `at`. @throws StockpotError IO */
  async get(index: number, out: Uint8Array, at: number): Promise<void> {
    if (index < this.inMemory) {
      const from = (index % this.perBlock) * this.size;
      const block = this.blocks[Math.floor(index / this.perBlock)] as Uint8Array;
      out.set(block.subarray(from, from + this.size), at);
      return;
    }
    try {
      await readAll(
        (await this.file) as FileHandle,
        out.subarray(at, at + this.size),
        (index - this.inMemory) * this.size,
      );
    } catch (cause) {
      throw this.refused(cause);
    }
  }

  async close(): Promise<void> {
    this.blocks.length = 0;
    const file = this.file;
    this.file = undefined;
    await file?.then(
      (h) => h.close(),
      () => {},
    );
  }

  private refused(cause: unknown): StockpotError {
    if (cause instanceof StockpotError) return cause;
    if (isFull(cause)) return noSpace(this.folder, FULL, ROOM, cause);
    return fileError(this.folder, cause);
  }
}

/** The file has a name only until it is open; what a kill leaves of that is a temporary folder. */
async function openUnnamed(folder: string): Promise<FileHandle> {
  const temporary = await TemporaryFolder.make('cache', folder);
  try {
    return await open(join(temporary.path, 'records'), 'wx+', 0o600);
  } finally {
    await temporary.remove();
  }
}

/** Fills `bytes` from a file. @throws Error where the file ends before */
export async function readAll(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) throw new Error('the file became shorter while it was read');
    done += bytesRead;
  }
}
