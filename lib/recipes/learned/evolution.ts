import { contentHash } from '../../checkpoint/hash.js';
import { throwIfAborted } from '../../checkpoint/job.js';
import type { Checkpoint } from '../../checkpoint/types.js';
import { StockpotError } from '../../errors.js';
import { makeCandidate } from '../../evaluate/candidate.js';
import {
  askEvaluator,
  type Candidate,
  type Evaluator,
  hasExamples,
  readResult,
  wholeEvaluator,
} from '../../evaluate/evaluator.js';
import {
  emptyScores,
  type Metric,
  type Metrics,
  metricsOf,
  scoreInto,
} from '../../evaluate/metrics.js';
import { Evaluations } from '../../evaluate/resume.js';
import { CmaEs } from '../../learn/cma.js';
import { coefficients, type Parametrisation, startOf } from '../../learn/parametrisation.js';
import { type Grouping, meanWeights } from '../../merge/groups.js';
import type { RunOptions } from '../../progress.js';
import type { SoupOptions } from '../../soup/soup.js';
import { version } from '../../version.js';

/** Generations, unless said otherwise. */
export const GENERATIONS = 20;
/** First spread of the raw weights: of a softmax; a share of 1/k where they are free. */
const SIGMA = 0.5;

export interface EvolutionOptions extends Omit<SoupOptions, 'weights' | 'normalize'>, RunOptions {
  evaluator: Evaluator;
  metric: Metric;
  grouping: Grouping;
  parametrisation: Parametrisation;
  generations: number;
  seed: number;
  /** Search β too: of use for the loss only, since a factor changes no answer. */
  temperature: boolean;
  /** Folder of evaluations that are kept; the same run uses them again. */
  resume?: string;
  onGeneration?: (generation: number, best: Individual) => void;
}

/** A mix that was evaluated. */
export interface Individual {
  alpha: Float64Array[];
  beta: number;
  value: number;
  metrics: Partial<Metrics>;
}

/**
 * Mixing coefficients by CMA-ES: for metrics that have no derivative, and evaluators that give only a number. Every
 * generation is some mixes around the mean of the search, all evaluated; the first mix is the uniform one. The result is the
 * best mix that was seen, the earliest of equals; equal metrics are told apart by the loss where that is known.
 * @returns the best, and the loss of each generation's best (NaN where the evaluator says none)
 */
export async function evolve(
  checkpoints: readonly Checkpoint[],
  options: EvolutionOptions,
): Promise<{ best: Individual; loss: number[] }> {
  const { grouping, parametrisation: how, metric, generations, seed } = options;
  const k = checkpoints.length;
  const groups = grouping.names.length;
  const withBeta = options.temperature && metric === 'loss';
  const start = new Float64Array(groups * k + (withBeta ? 1 : 0));
  for (let g = 0; g < groups; g++) start.set(startOf(how, k), g * k);
  if (withBeta) start[groups * k] = 1;
  const evaluate = await evaluation(checkpoints, options);
  const at = (x: Float64Array) => {
    const rows = grouping.names.map((_, g) => coefficients(how, x.slice(g * k, (g + 1) * k)));
    return evaluate(rows, withBeta ? (x[groups * k] as number) : 1);
  };
  let best = await at(start);
  const loss: number[] = [];
  const search = new CmaEs(start, how === 'softmax' ? SIGMA : SIGMA / k, { seed });
  for (let g = 0; g < generations; g++) {
    const individuals: Individual[] = [];
    for (const x of search.ask()) {
      throwIfAborted(options.signal);
      individuals.push(await at(x));
    }
    const order = [...individuals].sort((a, b) => compare(metric, a, b));
    search.tell(individuals.map((i) => order.indexOf(i)));
    const first = order[0] as Individual;
    if (compare(metric, first, best) < 0) best = first;
    loss.push(first.metrics.loss ?? Number.NaN);
    options.onGeneration?.(g + 1, best);
  }
  return { best, loss };
}

/** Negative where `a` is better: by the metric, then by the loss; NaN is the worst. */
function compare(metric: Metric, a: Individual, b: Individual): number {
  const cost = (v: number | undefined, up: boolean) =>
    v === undefined || Number.isNaN(v) ? Number.POSITIVE_INFINITY : up ? -v : v;
  const by = (x: number, y: number) => (x < y ? -1 : x > y ? 1 : 0);
  return (
    by(cost(a.value, metric !== 'loss'), cost(b.value, metric !== 'loss')) ||
    by(cost(a.metrics.loss, false), cost(b.metrics.loss, false))
  );
}

/** Evaluates mixes, and keeps what was evaluated where that is wanted. */
async function evaluation(
  checkpoints: readonly Checkpoint[],
  options: EvolutionOptions,
): Promise<(alpha: Float64Array[], beta: number) => Promise<Individual>> {
  const { evaluator, metric, grouping, resume, dtype, include, exclude, seed } = options;
  const run = async (alpha: Float64Array[], beta: number) => {
    const weights =
      grouping.by === 'model'
        ? [...(alpha[0] as Float64Array)]
        : {
            by: grouping.by,
            alpha: Object.fromEntries(
              grouping.names.map((n, g) => [n, [...(alpha[g] as Float64Array)]]),
            ),
          };
    const soup = makeCandidate('learned', checkpoints, weights, options);
    // For functions that look at weights only.
    const mean = 'by' in weights && meanWeights(grouping, weights.alpha, checkpoints.length);
    return judge(evaluator, mean ? { ...soup, weights: mean } : soup, metric, beta, options);
  };
  if (resume === undefined)
    return async (alpha, beta) => ({ alpha, beta, ...(await run(alpha, beta)) });
  const id = typeof evaluator === 'function' ? undefined : evaluator.id;
  if (id === undefined) {
    throw new StockpotError('USAGE', 'resume needs an evaluator with an id', {
      remedy:
        'Give { id, evaluate } instead of a function; the id says what the metric depends on.',
    });
  }
  const kept = await Evaluations.open(resume);
  const hashes: string[] = [];
  for (const c of checkpoints) hashes.push(await contentHash(c, options));
  const about = {
    stockpot: version,
    id,
    metric,
    hashes,
    dtype,
    include,
    exclude,
    by: grouping.by,
    seed,
  };
  return async (alpha, beta) => {
    const key = Evaluations.key({ ...about, cma: alpha.map((row) => [...row]), beta });
    const found = await kept.get(key, undefined);
    if (found && found.value !== null)
      return { alpha, beta, value: found.value, metrics: found.metrics };
    const made = await run(alpha, beta);
    await kept.put(key, { ...made, evaluated: null });
    return { alpha, beta, ...made };
  };
}

async function judge(
  evaluator: Evaluator,
  soup: Candidate,
  metric: Metric,
  beta: number,
  { signal }: RunOptions,
): Promise<{ value: number; metrics: Partial<Metrics> }> {
  if (!hasExamples(evaluator)) {
    const whole = wholeEvaluator(evaluator);
    const result = await askEvaluator(whole, soup, { beta, signal });
    throwIfAborted(signal);
    return readResult(metric, result, whole.labels, beta);
  }
  const { labels, numClasses } = evaluator;
  const scores = emptyScores(labels.length);
  const all = Int32Array.from(labels, (_, i) => i);
  for await (const { examples, logits } of evaluator.batches(soup, all, { beta, signal })) {
    throwIfAborted(signal);
    scoreInto(scores, logits, examples, labels, beta);
  }
  const metrics = metricsOf(scores, labels, numClasses);
  return { value: metrics[metric], metrics };
}
