/** Number of elements of a shape; 1 for a 0-dim tensor. NaN when it is no safe integer. */
export function elementCount(shape: readonly number[]): number {
  if (shape.includes(0)) return 0;
  let n = 1;
  for (const d of shape) {
    n *= d;
    if (!Number.isSafeInteger(n)) return Number.NaN;
  }
  return n;
}

/** As PyTorch prints a shape: [2, 3]. */
export const showShape = (shape: readonly number[]): string => `[${shape.join(', ')}]`;
