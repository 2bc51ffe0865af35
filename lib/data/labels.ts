import { type Mismatch, StockpotError } from '../errors.js';
import type { DataSet } from './types.js';

/** Findings that an error lists; the count is always in its message. */
const LISTED = 100;

/**
 * A set that a network with this many classes can be evaluated on (behaviour 25): not empty, no label beyond its head.
 * Fewer classes in the data than in the head are fine.
 * @throws StockpotError MISMATCH
 */
export function checkLabels(
  data: Pick<DataSet, 'path' | 'labels' | 'count'>,
  numClasses: number,
): void {
  refuseEmpty(data.path, data.count);
  const details: Mismatch[] = [];
  let bad = 0;
  data.labels.forEach((label, i) => {
    if (label >= 0 && label < numClasses) return;
    bad++;
    if (details.length < LISTED)
      details.push({ file: data.path, message: `example ${i} has label ${label}` });
  });
  if (bad === 0) return;
  throw new StockpotError(
    'MISMATCH',
    `${data.path}: expected labels from 0 to ${numClasses - 1}, as the network has ${numClasses} classes, but ${details[0]?.message}${bad > 1 ? ` (${bad} examples in all)` : ''}`,
    {
      file: data.path,
      details,
      remedy:
        "Use the data that the network's head was trained for, or a network with more classes.",
    },
  );
}

/** @throws StockpotError FORMAT where there is no example */
export function refuseEmpty(path: string, count: number): void {
  if (count > 0) return;
  throw new StockpotError('FORMAT', `${path}: the data set is empty`, {
    file: path,
    remedy:
      'Expected at least one labelled example: a folder with one sub-folder of images a class, WebDataset shards, or a tensor file with labels.',
  });
}
