import { throwIfAborted } from '../checkpoint/job.js';
import { Random } from './random.js';

/** An estimate and where the truth may lie: accuracies from 0 to 1, losses in nats, differences likewise. */
export interface Interval {
  value: number;
  /** Ends of the interval. */
  low: number;
  high: number;
}

export interface BootstrapOptions {
  /** How often the examples are drawn again. */
  resamples: number;
  /** Probability that an interval covers, e.g. 0.95. */
  level: number;
  seed: number;
  signal?: AbortSignal;
}

/**
 * A statistic of n examples: the mean of `values`; or, with `bins`, the calibration error Σ_b |Σ_{i in b} values_i| / n,
 * where `values` are top-1 confidence minus right (1) or wrong (0).
 */
export interface Statistic {
  values: Float64Array;
  bins?: Uint8Array;
}

/** A statistic on the examples as they are, and on each resample. */
export interface Distribution {
  value: number;
  resampled: Float64Array;
}

const BINS = 256;

/**
 * Draws the examples with replacement, again and again, and takes all statistics of each draw (Efron 1979). All share the
 * draws, so that differences between them are paired; the draws depend on the seed and `labels` alone, so that sets of the
 * same examples (shifted copies of one test set) are paired too.
 */
export async function bootstrap(
  statistics: readonly Statistic[],
  labels: Int32Array,
  options: Pick<BootstrapOptions, 'resamples' | 'seed' | 'signal'>,
): Promise<Distribution[]> {
  const n = labels.length;
  const random = new Random(options.seed, n, hashOf(labels));
  const once = new Uint16Array(n).fill(1);
  const all = statistics.map((s) => ({
    value: statisticOf(s, once),
    resampled: new Float64Array(options.resamples),
  }));
  const times = new Uint16Array(n);
  let paused = performance.now();
  for (let b = 0; b < options.resamples; b++) {
    times.fill(0);
    for (let i = 0; i < n; i++) {
      const drawn = random.below(n);
      times[drawn] = (times[drawn] as number) + 1;
    }
    for (const [s, statistic] of statistics.entries())
      (all[s] as Distribution).resampled[b] = statisticOf(statistic, times);
    if (performance.now() - paused > 20) {
      await new Promise((resolve) => setImmediate(resolve));
      throwIfAborted(options.signal);
      paused = performance.now();
    }
  }
  return all;
}

function statisticOf({ values, bins }: Statistic, times: Uint16Array): number {
  const n = values.length;
  if (!bins) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += (times[i] as number) * (values[i] as number);
    return sum / n;
  }
  const sums = new Float64Array(BINS);
  for (let i = 0; i < n; i++) {
    const b = bins[i] as number;
    sums[b] = (sums[b] as number) + (times[i] as number) * (values[i] as number);
  }
  let error = 0;
  for (const s of sums) error += Math.abs(s);
  return error / n;
}

/** FNV-1a. */
function hashOf(x: Int32Array): number {
  let hash = 0x811c9dc5;
  for (const v of x) hash = Math.imul(hash ^ v, 0x01000193);
  return hash >>> 0;
}

/** The mean of distributions of the same resamples, such as of several shifted sets. */
export function meanOfDistributions(all: readonly Distribution[]): Distribution {
  const [first] = all as [Distribution];
  return {
    value: all.reduce((sum, d) => sum + d.value, 0) / all.length,
    resampled: first.resampled.map(
      (_, b) => all.reduce((sum, d) => sum + (d.resampled[b] as number), 0) / all.length,
    ),
  };
}

/** a − b, resample by resample. */
export const difference = (a: Distribution, b: Distribution): Distribution => ({
  value: a.value - b.value,
  resampled: a.resampled.map((x, i) => x - (b.resampled[i] as number)),
});

/** The percentile interval. */
export function intervalOf({ value, resampled }: Distribution, level: number): Interval {
  if (Number.isNaN(value) || resampled.some(Number.isNaN))
    return { value, low: Number.NaN, high: Number.NaN };
  const sorted = resampled.slice().sort();
  const tail = (1 - level) / 2;
  return { value, low: quantile(sorted, tail), high: quantile(sorted, 1 - tail) };
}

/**
 * The percentile interval moved so that its distribution's mean is the estimate. A calibration error of few examples is
 * too large on average, and that of a resample is so twice: only the spread is of use.
 * @param least what the statistic cannot be below
 */
export function centredInterval(
  { value, resampled }: Distribution,
  level: number,
  least = 0,
): Interval {
  const bias = resampled.reduce((sum, x) => sum + x, 0) / resampled.length - value;
  const { low, high } = intervalOf({ value, resampled: resampled.map((x) => x - bias) }, level);
  return { value, low: Math.max(least, low), high };
}

/** As numpy's default: linear between order statistics. @param sorted rising */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below] as number;
  const high = sorted[Math.min(sorted.length - 1, below + 1)] as number;
  return low + (at - below) * (high - low);
}

/**
 * Whether two models differ by more than chance, from the examples that one alone gets right: the exact two-sided test of
 * McNemar (1947). 1 where they are right on the same examples.
 */
export function mcnemar(better: number, worse: number): number {
  const n = better + worse;
  const least = Math.min(better, worse);
  let log = -n * Math.LN2; // log of C(n, 0) / 2^n
  let tail = Math.exp(log);
  for (let i = 1; i <= least; i++) {
    log += Math.log((n - i + 1) / i);
    tail += Math.exp(log);
  }
  return Math.min(1, 2 * tail);
}
