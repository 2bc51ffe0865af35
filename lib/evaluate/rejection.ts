import { type Metric, meanOf, type Scores } from './metrics.js';

/** When a candidate is kept: its metric is at least as good as the best one's, or better. */
export type Accept = 'ge' | 'gt';

/** Whether `a` is better than `b`; a number is better than NaN. */
export function isBetter(metric: Metric, a: number, b: number): boolean {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(b) && !Number.isNaN(a);
  return metric === 'loss' ? a < b : a > b;
}

/** Whether a candidate of metric `value` takes the place of the best; NaN never does. */
export const isKept = (metric: Metric, accept: Accept, value: number, best: number): boolean =>
  !Number.isNaN(value) && (isBetter(metric, value, best) || (accept === 'ge' && value === best));

/**
 * Evaluates one candidate against the best soup, example by example, and knows as early as can be that the candidate
 * cannot be kept. It never changes a decision (behaviour 27): `hopeless` implies that the metric on all examples would
 * not be accepted.
 */
export interface Trial {
  /** Positions of all examples, those that decide most first. */
  readonly order: Int32Array;
  /** Takes the candidate's scores of these examples, each once. */
  add(examples: ArrayLike<number>, scores: Scores): void;
  /** The candidate is rejected, whatever the examples are that were not added. */
  readonly hopeless: boolean;
}

/**
 * @param best scores of the best soup on all examples
 * @param labels one an example
 */
export function startTrial(
  metric: Metric,
  accept: Accept,
  best: Scores,
  labels: Int32Array,
): Trial {
  if (metric === 'accuracy') return new AccuracyTrial(accept, best, labels);
  if (metric === 'loss') return new LossTrial(best);
  // Not a sum over examples: evaluated in full.
  return { order: positions(labels.length), add: () => {}, hopeless: false };
}

const positions = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i);

/** Positions by rising key; NaN last, ties by position. */
function sortedBy(key: (i: number) => number, n: number): Int32Array {
  const keys = Float64Array.from({ length: n }, (_, i) => {
    const k = key(i);
    return Number.isNaN(k) ? Number.POSITIVE_INFINITY : k;
  });
  return positions(n).sort((a, b) => {
    const x = keys[a] as number;
    const y = keys[b] as number;
    return x < y ? -1 : x > y ? 1 : a - b;
  });
}

/**
 * First the examples that the best soup gets wrong, which are all that can be gained; then those it gets right by rising
 * margin, which are lost the sooner the smaller it is. A candidate is hopeless when its losses exceed its gains so far and
 * those still possible (with `gt`: reach them).
 */
class AccuracyTrial implements Trial {
  readonly order: Int32Array;
  /** Examples right beyond the best soup's number, if all that is not known yet went well. */
  private ahead = 0;

  constructor(
    private readonly accept: Accept,
    private readonly best: Scores,
    private readonly labels: Int32Array,
  ) {
    const n = labels.length;
    for (let i = 0; i < n; i++) if (!this.wasRight(i)) this.ahead++;
    this.order = sortedBy(
      (i) => (this.wasRight(i) ? (best.margin[i] as number) : Number.NEGATIVE_INFINITY),
      n,
    );
  }

  private wasRight(i: number): boolean {
    return this.best.prediction[i] === this.labels[i];
  }

  add(examples: ArrayLike<number>, scores: Scores): void {
    for (let r = 0; r < examples.length; r++) {
      const i = examples[r] as number;
      // Right examples are expected to stay right, wrong ones to become right.
      if (scores.prediction[i] !== this.labels[i]) this.ahead--;
    }
  }

  get hopeless(): boolean {
    return this.accept === 'ge' ? this.ahead < 0 : this.ahead <= 0;
  }
}

/**
 * Losses are not negative: a candidate is hopeless when the sum so far exceeds the best soup's total. The largest losses
 * of the best soup come first. The sums are rounded, and in another order than the metric's: `slack` bounds what that
 * can make of them, so that a candidate on the edge is evaluated in full.
 */
class LossTrial implements Trial {
  readonly order: Int32Array;
  private sum = 0;
  private readonly limit: number;
  private readonly slack: number;

  constructor(best: Scores) {
    const n = best.loss.length;
    this.slack = 4 * n * Number.EPSILON;
    this.limit = meanOf(best.loss) * n * (1 + this.slack) + 1e-300;
    this.order = sortedBy((i) => -(best.loss[i] as number), n);
  }

  add(examples: ArrayLike<number>, scores: Scores): void {
    for (let r = 0; r < examples.length; r++)
      this.sum += scores.loss[examples[r] as number] as number;
  }

  get hopeless(): boolean {
    // The best soup's NaN makes no limit; the candidate's NaN stays one.
    return Number.isNaN(this.sum) || this.sum * (1 - this.slack) > this.limit;
  }
}
