import type { TensorEntry } from '../checkpoint/types.js';

/** A matrix as its transpose: the same elements, seen with swapped dimensions. */
export function transposedEntry(e: TensorEntry): TensorEntry {
  const [rows = 1, columns = 1] = e.shape;
  const [down = columns, right = 1] = e.strides ?? [];
  return { ...e, shape: [columns, rows], strides: [right, down] };
}
