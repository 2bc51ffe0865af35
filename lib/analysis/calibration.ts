import { binOf, CALIBRATION_BINS, type Scores } from '../evaluate/metrics.js';

/** One bin of a reliability diagram: confidences in (from, to]. */
export interface ReliabilityBin {
  /** Confidences in (from, to]. */
  from: number;
  to: number;
  /** Examples in it. */
  n: number;
  /** Means over them; null where there are none. */
  confidence: number | null;
  accuracy: number | null;
}

/** The reliability diagram: 15 right-closed bins of top-1 confidence (Guo et al. 2017). */
export function reliability({ prediction, confidence }: Scores, labels: Int32Array) {
  const bins = Array.from({ length: CALIBRATION_BINS }, () => ({ n: 0, sum: 0, right: 0 }));
  for (let i = 0; i < labels.length; i++) {
    const c = confidence[i] as number;
    if (Number.isNaN(c)) continue;
    const bin = bins[binOf(c)] as (typeof bins)[number];
    bin.n++;
    bin.sum += c;
    if (prediction[i] === labels[i]) bin.right++;
  }
  return bins.map(
    ({ n, sum, right }, b): ReliabilityBin => ({
      from: b / CALIBRATION_BINS,
      to: (b + 1) / CALIBRATION_BINS,
      n,
      confidence: n === 0 ? null : sum / n,
      accuracy: n === 0 ? null : right / n,
    }),
  );
}

/** Where β is looked for. At an end of it, the data does not say how large β should be. */
const RANGE = { low: 0.01, high: 100 } as const;

/** Cross-entropy of β·logits, and its first two derivatives in β: E[Σ p z − z_y] and E[Var_p z]. */
function lossAt(logits: Float32Array, labels: Int32Array, beta: number) {
  const n = labels.length;
  const classes = logits.length / n;
  let slope = 0;
  let curvature = 0;
  for (let i = 0; i < n; i++) {
    const row = logits.subarray(i * classes, (i + 1) * classes);
    let top = Number.NEGATIVE_INFINITY;
    for (const z of row) if (z > top) top = z;
    let sum = 0;
    let first = 0;
    let second = 0;
    for (const z of row) {
      const p = Math.exp(beta * (z - top));
      sum += p;
      first += p * (z - top);
      second += p * (z - top) ** 2;
    }
    const mean = first / sum;
    slope += mean - ((row[labels[i] as number] as number) - top);
    curvature += second / sum - mean * mean;
  }
  return { slope: slope / n, curvature: curvature / n };
}

/**
 * The inverse temperature β that minimises the mean cross-entropy of β·logits (Guo et al. 2017, section 4.2, with
 * β = 1/T). The loss is convex in β: Newton's steps on its derivative, kept inside a bracket that shrinks.
 * @param logits [n, classes]
 * @returns null where a logit is not finite; an end of [0.01, 100] where the minimum lies beyond it (as where every
 *   example is right)
 */
export function fitTemperature(logits: Float32Array, labels: Int32Array): number | null {
  if (!logits.every(Number.isFinite)) return null;
  let { low, high }: { low: number; high: number } = RANGE;
  if (lossAt(logits, labels, low).slope >= 0) return low;
  if (lossAt(logits, labels, high).slope <= 0) return high;
  let beta = 1;
  for (let step = 0; step < 200; step++) {
    const { slope, curvature } = lossAt(logits, labels, beta);
    if (slope === 0) break;
    if (slope < 0) low = beta;
    else high = beta;
    const newton = beta - slope / curvature;
    const next = newton > low && newton < high ? newton : Math.sqrt(low * high);
    if (Math.abs(next - beta) <= 1e-12 * beta) break;
    beta = next;
  }
  return beta;
}
