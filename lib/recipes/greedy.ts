import type { Writable } from 'node:stream';
import { contentHash } from '../checkpoint/hash.js';
import { throwIfAborted } from '../checkpoint/job.js';
import { openCheckpoint } from '../checkpoint/open.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import {
  type Candidate,
  type Evaluator,
  type ExampleEvaluator,
  hasExamples,
  readResult,
  wholeEvaluator,
} from '../evaluate/evaluator.js';
import { emptyScores, METRICS, type Metric, metricsOf, scoreInto } from '../evaluate/metrics.js';
import { type Accept, isBetter, isKept, startTrial, type Trial } from '../evaluate/rejection.js';
import { Evaluations, type Outcome } from '../evaluate/resume.js';
import type { RunOptions } from '../progress.js';
import { version } from '../version.js';
import { makeSoup, type Soup, type SoupOptions } from './soup.js';

export interface GreedyOptions extends Omit<SoupOptions, 'weights' | 'normalize'>, RunOptions {
  /** What says how good a soup is. */
  evaluator: Evaluator;
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

/** One candidate that was tried. */
export interface GreedyStep {
  /** Position of the ingredient. */
  candidate: number;
  /** The metric of the soup with it; null where it was rejected before all examples were evaluated. */
  value: number | null;
  kept: boolean;
  /** How many examples were evaluated; null where the evaluator does not say. */
  evaluated: number | null;
}

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
  const checkpoints: Checkpoint[] = [];
  for (const i of ingredients) {
    throwIfAborted(options.signal);
    checkpoints.push(typeof i === 'string' ? await openCheckpoint(i, { key: options.key }) : i);
  }
  const began = performance.now();
  const metric = options.metric ?? 'accuracy';
  // All that can be refused is refused before anything is evaluated.
  const plan = await makeSoup('greedy', checkpoints, output, { ...options, dryRun: true });
  if (options.dryRun)
    return { ...plan, order: [], members: [], metric, value: null, accuracy: null, trace: [] };
  const kitchen = await Kitchen.open(checkpoints, metric, options);
  const { order, members, best, trace } = await choose(kitchen, options);
  const weights = equalWeights(checkpoints.length, members);
  const soup = await makeSoup(
    'greedy',
    checkpoints,
    output,
    { ...options, weights },
    detailsOf({ order, members, best }, metric, options),
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
  { order, members, best }: { order: number[]; members: number[]; best: Known },
  metric: Metric,
  { accept = 'ge', evaluator }: GreedyOptions,
): Record<string, unknown> {
  return {
    metric,
    // JSON has no NaN.
    value: Number.isFinite(best.value) ? best.value : null,
    accept,
    order,
    accepted: members,
    evaluator: typeof evaluator === 'function' ? undefined : evaluator.id,
  };
}

/** 1/m for members, else 0. */
const equalWeights = (k: number, members: readonly number[]): number[] =>
  Array.from({ length: k }, (_, i) => (members.includes(i) ? 1 / members.length : 0));

/** An outcome on all examples. */
type Known = Outcome & { value: number };

/** The recipe itself: only numbers and decisions. */
async function choose(kitchen: Kitchen, options: GreedyOptions) {
  const { metric } = kitchen;
  const accept = options.accept ?? 'ge';
  const { order, first } = await sortIngredients(kitchen, options.order ?? 'metric');
  let best = first;
  const members = [order[0] as number];
  const trace: GreedyStep[] = [];
  for (const candidate of order.slice(1)) {
    const outcome = await kitchen.try(members, candidate, best, accept);
    const { value, evaluated } = outcome;
    const kept = value !== null && isKept(metric, accept, value, best.value);
    if (kept) {
      members.push(candidate);
      best = outcome as Known;
    }
    const step = { candidate, value, kept, evaluated };
    trace.push(step);
    options.onStep?.(step);
  }
  return { order, members, best, trace };
}

/** Best first, NaN last, ties by position; and how the first one does. */
async function sortIngredients(kitchen: Kitchen, how: 'metric' | 'given') {
  const order = [...kitchen.checkpoints.keys()];
  let first = await kitchen.evaluate(0);
  if (how === 'given') return { order, first };
  const values = [first.value];
  for (const i of order.slice(1)) {
    const outcome = await kitchen.evaluate(i);
    values.push(outcome.value);
    if (isBetter(kitchen.metric, outcome.value, first.value)) first = outcome;
  }
  order.sort((a, b) => {
    const [x, y] = [values[a] as number, values[b] as number];
    if (isBetter(kitchen.metric, x, y)) return -1;
    return isBetter(kitchen.metric, y, x) ? 1 : a - b;
  });
  return { order, first };
}

/** Evaluates mixes of the ingredients, and remembers what it evaluated where it is asked to. */
class Kitchen {
  private constructor(
    readonly checkpoints: readonly Checkpoint[],
    readonly metric: Metric,
    private readonly options: GreedyOptions,
    private readonly kept: { evaluations: Evaluations; hashes: readonly string[] } | undefined,
  ) {}

  static async open(
    checkpoints: readonly Checkpoint[],
    metric: Metric,
    options: GreedyOptions,
  ): Promise<Kitchen> {
    const { evaluator, resume } = options;
    if (!hasExamples(evaluator)) wholeEvaluator(evaluator);
    if (resume === undefined) return new Kitchen(checkpoints, metric, options, undefined);
    if (typeof evaluator === 'function' || evaluator.id === undefined) {
      throw new StockpotError('USAGE', 'resume needs an evaluator with an id', {
        remedy:
          'Give { id, evaluate } instead of a function; the id says what the metric depends on.',
      });
    }
    const evaluations = await Evaluations.open(resume);
    const hashes: string[] = [];
    for (const c of checkpoints) hashes.push(await contentHash(c, options));
    return new Kitchen(checkpoints, metric, options, { evaluations, hashes });
  }

  /** One ingredient alone, on all examples. */
  evaluate(ingredient: number): Promise<Known> {
    return this.remembered('alone', [ingredient], null, () =>
      this.run([ingredient], undefined),
    ) as Promise<Known>;
  }

  /** The members and a candidate, until it is clear that it is rejected. */
  try(
    members: readonly number[],
    candidate: number,
    best: Known,
    accept: Accept,
  ): Promise<Outcome> {
    const { evaluator } = this.options;
    return this.remembered(accept, members, candidate, () => {
      const trial =
        hasExamples(evaluator) && best.scores
          ? startTrial(this.metric, accept, best.scores, evaluator.labels)
          : undefined;
      return this.run([...members, candidate], trial);
    });
  }

  private async remembered(
    what: string,
    members: readonly number[],
    candidate: number | null,
    evaluate: () => Promise<Outcome>,
  ): Promise<Outcome> {
    if (!this.kept) return evaluate();
    const { evaluations, hashes } = this.kept;
    const { dtype, include, exclude, allowNonfinite, allowOverflow, evaluator } = this.options;
    const key = Evaluations.key({
      stockpot: version,
      evaluator: (evaluator as ExampleEvaluator).id,
      metric: this.metric,
      options: { dtype, include, exclude, allowNonfinite, allowOverflow },
      what,
      // The first ingredient gives the types.
      first: hashes[0],
      members: [...members].sort((a, b) => a - b).map((i) => hashes[i]),
      candidate: candidate === null ? null : hashes[candidate],
    });
    const examples = hasExamples(evaluator) ? evaluator.labels.length : undefined;
    const found = await evaluations.get(key, examples);
    if (found) return found;
    const outcome = await evaluate();
    await evaluations.put(key, outcome);
    return outcome;
  }

  private candidate(members: readonly number[]): Candidate {
    const weights = equalWeights(this.checkpoints.length, members);
    return {
      ingredients: this.checkpoints,
      members: [...members].sort((a, b) => a - b),
      weights,
      save: (output) =>
        makeSoup('greedy', this.checkpoints, output, {
          ...this.options,
          overwrite: true,
          onProgress: undefined,
          weights,
        }),
    };
  }

  private async run(members: readonly number[], trial: Trial | undefined): Promise<Outcome> {
    const { signal, evaluator } = this.options;
    throwIfAborted(signal);
    const soup = this.candidate(members);
    if (hasExamples(evaluator)) return this.runExamples(evaluator, soup, trial);
    const whole = wholeEvaluator(evaluator);
    const result = await whole.evaluate(soup, { beta: 1, signal });
    throwIfAborted(signal);
    const n = whole.labels?.length ?? null;
    return { evaluated: n, ...readResult(this.metric, result, whole.labels) };
  }

  private async runExamples(
    evaluator: ExampleEvaluator,
    soup: Candidate,
    trial: Trial | undefined,
  ): Promise<Outcome> {
    const { signal } = this.options;
    const { labels, numClasses } = evaluator;
    const n = labels.length;
    const order = trial?.order ?? Int32Array.from({ length: n }, (_, i) => i);
    const scores = emptyScores(n);
    let evaluated = 0;
    // `gt` against a soup that is right everywhere: nothing needs to be evaluated.
    if (trial?.hopeless) return { value: null, evaluated, metrics: {} };
    for await (const { examples, logits } of evaluator.batches(soup, order, { beta: 1, signal })) {
      throwIfAborted(signal);
      scoreInto(scores, logits, examples, labels);
      evaluated += examples.length;
      trial?.add(examples, scores);
      if (trial?.hopeless && evaluated < n) return { value: null, evaluated, metrics: {} };
    }
    if (evaluated !== n)
      throw new StockpotError('USAGE', `the evaluator gave ${evaluated} of ${n} examples`);
    const metrics = metricsOf(scores, labels, numClasses);
    return { value: metrics[this.metric], evaluated, metrics, scores };
  }
}
