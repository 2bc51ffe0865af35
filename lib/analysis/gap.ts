import type { OpenOptions } from '../checkpoint/open.js';
import { openAll } from '../checkpoint/open_all.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { initialisationWarnings } from '../merge/initialisation.js';
import { type MatchOptions, matchTensors } from '../merge/match.js';
import type { RunOptions } from '../progress.js';
import { between, crossEntropy, varianceOfDifference } from './gap_terms.js';
import { Mixes, type MixOptions } from './mixes.js';
import { correlation, pairsOf } from './statistics.js';
import { Steps } from './steps.js';

export interface GapOptions
  extends Omit<MixOptions, 'resume'>,
    MatchOptions,
    OpenOptions,
    RunOptions {
  /** Where on the line between two ingredients; [0.5] by default. */
  alphas?: readonly number[];
  /** The logits are multiplied by it; [1] by default. */
  betas?: readonly number[];
  /** Of the second derivative's central differences, along alpha; 0.1 by default. */
  step?: number;
  /** Told of each point as it is evaluated. */
  onPoint?: (point: GapPoint) => void;
}

/** A pair of ingredients at one alpha and one beta. */
export interface GapPoint {
  /** Positions of the ingredients. */
  a: number;
  b: number;
  /** Weight of θ_b, from 0 to 1. */
  alpha: number;
  /** Inverse temperature. */
  beta: number;
  /** Mean cross-entropy of β·f(x; (1 − α)θ_a + αθ_b), in nats, as the other losses. */
  soupLoss: number;
  /** Cross-entropy of β·((1 − α)f(x; θ_a) + αf(x; θ_b)). */
  ensembleLoss: number;
  /** soupLoss − ensembleLoss */
  measured: number;
  /** d²L_soup / dα² */
  secondDerivative: number;
  /** E_x Var_{Y ~ softmax(β f(x; θ_α))}[Δf_Y(x)] */
  variance: number;
  /** α(1 − α)/2 · (β² · variance − secondDerivative): what the measured difference should be. */
  predicted: number;
}

/** Loss of soups minus loss of ensembles, in nats, measured and predicted. */
export interface Gap {
  /** Paths as given. */
  ingredients: string[];
  /** Examples. */
  n: number;
  step: number;
  points: GapPoint[];
  /** Pearson's, of predicted and measured over the points; null where it is not defined. */
  correlation: number | null;
  /** Mean of |predicted − measured|, in nats. */
  meanError: number;
  seconds: number;
  warnings: string[];
  notes: string[];
}

/** Bytes of the ingredients' logits that are kept; those that do not fit are computed again. */
const KEPT = 2 ** 30;

/**
 * How far a soup's loss lies from its ensemble's, measured, and as the expression of Wortsman et al. 2022 (section 4) has
 * it from the soup alone: for every pair of ingredients, alpha and beta,
 * L_soup(α) − L_ens(α) ≈ α(1 − α)/2 · (−d²L_soup/dα² + β² E_x Var_{Y ~ softmax(β f(x; θ_α))}[Δf_Y(x)]).
 * When it holds: docs/analysis.md. The evaluator is opened with `dtype: 'f32'`, as the differences are small.
 * @param ingredients those of the evaluator, which must give logits and labels
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function gap(
  ingredients: readonly (string | Checkpoint)[],
  options: GapOptions,
): Promise<Gap> {
  const began = performance.now();
  const { alphas = [0.5], betas = [1], step = 0.1 } = options;
  check(ingredients.length, alphas, betas, step);
  const all = await openAll(ingredients, options);
  const { tensors: matched, notes } = await matchTensors(all, options);
  const mixes = await Mixes.open(all, options);
  const { labels } = mixes;
  const alone = new Remembered((i: number) => mixes.logits(all.map((_, j) => (i === j ? 1 : 0))));
  const pairs = pairsOf(all.length);
  const steps = new Steps('gap', pairs.length * alphas.length, options.onProgress);
  const points: GapPoint[] = [];
  for (const [a, b] of pairs) {
    const ends = [await alone.get(a), await alone.get(b)] as const;
    for (const alpha of alphas) {
      const at = (t: number) =>
        mixes.logits(all.map((_, i) => (i === a ? 1 - t : i === b ? t : 0)));
      const line = [await at(alpha - step), await at(alpha), await at(alpha + step)] as const;
      for (const beta of betas) {
        const terms = gapTerms(ends, line, labels, { alpha, beta, step });
        const point = { a, b, alpha, beta, ...terms };
        points.push(point);
        options.onPoint?.(point);
      }
      steps.step();
    }
  }
  const [predicted, measured] = (['predicted', 'measured'] as const).map((what) =>
    points.map((p) => p[what]),
  ) as [number[], number[]];
  return {
    ingredients: all.map((c) => c.path),
    n: labels.length,
    step,
    points,
    correlation: correlation(predicted, measured),
    meanError:
      points.reduce((sum, p) => sum + Math.abs(p.predicted - p.measured), 0) / points.length,
    seconds: (performance.now() - began) / 1000,
    warnings: await initialisationWarnings(all, matched, options),
    notes: [...all.flatMap((c) => c.notes), ...notes],
  };
}

type Logits = ArrayLike<number>;

/**
 * Both sides of the expression, from logits [n, classes].
 * @param ends of the two models
 * @param line of the soups at alpha − step, alpha and alpha + step
 */
export function gapTerms(
  [a, b]: readonly [Logits, Logits],
  [before, soup, after]: readonly [Logits, Logits, Logits],
  labels: Int32Array,
  { alpha, beta, step }: { alpha: number; beta: number; step: number },
): Omit<GapPoint, 'a' | 'b' | 'alpha' | 'beta'> {
  const loss = (logits: Logits) => crossEntropy(logits, labels, beta);
  const soupLoss = loss(soup);
  const ensembleLoss = loss(between(a, b, alpha));
  const secondDerivative = (loss(before) - 2 * soupLoss + loss(after)) / (step * step);
  const variance = varianceOfDifference(soup, a, b, labels.length, beta);
  return {
    soupLoss,
    ensembleLoss,
    measured: soupLoss - ensembleLoss,
    secondDerivative,
    variance,
    predicted: ((alpha * (1 - alpha)) / 2) * (beta * beta * variance - secondDerivative),
  };
}

/** Logits by model, as many as are to be kept. */
class Remembered {
  private readonly kept = new Map<number, Float32Array>();

  constructor(private readonly make: (i: number) => Promise<Float32Array>) {}

  async get(i: number): Promise<Float32Array> {
    const found = this.kept.get(i) ?? (await this.make(i));
    this.kept.delete(i); // the least lately used goes first
    this.kept.set(i, found);
    while (this.kept.size > 2 && this.kept.size * found.byteLength > KEPT)
      this.kept.delete(this.kept.keys().next().value as number);
    return found;
  }
}

function check(k: number, alphas: readonly number[], betas: readonly number[], step: number): void {
  if (k < 2) throw new StockpotError('USAGE', 'expected at least two ingredients, to pair them');
  for (const [name, list] of [
    ['alphas', alphas],
    ['betas', betas],
  ] as const) {
    if (list.length > 0 && list.every((x) => Number.isFinite(x))) continue;
    throw new StockpotError('USAGE', `expected ${name} to be finite numbers but received ${list}`);
  }
  if (!(step > 0 && step <= 10))
    throw new StockpotError('USAGE', `expected the step to be above 0 but received ${step}`);
}
