import { throwIfAborted } from '../checkpoint/job.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { makeCandidate } from '../evaluate/candidate.js';
import {
  askEvaluator,
  type Candidate,
  type Evaluator,
  type ExampleEvaluator,
  hasExamples,
  readResult,
  wholeEvaluator,
} from '../evaluate/evaluator.js';
import { allMetrics } from '../evaluate/metrics.js';
import { Evaluations, type Kept, openKept } from '../evaluate/resume.js';
import type { OutputDType } from '../merge/plan.js';
import { version } from '../version.js';

/** How good one mix is; null where the evaluator does not say. */
export interface Score {
  /** From 0 to 1. */
  accuracy: number | null;
  /** Mean cross-entropy, in nats. */
  loss: number | null;
}

export interface MixOptions {
  /** What says how good a mix is. */
  evaluator: Evaluator;
  /** Folder where evaluations are kept, so that a run that was killed goes on where it was. */
  resume?: string;
  signal?: AbortSignal;
  /** Type that mixes are rounded to: what the evaluator was opened with. */
  dtype?: OutputDType;
  key?: string;
}

/** Weighted sums of checkpoints' weights, any real weights, evaluated one after another and remembered. */
export class Mixes {
  private readonly scores = new Map<string, Score>();

  private constructor(
    private readonly checkpoints: readonly Checkpoint[],
    private readonly options: MixOptions,
    private readonly kept: Kept | undefined,
  ) {}

  /** @throws StockpotError USAGE where `resume` is given and the evaluator has no id; IO */
  static async open(checkpoints: readonly Checkpoint[], options: MixOptions): Promise<Mixes> {
    const { evaluator, resume } = options;
    if (!hasExamples(evaluator)) wholeEvaluator(evaluator);
    if (resume === undefined) return new Mixes(checkpoints, options, undefined);
    return new Mixes(checkpoints, options, await openKept(resume, evaluator, checkpoints, options));
  }

  /** @param weights one a checkpoint; those of weight 0 are not read */
  async score(weights: readonly number[]): Promise<Score> {
    const local = weights.join();
    const known = this.scores.get(local);
    if (known) return known;
    const score = await this.remembered(weights);
    this.scores.set(local, score);
    return score;
  }

  private async remembered(weights: readonly number[]): Promise<Score> {
    if (!this.kept) return this.evaluate(weights);
    const { evaluations, hashes } = this.kept;
    const key = Evaluations.key({
      stockpot: version,
      what: 'mix',
      evaluator: (this.options.evaluator as ExampleEvaluator).id,
      dtype: this.options.dtype ?? 'keep',
      // The first checkpoint gives the types.
      first: hashes[0],
      mix: weights.flatMap((w, i) => (w === 0 ? [] : [[hashes[i], w]])),
    });
    const found = await evaluations.get(key, undefined);
    if (found)
      return { accuracy: found.metrics.accuracy ?? null, loss: found.metrics.loss ?? null };
    const score = await this.evaluate(weights);
    const { accuracy, loss } = score;
    await evaluations.put(key, {
      value: null,
      evaluated: null,
      metrics: {
        ...(accuracy === null ? {} : { accuracy }),
        ...(loss === null ? {} : { loss }),
      },
    });
    return score;
  }

  private async evaluate(weights: readonly number[]): Promise<Score> {
    const { evaluator, signal } = this.options;
    throwIfAborted(signal);
    if (hasExamples(evaluator)) {
      const { accuracy, loss } = allMetrics(await this.logits(weights), evaluator.labels);
      return { accuracy, loss };
    }
    const whole = wholeEvaluator(evaluator);
    const result = await askEvaluator(whole, this.candidate(weights), { beta: 1, signal });
    throwIfAborted(signal);
    const onlyLoss =
      typeof result === 'object' && result?.loss !== undefined && !result.logits && !result.metrics;
    const { metrics } = readResult(onlyLoss ? 'loss' : 'accuracy', result, whole.labels);
    return { accuracy: metrics.accuracy ?? null, loss: metrics.loss ?? null };
  }

  /**
   * Logits [n, classes] of a mix on all examples, in their order.
   * @throws StockpotError USAGE where the evaluator gives none
   */
  async logits(weights: readonly number[]): Promise<Float32Array> {
    const { evaluator, signal } = this.options;
    throwIfAborted(signal);
    if (!hasExamples(evaluator)) return this.wholeLogits(weights);
    const { labels, numClasses } = evaluator;
    const n = labels.length;
    const out = new Float32Array(n * numClasses).fill(Number.NaN);
    const order = Int32Array.from({ length: n }, (_, i) => i);
    const soup = this.candidate(weights);
    let seen = 0;
    for await (const { examples, logits } of evaluator.batches(soup, order, { beta: 1, signal })) {
      throwIfAborted(signal);
      for (let r = 0; r < examples.length; r++)
        out.set(
          logits.subarray(r * numClasses, (r + 1) * numClasses),
          (examples[r] as number) * numClasses,
        );
      seen += examples.length;
    }
    if (seen !== n) throw new StockpotError('USAGE', `the evaluator gave ${seen} of ${n} examples`);
    return out;
  }

  /** The examples' classes. @throws StockpotError USAGE where the evaluator does not know them */
  get labels(): Int32Array {
    const { evaluator } = this.options;
    const labels = typeof evaluator === 'function' ? undefined : evaluator.labels;
    if (labels) return labels;
    throw new StockpotError('USAGE', 'expected an evaluator with labels');
  }

  private async wholeLogits(weights: readonly number[]): Promise<Float32Array> {
    const whole = wholeEvaluator(this.options.evaluator as Parameters<typeof wholeEvaluator>[0]);
    const { signal } = this.options;
    const result = await askEvaluator(whole, this.candidate(weights), { beta: 1, signal });
    throwIfAborted(signal);
    const logits = typeof result === 'object' ? result?.logits : undefined;
    if (!logits || logits.length === 0)
      throw new StockpotError('USAGE', 'expected the evaluator to give logits', {
        remedy: 'Return { logits } for every labelled example.',
      });
    return logits instanceof Float32Array ? logits : Float32Array.from(logits.flat());
  }

  private candidate(weights: readonly number[]): Candidate {
    const { dtype, key, signal } = this.options;
    return makeCandidate('uniform', this.checkpoints, weights, { dtype, key, signal });
  }
}
