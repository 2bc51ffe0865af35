import { StockpotError } from '../errors.js';

/** How the ingredients are weighted. */
export interface Weighting {
  /** One an ingredient, as used. */
  weights: number[];
  /** Positions with a weight other than 0: only these are read. */
  members: number[];
  /** Every member has the same share 1/m: summed first, divided once (behaviour 1). */
  equal: boolean;
}

/**
 * @param given one finite number an ingredient, or undefined for the plain mean
 * @param normalize divide by their sum
 * @throws StockpotError USAGE
 */
export function resolveWeights(k: number, given?: readonly number[], normalize = false): Weighting {
  if (given === undefined) {
    return { weights: Array(k).fill(1 / k), members: [...Array(k).keys()], equal: true };
  }
  if (given.length !== k) {
    throw new StockpotError(
      'USAGE',
      `expected one weight an ingredient (${k}) but received ${given.length}`,
    );
  }
  for (const w of given as readonly unknown[])
    if (!Number.isFinite(w))
      throw new StockpotError('USAGE', `expected weights to be finite numbers but received ${w}`);
  const members = given.flatMap((w, i) => (w === 0 ? [] : [i]));
  const sum = given.reduce((a, b) => a + b, 0);
  if (normalize && (sum === 0 || !Number.isFinite(sum))) {
    throw new StockpotError('USAGE', `the weights' sum is ${sum}: they cannot be normalised`, {
      remedy: 'Give weights with another sum, or leave out --normalize to use them as they are.',
    });
  }
  if (members.length === 0) {
    throw new StockpotError('USAGE', 'every weight is 0: there is nothing to average');
  }
  const m = members.length;
  const alike = members.every((i) => given[i] === given[members[0] as number]);
  const weights = given.map((w) => (normalize && w !== 0 ? (alike ? 1 / m : w / sum) : w));
  return { weights, members, equal: members.every((i) => weights[i] === 1 / m) };
}
