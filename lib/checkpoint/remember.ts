import type { Checkpoint } from './types.js';

/**
 * Makes a function of open checkpoints remember its last result for as long as the first of them is in use: a session, a
 * recipe's check and its soup ask for the same, and some answers need tensors to be read. What a checkpoint's object says
 * never changes; that its files did not is checked by whoever reads them in earnest. Only results are kept, no failures.
 * @param keyOf what else the result depends on
 */
export function remembering<A, T>(
  work: (checkpoints: readonly Checkpoint[], argument: A) => Promise<T>,
  keyOf: (argument: A) => string,
): typeof work {
  const kept = new WeakMap<
    Checkpoint,
    { checkpoints: readonly Checkpoint[]; key: string; result: T }
  >();
  return async (checkpoints, argument) => {
    const [first] = checkpoints;
    const key = keyOf(argument);
    const last = first && kept.get(first);
    const same =
      last?.key === key &&
      last.checkpoints.length === checkpoints.length &&
      last.checkpoints.every((c, i) => c === checkpoints[i]);
    if (same) return last.result;
    const result = await work(checkpoints, argument);
    if (first) kept.set(first, { checkpoints: [...checkpoints], key, result });
    return result;
  };
}
