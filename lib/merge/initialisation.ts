import { isFloat } from '../checkpoint/dtype.js';
import { elementCount } from '../checkpoint/shape.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import { gramOf } from './gram.js';
import type { Matched } from './match.js';

/** How many tensors are looked at, and how many elements of each. */
const SAMPLES = 9;
const ELEMENTS = 2 ** 14;
/** A tensor with fewer elements says nothing: its cosine with an unrelated one may be anything. */
const FEWEST = 256;
/**
 * Weights of one initialisation keep a high cosine through fine-tuning (0.9 and more as a rule), those of two have one
 * near 0: 1 / √elements.
 */
const UNRELATED = 0.25;

/**
 * Says which checkpoints do not seem to share their initialisation (behaviour 16): an average of unrelated networks is
 * noise. Judged by the median, over a few matrices spread over the network, of the cosine between their first elements:
 * that costs little (some hundred kilobytes a checkpoint), and norms' weights and other tensors that are alike in any
 * network have no part in it.
 * @param what what a checkpoint is called
 * @returns warnings; none where all are alike, or where no tensor is large enough to say, or one holds NaN or infinity
 */
export async function initialisationWarnings(
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  run: RunOptions = {},
  what: (position: number) => string = (i) => `ingredient ${i} (${checkpoints[i]?.path})`,
): Promise<string[]> {
  const sample = spread(matched.filter(tells), SAMPLES);
  if (checkpoints.length < 2 || sample.length === 0) return [];
  const products = await gramOf(checkpoints, sample, {
    ...run,
    onProgress: undefined,
    groupOf: (name) => name,
    elements: ELEMENTS,
  }).catch((error) => {
    // Whether they may be there, and whether their ingredient has any weight, the merge itself knows.
    if (error instanceof StockpotError && error.code === 'NONFINITE') return undefined;
    throw error;
  });
  if (!products) return [];
  const { groups } = products;
  const cosine = (i: number, j: number) =>
    median(
      groups.flatMap(({ gram }) => {
        const c = gram.weights(i, j) / Math.sqrt(gram.weights(i, i) * gram.weights(j, j));
        return Number.isNaN(c) ? [] : [c];
      }),
    );
  const families = familiesOf(checkpoints.length, (i, j) => !(cosine(i, j) < UNRELATED));
  const [largest, ...others] = families;
  return others.map((family) => {
    const names = family.map(what).join(', ');
    const c = cosine(family[0] as number, largest?.[0] as number);
    return `${names} ${family.length === 1 ? 'does' : 'do'} not seem to share the initialisation of ${what(largest?.[0] as number)}: the cosine of their weights is ${c.toFixed(3)} (median of ${sample.length} tensors). An average of networks that were not fine-tuned from the same one is noise.`;
  });
}

const tells = ({ entries }: Matched): boolean =>
  entries.every(
    (e) =>
      e !== null &&
      isFloat(e.dtype) &&
      !e.strides &&
      e.shape.filter((d) => d > 1).length >= 2 &&
      elementCount(e.shape) >= FEWEST,
  );

/** At most n of a list, evenly spread, the first and the last among them. */
const spread = <T>(list: readonly T[], n: number): T[] =>
  list.length <= n
    ? [...list]
    : Array.from({ length: n }, (_, i) => list[Math.round((i * (list.length - 1)) / (n - 1))] as T);

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 ? upper : ((sorted[half - 1] as number) + upper) / 2;
}

/** Positions that are connected by `alike`, the largest family first; ties by position. */
function familiesOf(n: number, alike: (i: number, j: number) => boolean): number[][] {
  const families: number[][] = [];
  const left = new Set(Array.from({ length: n }, (_, i) => i));
  for (const start of left) {
    const family = [start];
    left.delete(start);
    for (const i of family) {
      for (const j of left) {
        if (!alike(i, j)) continue;
        family.push(j);
        left.delete(j);
      }
    }
    families.push(family.sort((a, b) => a - b));
  }
  return families.sort((a, b) => b.length - a.length || (a[0] as number) - (b[0] as number));
}
