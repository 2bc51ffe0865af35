import { throwIfAborted } from '../../checkpoint/job.js';
import type { Checkpoint } from '../../checkpoint/types.js';
import { ByteStore } from '../../data/byte_store.js';
import { StockpotError } from '../../errors.js';
import { makeCandidate } from '../../evaluate/candidate.js';
import type { ExampleEvaluator, LogitsBatch } from '../../evaluate/evaluator.js';
import { emptyScores, type Scores, scoreInto } from '../../evaluate/metrics.js';
import { type Accept, isKept, startTrial } from '../../evaluate/rejection.js';
import type { SoupOptions } from '../../soup/soup.js';

/** How much of each model is in a mix; one number a model. */
export type Mix = readonly number[];

/** The mean of some of k models. */
export const meanOf = (k: number, members: readonly number[]): number[] =>
  Array.from({ length: k }, (_, i) => (members.includes(i) ? 1 / members.length : 0));

const keyOf = (mix: Mix): string => mix.join(' ');

export interface PanelOptions {
  /** How candidates are written, where the evaluator asks for that. */
  soup: SoupOptions;
  /** Bytes of logits that are held in memory; the rest go to a file. */
  memory: number;
  signal?: AbortSignal;
  /** Told of each mix that was run. */
  onRun?: () => void;
}

interface Known {
  scores: Scores;
  known: Uint8Array;
}

/**
 * One data set and everything that was run on it. A mix of the models is run at most once on an example for its scores;
 * the logits of whole runs are kept, so that ensembles and temperatures need no further ones.
 */
export class Panel {
  private readonly seen = new Map<string, Known>();
  private readonly kept = new Map<string, number>();
  private readonly store: ByteStore;
  private readonly all: Int32Array;
  /** How often a network was run on an example. */
  examplesRun = 0;

  constructor(
    readonly models: readonly Checkpoint[],
    private readonly evaluator: ExampleEvaluator,
    private readonly options: PanelOptions,
  ) {
    const { labels, numClasses } = evaluator;
    this.all = Int32Array.from(labels, (_, i) => i);
    this.store = new ByteStore(labels.length * numClasses * 4, options.memory);
  }

  get labels(): Int32Array {
    return this.evaluator.labels;
  }

  get numClasses(): number {
    return this.evaluator.numClasses;
  }

  /** Logits [n, classes] of a mix on all examples. */
  async logits(mix: Mix): Promise<Float32Array> {
    const key = keyOf(mix);
    const at = this.kept.get(key);
    const out = new Float32Array(this.labels.length * this.numClasses);
    const bytes = new Uint8Array(out.buffer);
    if (at !== undefined) {
      await this.store.get(at, bytes, 0);
      return out;
    }
    const known = this.knownOf(mix);
    for await (const { examples, logits } of this.run(mix, this.all)) {
      for (let r = 0; r < examples.length; r++)
        out.set(
          logits.subarray(r * this.numClasses, (r + 1) * this.numClasses),
          (examples[r] as number) * this.numClasses,
        );
      this.take(known, { examples, logits });
    }
    await this.store.put(this.kept.size, bytes);
    this.kept.set(key, this.kept.size);
    this.options.onRun?.();
    return out;
  }

  /** Scores of a mix, at least of these examples (all by default). */
  async scores(mix: Mix, examples: Int32Array = this.all): Promise<Scores> {
    const known = this.knownOf(mix);
    await this.need(mix, known, examples);
    return known.scores;
  }

  /**
   * Whether a mix is kept in place of the best one, by accuracy on these examples. It is run only until that is clear.
   * @returns its scores where it is kept, else null
   */
  async challenge(
    mix: Mix,
    best: Scores,
    examples: Int32Array,
    accept: Accept = 'ge',
  ): Promise<Scores | null> {
    const known = this.knownOf(mix);
    const labels = examples.map((i) => this.labels[i] as number);
    const trial = startTrial('accuracy', accept, part(best, examples), labels);
    const add = (positions: Int32Array) => trial.add(positions, part(known.scores, examples));
    add(trial.order.filter((p) => known.known[examples[p] as number]));
    const missing = trial.order.filter((p) => !known.known[examples[p] as number]);
    const positionOf = new Map(Array.from(missing, (p) => [examples[p] as number, p]));
    if (trial.hopeless) return null;
    const order = missing.map((p) => examples[p] as number);
    for await (const batch of this.run(mix, order)) {
      this.take(known, batch);
      add(Int32Array.from(batch.examples, (i) => positionOf.get(i) as number));
      if (trial.hopeless) return null;
    }
    const value = rightOf(known.scores, this.labels, examples);
    const before = rightOf(best, this.labels, examples);
    return isKept('accuracy', accept, value, before) ? known.scores : null;
  }

  async close(): Promise<void> {
    await this.store.close();
  }

  private knownOf(mix: Mix): Known {
    const n = this.labels.length;
    const known = this.seen.get(keyOf(mix)) ?? {
      scores: emptyScores(n),
      known: new Uint8Array(n),
    };
    this.seen.set(keyOf(mix), known);
    return known;
  }

  private async need(mix: Mix, known: Known, examples: Int32Array): Promise<void> {
    const missing = examples.filter((i) => !known.known[i]);
    for await (const batch of this.run(mix, missing)) this.take(known, batch);
    if (missing.length > 0) this.options.onRun?.();
  }

  private take({ scores, known }: Known, { examples, logits }: LogitsBatch): void {
    scoreInto(scores, logits, examples, this.labels);
    for (let r = 0; r < examples.length; r++) known[examples[r] as number] = 1;
  }

  private async *run(mix: Mix, order: Int32Array): AsyncIterable<LogitsBatch> {
    if (order.length === 0) return;
    const { signal, soup } = this.options;
    const candidate = makeCandidate('compare', this.models, mix, { ...soup, signal });
    let seen = 0;
    for await (const batch of this.evaluator.batches(candidate, order, { beta: 1, signal })) {
      throwIfAborted(signal);
      seen += batch.examples.length;
      this.examplesRun += batch.examples.length;
      yield batch;
    }
    if (seen !== order.length)
      throw new StockpotError('USAGE', `the evaluator gave ${seen} of ${order.length} examples`);
  }
}

/** Scores of some examples, as if they were the set. */
const part = (s: Scores, examples: Int32Array): Scores => ({
  prediction: Int32Array.from(examples, (i) => s.prediction[i] as number),
  loss: Float64Array.from(examples, (i) => s.loss[i] as number),
  margin: Float64Array.from(examples, (i) => s.margin[i] as number),
  confidence: Float64Array.from(examples, (i) => s.confidence[i] as number),
});

/** How many of these examples are right. */
export function rightOf(scores: Scores, labels: Int32Array, examples: Int32Array): number {
  let right = 0;
  for (const i of examples) if (scores.prediction[i] === labels[i]) right++;
  return right;
}
