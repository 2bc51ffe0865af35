import type { Writable } from 'node:stream';
import { openAll } from '../checkpoint/open_all.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { Evaluator } from '../evaluate/evaluator.js';
import { METRICS, type Metric } from '../evaluate/metrics.js';
import type { Accept } from '../evaluate/rejection.js';
import type { RunOptions } from '../progress.js';
import { makeSoup } from '../soup/make.js';
import type { Soup, SoupOptions } from '../soup/soup.js';
import { type Choice, choose, type GreedyStep } from './greedy/choose.js';
import { equalWeights, Kitchen } from './greedy/kitchen.js';

export interface GreedyOptions extends Omit<SoupOptions, 'weights' | 'normalize'>, RunOptions {
  /**
   * What says how good a soup is. Several that give the same numbers evaluate the next candidates at the same time; the
   * result is that of one.
   */
  evaluator: Evaluator | readonly Evaluator[];
  /** Accuracy by default. */
  metric?: Metric;
  /** Keep a candidate whose soup is at least as good (`ge`, as the paper; the default), or only a better one (`gt`). */
  accept?: Accept;
  /** Try the best ingredient first (`metric`, the default), or in the order given: then they are not evaluated alone. */
  order?: 'metric' | 'given';
  /** Folder where evaluations are kept, so that a run that was killed goes on where it was. */
  resume?: string;
  /** Told of each candidate as it is decided. */
  onStep?: (step: GreedyStep) => void;
}

/** A greedy soup, and how it was chosen. */
export interface GreedySoup extends Soup {
  /** Positions of the ingredients in the order in which they were tried. */
  order: number[];
  /** In the order in which they were accepted. */
  members: number[];
  metric: Metric;
  /** The soup's; null in a dry run. */
  value: number | null;
  accuracy: number | null;
  /** From the second in order on. */
  trace: GreedyStep[];
}

/**
 * The greedy soup (Wortsman et al. 2022, section 2, recipe 1): the ingredients, best first, are added one by one, and
 * stay where the held-out metric of the mean does not fall. The soup is `uniform` of its members, bit for bit. Candidates
 * are rejected as soon as they cannot be accepted any more, which changes no decision.
 *
 * @param ingredients paths of checkpoints (files or folders), or open checkpoints; at least one
 * @param output a path (`*.safetensors` is a file, anything else a folder) or a writable stream
 * @throws StockpotError; on failure and on abort nothing is left behind but what `resume` keeps
 */
export async function greedy(
  ingredients: readonly (string | Checkpoint)[],
  output: string | Writable,
  options: GreedyOptions,
): Promise<GreedySoup> {
  check(options);
  const checkpoints = await openAll(ingredients, options);
  const began = performance.now();
  const metric = options.metric ?? 'accuracy';
  // All that can be refused is refused before anything is evaluated.
  const plan = await makeSoup('greedy', checkpoints, output, { ...options, dryRun: true });
  if (options.dryRun)
    return { ...plan, order: [], members: [], metric, value: null, accuracy: null, trace: [] };
  const evaluators = evaluatorsOf(options);
  const kitchen = await Kitchen.open(checkpoints, { ...options, metric, evaluators });
  const { accept = 'ge', order: how = 'metric' } = options;
  const choice = await choose(kitchen, accept, how, options.onStep);
  const { order, members, best, trace } = choice;
  const weights = equalWeights(checkpoints.length, members);
  const soup = await makeSoup(
    'greedy',
    checkpoints,
    output,
    { ...options, weights },
    detailsOf(choice, metric, options),
  );
  const warnings = Number.isNaN(best.value)
    ? [`The ${metric} of the soup is NaN: no ingredient could be judged.`]
    : [];
  return {
    ...soup,
    seconds: (performance.now() - began) / 1000,
    warnings: [...soup.warnings, ...warnings],
    order,
    members,
    metric,
    value: best.value,
    accuracy: best.metrics.accuracy ?? null,
    trace,
  };
}

const evaluatorsOf = ({ evaluator }: GreedyOptions): readonly Evaluator[] =>
  Array.isArray(evaluator) ? evaluator : [evaluator as Evaluator];

function check(options: GreedyOptions): void {
  const oneOf = (name: string, value: unknown, allowed: readonly string[]) => {
    if (value === undefined || allowed.includes(value as string)) return;
    throw new StockpotError(
      'USAGE',
      `expected ${name} to be one of ${allowed.join(', ')} but received ${value}`,
    );
  };
  oneOf('metric', options.metric, METRICS);
  oneOf('accept', options.accept, ['ge', 'gt']);
  oneOf('order', options.order, ['metric', 'given']);
  const { weights, normalize } = options as SoupOptions;
  if (weights !== undefined || normalize) {
    throw new StockpotError('USAGE', 'a greedy soup chooses its weights itself', {
      remedy: 'Leave out --weights and --normalize.',
    });
  }
}

/** What the record says besides members and weights: nothing that early rejection or a resumption could change. */
function detailsOf(
  { order, members, best }: Choice,
  metric: Metric,
  options: GreedyOptions,
): Record<string, unknown> {
  const [evaluator] = evaluatorsOf(options);
  return {
    metric,
    // JSON has no NaN.
    value: Number.isFinite(best.value) ? best.value : null,
    accept: options.accept ?? 'ge',
    order,
    accepted: members,
    evaluator: typeof evaluator === 'function' ? undefined : evaluator?.id,
  };
}
