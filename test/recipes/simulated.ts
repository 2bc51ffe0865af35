import fc from 'fast-check';
import type { ExampleEvaluator } from '../../lib/evaluate/evaluator.js';
import type { Metric } from '../../lib/evaluate/metrics.js';

/** Ingredients that the cases have at most. */
export const MOST = 6;

/** Each ingredient's logits; a soup's are their weighted mean. */
export interface Tables {
  labels: Int32Array;
  classes: number;
  logits: Float32Array[];
}

export function mix({ logits }: Tables, weights: readonly number[]): Float32Array {
  return (logits[0] as Float32Array).map((_, j) =>
    logits.reduce((s, l, i) => (weights[i] ? s + (l[j] as number) * (weights[i] as number) : s), 0),
  );
}

export interface Counting extends ExampleEvaluator {
  /** Members of each soup that was evaluated, in order; and all examples. */
  soups: string[];
  examples: number;
}

/** @param batch examples at a time */
export function simulated(tables: Tables, batch = 5): Counting {
  const self: Counting = {
    id: JSON.stringify([tables.logits.map((l) => [...l]), [...tables.labels]]),
    labels: tables.labels,
    numClasses: tables.classes,
    soups: [],
    examples: 0,
    async *batches(soup, order) {
      self.soups.push(soup.members.join());
      const logits = mix(tables, soup.weights);
      for (let from = 0; from < order.length; from += batch) {
        const examples = order.slice(from, from + batch);
        self.examples += examples.length;
        const rows = [...examples].flatMap((i) => [
          ...logits.subarray(i * tables.classes, (i + 1) * tables.classes),
        ]);
        yield { examples, logits: Float32Array.from(rows) };
      }
    },
  };
  return self;
}

/** Random tables in which mixing sometimes helps: right answers plus noise of each ingredient. */
export const tables = fc
  .record({
    k: fc.integer({ min: 1, max: MOST }),
    n: fc.integer({ min: 1, max: 40 }),
    classes: fc.integer({ min: 2, max: 4 }),
    seed: fc.integer(),
    noise: fc.constantFrom(0, 1, 3, 6),
    coarse: fc.boolean(),
    nan: fc.constantFrom(null, null, null, 0, 1),
  })
  .map(({ k, n, classes, seed, noise, coarse, nan }): Tables => {
    let state = seed >>> 0;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    const labels = Int32Array.from({ length: n }, () => Math.floor(random() * classes));
    const logits = Array.from({ length: k }, () =>
      Float32Array.from({ length: n * classes }, (_, j) => {
        const x =
          noise * (random() - 0.5) + (labels[Math.floor(j / classes)] === j % classes ? 1 : 0);
        return coarse ? Math.round(x) : x;
      }),
    );
    if (nan !== null) (logits[nan] ?? logits[0])?.fill(Number.NaN, 0, classes);
    return { labels, classes, logits };
  });

export const settings = fc.record({
  metric: fc.constantFrom<Metric>('accuracy', 'loss', 'f1', 'matthews'),
  accept: fc.constantFrom('ge' as const, 'gt' as const),
  order: fc.constantFrom('metric' as const, 'given' as const),
  batch: fc.constantFrom(1, 5, 100),
});
