import type { Graph } from '../models/graph.js';

/**
 * Texts have different lengths, and a network's plan has one. Each length that examples are padded to ("bucket") has a
 * plan of its own, with its own copy of the weights. What an example's logits are does not depend on it: what is masked
 * has a weight of exactly zero in attention, and adds nothing to a chain of fused multiply-adds.
 */
export interface Bucket<T> {
  /** Tokens that examples are padded to. */
  length: number;
  value: T;
}

/** Lengths to pad to, at most; each costs a copy of the weights, read and held. */
const MOST = 4;
/** Bytes of weights that all copies may take together. */
const WEIGHTS = 2 ** 32;
/** A further length is not worth its copy of the weights where it saves less of the tokens than this. */
const WORTH = 0.1;
/** Lengths that are considered. */
const CANDIDATES = 64;

/** How many lengths a network may be planned for. */
export function mostBuckets(graph: Graph): number {
  const bytes = graph.weights.reduce((n, w) => n + w.shape.reduce((a, b) => a * b, 4), 0);
  return Math.max(1, Math.min(MOST, Math.floor(WEIGHTS / Math.max(1, bytes))));
}

/**
 * The lengths, rising, to which examples are padded with the fewest tokens in all; the last is the longest example's.
 * @param tokens of each example
 */
export function bucketLengths(tokens: Int32Array, most: number): number[] {
  const sorted = Int32Array.from(tokens).sort();
  const ends = candidates(sorted);
  let best = plan(ends, 1);
  for (let n = 2; n <= Math.min(most, ends.length); n++) {
    const next = plan(ends, n);
    if (next.padded > best.padded * (1 - WORTH)) break;
    best = next;
  }
  return best.lengths;
}

interface End {
  length: number;
  /** Examples that are not longer. */
  count: number;
}

/** Lengths that occur, thinned where there are many. */
function candidates(sorted: Int32Array): End[] {
  const ends: End[] = [];
  for (let i = 0; i < sorted.length; i++) {
    if (sorted[i] !== sorted[i + 1]) ends.push({ length: sorted[i] as number, count: i + 1 });
  }
  const step = Math.ceil(ends.length / CANDIDATES);
  return ends.filter((_, i) => (ends.length - 1 - i) % step === 0);
}

/** The best `n` of the candidates, by dynamic programming over where the last bucket but one ends. */
function plan(ends: readonly End[], n: number): { padded: number; lengths: number[] } {
  let rows = ends.map(({ length, count }) => ({ padded: length * count, lengths: [length] }));
  for (let k = 2; k <= n; k++) {
    rows = ends.map((end, i) => {
      let best = rows[i] as (typeof rows)[number];
      for (let j = 0; j < i; j++) {
        const before = rows[j] as (typeof rows)[number];
        const padded = before.padded + end.length * (end.count - (ends[j] as End).count);
        if (padded < best.padded) best = { padded, lengths: [...before.lengths, end.length] };
      }
      return best;
    });
  }
  return rows.at(-1) ?? { padded: 0, lengths: [] };
}

/** Puts examples into the buckets: their places in `indices`. */
export function assign<T>(
  buckets: readonly Bucket<T>[],
  tokens: Int32Array | undefined,
  indices: ArrayLike<number>,
): number[][] {
  const places: number[][] = buckets.map(() => []);
  for (let i = 0; i < indices.length; i++) {
    const needed = tokens?.[indices[i] as number] ?? Number.POSITIVE_INFINITY;
    const fits = buckets.findIndex((b) => b.length >= needed);
    places[fits < 0 ? buckets.length - 1 : fits]?.push(i);
  }
  return places;
}
