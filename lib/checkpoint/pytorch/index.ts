import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { StockpotError } from '../../errors.js';
import { refuseWrongKind, SNIFF_BYTES, sniff } from '../sniff.js';
import { fileError } from '../system_error.js';
import { readArchive } from './archive.js';
import { torchGlobals } from './globals.js';
import { unpickle } from './pickle.js';
import { Problem } from './problem.js';
import { type Choice, chooseWeights } from './select.js';
import { show } from './show.js';
import { type Entry, tabulate } from './table.js';
import { readExactly } from './zip.js';

export interface PyTorchOptions {
  /** Dotted path of the dict with the weights; without it, the likeliest is taken. */
  key?: string;
}

/** What one PyTorch zip file holds. */
export interface PyTorchFile {
  readonly size: number;
  /** SHA-256 (hex) of `data.pkl`. */
  readonly headerHash: string;
  /** In the order in which they lie in the file; ties by name. */
  readonly entries: readonly Entry[];
  /** Groups of names that are one view of one storage. */
  readonly tied: readonly (readonly string[])[];
  /** Dotted path of the dict that was taken, or undefined when it is the top one. */
  readonly key?: string;
  /** One sentence each. */
  readonly notes: readonly string[];
}

/** How many names a note lists. */
const MAX_NAMED = 5;

/**
 * Reads the structure of a PyTorch zip checkpoint (`torch.save` since 1.6), without running any of its code,
 * and says where its tensors lie (behaviours 14, 19 and 20).
 *
 * @throws {StockpotError} NOT_FOUND, IO or CHANGED from the file system; FORMAT for a damaged file;
 *   UNSUPPORTED for another format, a pickle with more than weights, or tensors that are not plain;
 *   USAGE for a `key` that does not lead to weights
 */
export async function readPyTorch(path: string, options?: PyTorchOptions): Promise<PyTorchFile>;
/** The same from a file that is open already, and stays open; `path` is for messages. */
export async function readPyTorch(
  handle: FileHandle,
  path: string,
  options?: PyTorchOptions,
): Promise<PyTorchFile>;
export async function readPyTorch(
  ...args: [string, PyTorchOptions?] | [FileHandle, string, PyTorchOptions?]
): Promise<PyTorchFile> {
  if (typeof args[0] !== 'string') {
    const [handle, path, options] = args as [FileHandle, string, PyTorchOptions?];
    return readOpen(handle, path, options);
  }
  const [path, options] = args as [string, PyTorchOptions?];
  const handle = await open(path, 'r').catch((cause) => {
    throw fileError(path, cause);
  });
  try {
    return await readOpen(handle, path, options);
  } finally {
    await handle.close();
  }
}

async function readOpen(
  handle: FileHandle,
  path: string,
  options: PyTorchOptions = {},
): Promise<PyTorchFile> {
  const stat = await handle.stat();
  if (!stat.isFile()) {
    throw new StockpotError('NOT_FOUND', `${path}: expected a file, found something else`, {
      file: path,
    });
  }
  const { size } = stat;
  const kind = sniff(await readExactly(handle, path, size, 0, Math.min(SNIFF_BYTES, size)));
  if (kind !== 'zip') throw refuseWrongKind(path, kind, 'pytorch');
  try {
    const { pickle, storage } = await readArchive(handle, path, size);
    const choice = chooseWeights(unpickle(pickle, torchGlobals), options.key);
    const { entries, tied, ignored } = tabulate(choice.weights, storage, path);
    return {
      size,
      headerHash: createHash('sha256').update(pickle).digest('hex'),
      entries,
      tied,
      key: choice.key,
      notes: notesOn(choice, ignored, path),
    };
  } catch (error) {
    throw error instanceof Problem ? error.at(path) : error;
  }
}

function notesOn(choice: Choice, ignored: readonly string[], path: string): string[] {
  const notes: string[] = [];
  const others = choice.others.length > 0 ? `; weights lie under ${names(choice.others)} too` : '';
  if (choice.key !== undefined) {
    notes.push(`${path}: weights were taken from the dict ${show(choice.key)}${others}.`);
  } else if (others) {
    notes.push(`${path}: weights were taken from the top dict${others}.`);
  }
  if (ignored.length > 0) {
    const what =
      ignored.length === 1
        ? '1 value that is no tensor was'
        : `${ignored.length} values that are no tensors were`;
    notes.push(`${path}: ${what} left out: ${names(ignored)}.`);
  }
  return notes;
}

function names(list: readonly string[]): string {
  const first = list.slice(0, MAX_NAMED).map(show).join(', ');
  return list.length > MAX_NAMED ? `${first} and ${list.length - MAX_NAMED} more` : first;
}
