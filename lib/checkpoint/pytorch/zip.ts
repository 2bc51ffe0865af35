import type { FileHandle } from 'node:fs/promises';
import yauzl, { type Entry, RandomAccessReader, type ZipFile } from 'yauzl';
import { StockpotError } from '../../errors.js';
import { fileError } from '../system_error.js';
import { GET_AGAIN } from './problem.js';
import { show } from './show.js';

/** One entry of an archive. */
export interface Member {
  readonly name: string;
  /** Where its bytes begin in the file. */
  readonly offset: number;
  /** How many they are in the file. */
  readonly size: number;
  readonly compressed: boolean;
}

/** More entries than any checkpoint has storages; bounds memory. */
const MAX_ENTRIES = 2 ** 19;

/** How much of the central directory is read at once, where yauzl asks for some 50 bytes at a time. */
const READ_AHEAD = 64 * 1024;

/**
 * Reads exactly `length` bytes.
 *
 * @throws {StockpotError} FORMAT where that is past the end of the file, CHANGED where the file has become
 *   shorter since it was opened, IO where the system cannot read
 */
export async function readExactly(
  handle: FileHandle,
  path: string,
  size: number,
  position: number,
  length: number,
): Promise<Buffer> {
  if (!(position >= 0 && position + length <= size)) {
    throw new StockpotError(
      'FORMAT',
      `${path}: expected ${length} bytes at byte ${position}, found the end of the file (${size} bytes): truncated or damaged`,
      { file: path, remedy: GET_AGAIN },
    );
  }
  const buffer = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle
      .read(buffer, done, length - done, position + done)
      .catch((cause) => {
        throw fileError(path, cause);
      });
    if (bytesRead === 0) {
      throw new StockpotError(
        'CHANGED',
        `${path}: expected ${size} bytes, found ${position + done}: the file shrank while it was read`,
        { file: path },
      );
    }
    done += bytesRead;
  }
  return buffer;
}

/** Lets yauzl read through positioned reads of an open file, which stays open. */
class HandleReader extends RandomAccessReader {
  /** Whether reads go on where the last one ended, as in the central directory. */
  sequential = true;
  private window: Buffer = Buffer.alloc(0);
  private windowStart = 0;

  constructor(
    private readonly handle: FileHandle,
    private readonly path: string,
    private readonly size: number,
  ) {
    super();
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    this.bytes(position, length).then(
      (bytes) => {
        bytes.copy(buffer, offset);
        callback(null);
      },
      (error: Error) => callback(error),
    );
  }

  private async bytes(position: number, length: number): Promise<Buffer> {
    const start = position - this.windowStart;
    if (start >= 0 && start + length <= this.window.length) {
      return this.window.subarray(start, start + length);
    }
    const ahead = Math.min(READ_AHEAD, this.size - position);
    const wanted = this.sequential ? Math.max(length, ahead) : length;
    const bytes = await readExactly(this.handle, this.path, this.size, position, wanted);
    if (this.sequential) {
      this.window = bytes;
      this.windowStart = position;
    }
    return bytes.subarray(0, length);
  }
}

/**
 * The entries of a zip archive by name, from its central directory; zip64 too. Data begins where the local
 * headers say, and was seen to lie within the file, before the central directory, and apart from one another.
 *
 * @throws {StockpotError} FORMAT for an archive that is damaged or says two things; UNSUPPORTED for an
 *   encrypted one; IO and CHANGED from reading
 */
export async function readMembers(
  handle: FileHandle,
  path: string,
  size: number,
): Promise<ReadonlyMap<string, Member>> {
  const reader = new HandleReader(handle, path, size);
  try {
    const zip = await yauzl.fromRandomAccessReaderPromise(reader, size, {
      autoClose: false,
      // Names are checked here, and kept as they are.
      decodeStrings: false,
    });
    // Before the first entry is read, the cursor is where the central directory begins (the types say boolean).
    const directory = Number(zip.readEntryCursor);
    const entries = await listEntries(zip, path);
    reader.sequential = false;
    return await locateMembers(zip, entries, directory, path);
  } catch (error) {
    if (error instanceof StockpotError) throw error;
    throw new StockpotError(
      'FORMAT',
      `${path}: expected a valid zip archive, found: ${(error as Error).message}`,
      { file: path, remedy: GET_AGAIN, cause: error },
    );
  }
}

async function listEntries(zip: ZipFile, path: string): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>();
  if (zip.entryCount > MAX_ENTRIES) {
    throw invalid(path, `at most ${MAX_ENTRIES} entries`, `${zip.entryCount}`);
  }
  for await (const entry of zip.eachEntry()) {
    // Not decoded by yauzl. Different bytes that are no UTF-8 may decode to one name, and are then refused.
    const name = entry.fileNameRaw.toString('utf8');
    if (name.startsWith('/') || name.split(/[/\\]/).includes('..') || name.includes('\0')) {
      throw invalid(path, 'names within the archive', show(name));
    }
    if (entries.has(name)) throw invalid(path, 'every name once', `${show(name)} twice`);
    if (entry.isEncrypted()) {
      throw new StockpotError(
        'UNSUPPORTED',
        `${path}: expected a plain zip archive, found the encrypted entry ${show(name)}`,
        { file: path, remedy: 'decrypt it, or re-save it with torch.save' },
      );
    }
    entries.set(name, entry);
  }
  return entries;
}

async function locateMembers(
  zip: ZipFile,
  entries: ReadonlyMap<string, Entry>,
  directory: number,
  path: string,
): Promise<ReadonlyMap<string, Member>> {
  const members = new Map<string, Member>();
  const inOrder = [...entries].sort(
    ([, a], [, b]) => a.relativeOffsetOfLocalHeader - b.relativeOffsetOfLocalHeader,
  );
  let free = 0;
  for (const [name, entry] of inOrder) {
    const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
    if (entry.relativeOffsetOfLocalHeader < free) {
      throw invalid(path, 'entries that lie apart', `${show(name)} overlapping another`);
    }
    free = fileDataStart + entry.compressedSize;
    if (free > directory) {
      throw invalid(path, 'data before the central directory', `${show(name)} reaching into it`);
    }
    members.set(name, {
      name,
      offset: fileDataStart,
      size: entry.compressedSize,
      compressed: entry.compressionMethod !== 0,
    });
  }
  return members;
}

const invalid = (path: string, expected: string, found: string): StockpotError =>
  new StockpotError('FORMAT', `${path}: expected ${expected} in the zip archive, found ${found}`, {
    file: path,
    remedy: GET_AGAIN,
  });
