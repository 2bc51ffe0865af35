import { type Mismatch, StockpotError } from '../../errors.js';
import type { TensorEntry } from '../types.js';
import { locate } from './locate.js';
import { Problem } from './problem.js';
import { isTensor } from './select.js';
import { show } from './show.js';
import { Tensor, type UnreadableTensor, type Value } from './values.js';
import type { Member } from './zip.js';

/** A tensor in the one file that is being read. */
export type Entry = Omit<TensorEntry, 'file'>;

/** Bounds memory: no file has more, and a small pickle could name one tensor any number of times. */
const MAX_TENSORS = 2 ** 18;

/** The tensors of a state dict, by where they lie. */
export interface Table {
  /** In the order in which they lie in the file; ties by name. */
  readonly entries: readonly Entry[];
  /** Groups of names that are one view of one storage. */
  readonly tied: readonly (readonly string[])[];
  /** Keys whose values are no tensors. */
  readonly ignored: readonly string[];
}

/**
 * The table of a state dict's tensors.
 *
 * @param storage - finds a storage's entry in the archive
 * @throws {StockpotError} naming every tensor that cannot be read: FORMAT for what is invalid, UNSUPPORTED for
 *   quantised, sparse and other tensors that are not plain
 */
export function tabulate(
  weights: ReadonlyMap<Value, Value>,
  storage: (key: string) => Member,
  path: string,
): Table {
  const entries: Entry[] = [];
  const ignored: string[] = [];
  const failures: { name: string; problem: Problem }[] = [];
  for (const [name, value] of weights) {
    if (typeof name !== 'string' || !isTensor(value)) {
      ignored.push(typeof name === 'string' ? name : 'a key that is no string');
      continue;
    }
    if (entries.length === MAX_TENSORS) {
      throw new StockpotError('FORMAT', `${path}: expected at most ${MAX_TENSORS} tensors`, {
        file: path,
      });
    }
    try {
      entries.push(entryOf(name, value, storage));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      failures.push({ name, problem: error });
    }
  }
  refuse(failures, path);
  const byName = (a: Entry, b: Entry) => (a.name < b.name ? -1 : 1);
  entries.sort((a, b) => a.offset - b.offset || byName(a, b));
  return { entries, tied: findTied(entries), ignored };
}

function entryOf(
  name: string,
  tensor: Tensor | UnreadableTensor,
  storage: (key: string) => Member,
): Entry {
  if (tensor instanceof Tensor) return { name, ...locate(tensor, storage) };
  throw new Problem(
    'UNSUPPORTED',
    `expected a plain dense tensor, found ${tensor.kind}`,
    tensor.remedy,
  );
}

function refuse(failures: readonly { name: string; problem: Problem }[], path: string): void {
  const [first] = failures;
  if (first === undefined) return;
  const message = ({ name, problem }: { name: string; problem: Problem }) =>
    `${path}: tensor ${show(name)}: ${problem.message}`;
  const details = failures.map(
    (failure): Mismatch => ({ file: path, tensor: failure.name, message: message(failure) }),
  );
  throw new StockpotError(first.problem.code, message(first), {
    file: path,
    tensor: first.name,
    details,
    remedy: first.problem.remedy,
  });
}

/** Entries at one place that read it the same way. An empty tensor shares nothing with another. */
function findTied(entries: readonly Entry[]): string[][] {
  const groups = new Map<string, string[]>();
  for (const { name, dtype, shape, offset, strides } of entries) {
    if (shape.includes(0)) continue;
    const view = `${offset} ${dtype} ${shape} ${strides ?? ''}`;
    const group = groups.get(view);
    if (group) group.push(name);
    else groups.set(view, [name]);
  }
  return [...groups.values()].filter((names) => names.length > 1);
}
