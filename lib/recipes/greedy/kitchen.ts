import { throwIfAborted } from '../../checkpoint/job.js';
import { type ReadAhead, readAhead } from '../../checkpoint/read_ahead.js';
import type { Checkpoint } from '../../checkpoint/types.js';
import { StockpotError } from '../../errors.js';
import { makeCandidate } from '../../evaluate/candidate.js';
import {
  askEvaluator,
  type Candidate,
  type Evaluator,
  type ExampleEvaluator,
  hasExamples,
  readResult,
  wholeEvaluator,
} from '../../evaluate/evaluator.js';
import { ExampleProgress, passOf } from '../../evaluate/example_progress.js';
import { emptyScores, type Metric, metricsOf, scoreInto } from '../../evaluate/metrics.js';
import { type Accept, startTrial, type Trial } from '../../evaluate/rejection.js';
import { Evaluations, type Kept, type Outcome, openKept } from '../../evaluate/resume.js';
import type { RunOptions } from '../../progress.js';
import type { SoupOptions } from '../../soup/soup.js';
import { version } from '../../version.js';

export interface KitchenOptions extends SoupOptions, RunOptions {
  metric: Metric;
  /** At least one; several evaluate at the same time, and give the same numbers. */
  evaluators: readonly Evaluator[];
  /** Folder where evaluations are kept. */
  resume?: string;
}

/** An outcome on all examples. */
export type Known = Outcome & { value: number };

/** 1/m for members, else 0. */
export const equalWeights = (k: number, members: readonly number[]): number[] =>
  Array.from({ length: k }, (_, i) => (members.includes(i) ? 1 / members.length : 0));

/** Evaluates mixes of the ingredients, and remembers what it evaluated where it is asked to. */
export class Kitchen {
  readonly metric: Metric;
  readonly evaluators: readonly Evaluator[];
  /** Soups that were begun, and how many there are if none is begun twice. */
  private pass = 0;
  passes = 0;
  private readonly ahead = new Map<number, ReadAhead>();

  private constructor(
    readonly checkpoints: readonly Checkpoint[],
    private readonly options: KitchenOptions,
    private readonly kept: Kept | undefined,
  ) {
    this.metric = options.metric;
    this.evaluators = options.evaluators;
  }

  /** @throws StockpotError USAGE, IO */
  static async open(checkpoints: readonly Checkpoint[], options: KitchenOptions): Promise<Kitchen> {
    checkAlike(options.evaluators);
    const { resume } = options;
    if (resume === undefined) return new Kitchen(checkpoints, options, undefined);
    const evaluator = options.evaluators[0] as Evaluator;
    return new Kitchen(
      checkpoints,
      options,
      await openKept(resume, evaluator, checkpoints, options),
    );
  }

  /** One ingredient alone, on all examples. */
  evaluate(evaluator: Evaluator, ingredient: number, stop?: AbortSignal): Promise<Known> {
    return this.remembered('alone', [ingredient], null, () =>
      this.run(evaluator, [ingredient], undefined, stop),
    ) as Promise<Known>;
  }

  /** The members and a candidate, until it is clear that it is rejected. */
  try(
    evaluator: Evaluator,
    members: readonly number[],
    candidate: number,
    best: Known,
    accept: Accept,
    stop?: AbortSignal,
  ): Promise<Outcome> {
    return this.remembered(accept, members, candidate, () => {
      const trial =
        hasExamples(evaluator) && best.scores
          ? startTrial(this.metric, accept, best.scores, evaluator.labels)
          : undefined;
      return this.run(evaluator, [...members, candidate], trial, stop);
    });
  }

  /**
   * Has ingredients that are wanted next read meanwhile, by the evaluator where it keeps them, or into the page cache;
   * those that are not wanted any more are left.
   */
  expect(ingredients: readonly number[]): void {
    const [evaluator, ...others] = this.evaluators as [Evaluator];
    // Of several evaluators, none knows which is its next one.
    const asked = others.length === 0 && hasExamples(evaluator);
    const wanted = (asked && evaluator.expect?.(ingredients)) || ingredients;
    for (const [i, reading] of this.ahead) {
      if (wanted.includes(i)) continue;
      reading.stop();
      this.ahead.delete(i);
    }
    for (const i of wanted) {
      const checkpoint = this.checkpoints[i];
      if (checkpoint && !this.ahead.has(i)) this.ahead.set(i, readAhead(checkpoint));
    }
  }

  private async remembered(
    what: string,
    members: readonly number[],
    candidate: number | null,
    evaluate: () => Promise<Outcome>,
  ): Promise<Outcome> {
    if (!this.kept) return evaluate();
    const { evaluations, hashes } = this.kept;
    const { dtype, include, exclude, allowNonfinite, allowOverflow } = this.options;
    const evaluator = this.evaluators[0] as Evaluator;
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
    return makeCandidate('greedy', this.checkpoints, weights, this.options);
  }

  private async run(
    evaluator: Evaluator,
    members: readonly number[],
    trial: Trial | undefined,
    stop: AbortSignal | undefined,
  ): Promise<Outcome> {
    const signals = [this.options.signal, stop].filter((s) => s !== undefined);
    const signal = AbortSignal.any(signals);
    throwIfAborted(signal);
    const soup = this.candidate(members);
    if (hasExamples(evaluator)) return this.runExamples(evaluator, soup, trial, signal);
    const whole = wholeEvaluator(evaluator);
    const result = await askEvaluator(whole, soup, { beta: 1, signal });
    throwIfAborted(signal);
    const n = whole.labels?.length ?? null;
    return { evaluated: n, ...readResult(this.metric, result, whole.labels) };
  }

  private async runExamples(
    evaluator: ExampleEvaluator,
    soup: Candidate,
    trial: Trial | undefined,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { labels, numClasses } = evaluator;
    const n = labels.length;
    const order = trial?.order ?? Int32Array.from({ length: n }, (_, i) => i);
    const scores = emptyScores(n);
    let evaluated = 0;
    const progress = new ExampleProgress(passOf(this.options, ++this.pass, this.passes), n);
    // `gt` against a soup that is right everywhere: nothing needs to be evaluated.
    if (trial?.hopeless) return { value: null, evaluated, metrics: {} };
    for await (const { examples, logits } of evaluator.batches(soup, order, { beta: 1, signal })) {
      throwIfAborted(signal);
      scoreInto(scores, logits, examples, labels);
      evaluated += examples.length;
      progress.add(examples.length);
      trial?.add(examples, scores);
      if (trial?.hopeless && evaluated < n) return { value: null, evaluated, metrics: {} };
    }
    if (evaluated !== n)
      throw new StockpotError('USAGE', `the evaluator gave ${evaluated} of ${n} examples`);
    const metrics = metricsOf(scores, labels, numClasses);
    return { value: metrics[this.metric], evaluated, metrics, scores };
  }
}

/** Several evaluators must be as good as one: of a kind, with the same examples. @throws StockpotError USAGE */
function checkAlike(evaluators: readonly Evaluator[]): void {
  const [first, ...others] = evaluators;
  if (first === undefined) {
    throw new StockpotError('USAGE', 'expected at least one evaluator', {
      remedy:
        'Give a function, commandEvaluator(command), or await nativeEvaluator(ingredients, { data }).',
    });
  }
  for (const e of evaluators) if (!hasExamples(e)) wholeEvaluator(e);
  const labels = (e: Evaluator) => (typeof e === 'function' ? '' : (e.labels?.join() ?? ''));
  const id = (e: Evaluator) => (typeof e === 'function' ? undefined : e.id);
  for (const [i, e] of others.entries()) {
    const alike =
      hasExamples(e) === hasExamples(first) && id(e) === id(first) && labels(e) === labels(first);
    if (alike) continue;
    throw new StockpotError(
      'USAGE',
      `expected evaluators that give the same numbers, but evaluator ${i + 1} has another kind, id or labels than evaluator 0`,
      { remedy: 'Make them all for the same data and network.' },
    );
  }
}
