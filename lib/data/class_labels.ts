import { sortByBytes } from '../checkpoint/hash.js';

/** What the labels of a data set mean. */
export interface ClassLabels {
  /** A label's class; undefined where it has none. */
  classOf(label: string): number | undefined;
  /** By class, where there are names. */
  classNames?: readonly string[];
  notes: readonly string[];
  /** For messages: what a label should be. */
  expected: string;
}

const INTEGER = /^\+?(\d{1,9})(\.0*)?$/;
const isInteger = (label: string): boolean => /^[+-]?\d+(\.0*)?$/.test(label);

function integerOf(label: string): number | undefined {
  const digits = INTEGER.exec(label)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/**
 * Decides whether labels are numbers or names, and which class each name is: its place among the network's names where
 * they name it, else its place in the data's own list of names, else in byte order of the names that occur.
 * @param found every label that occurs
 * @param known lists of names that the network has for its classes, the first one before the others
 * @param own the data's own list
 */
export function classLabels(
  path: string,
  found: Iterable<string>,
  known: readonly (readonly string[])[],
  own?: readonly string[],
): ClassLabels {
  const labels = [...new Set(found)];
  const names = labels.filter((l) => !isInteger(l));
  const all = known.find((list) => labels.length > 0 && labels.every((l) => list.includes(l)));
  if (all) return named(all, []);
  if (own) return named(own, differ(path, own, known[0]));
  if (names.length === 0)
    return { classOf: integerOf, classNames: known[0], notes: [], expected: 'a class, 0 or more' };
  const some = known.find((list) => names.some((n) => list.includes(n)));
  if (some) return named(some, []);
  if (names.length < labels.length)
    return { classOf: integerOf, notes: [], expected: 'a number as other rows have it' };
  const sorted = sortByBytes(names);
  const shown = sorted.slice(0, 10).map((n, i) => `${i} ${n}`);
  const note = `${path}: classes are numbered in byte order of their names: ${shown.join(', ')}${sorted.length > 10 ? ', …' : ''}.`;
  return named(sorted, [note, ...differ(path, sorted, known[0])]);
}

/** Names decide; a number is taken as one. */
function named(list: readonly string[], notes: string[]): ClassLabels {
  const places = new Map(list.map((name, i) => [name, i]));
  return {
    classOf: (label) => places.get(label) ?? integerOf(label),
    classNames: list,
    notes,
    expected: `one of ${list.slice(0, 10).join(', ')}${list.length > 10 ? ', …' : ''}`,
  };
}

/** transformers' names for classes that have none. */
const isPlaceholder = (name: string): boolean => /^LABEL_\d+$/.test(name);

function differ(path: string, own: readonly string[], known?: readonly string[]): string[] {
  if (!known || known.every(isPlaceholder)) return [];
  return [
    `${path}: its names for classes (${own.slice(0, 3).join(', ')}${own.length > 3 ? ', …' : ''}) are not those of the config's id2label (${known.slice(0, 3).join(', ')}${known.length > 3 ? ', …' : ''}).`,
  ];
}
