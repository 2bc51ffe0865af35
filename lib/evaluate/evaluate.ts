import { throwIfAborted } from '../checkpoint/job.js';
import type { Checkpoint } from '../checkpoint/types.js';
import type { RunOptions } from '../progress.js';
import type { SoupOptions } from '../soup/soup.js';
import { makeCandidate } from './candidate.js';
import { askEvaluator, saidBy, type WholeEvaluator } from './evaluator.js';
import { passOf } from './example_progress.js';
import { allMetrics, type Metric, type Metrics } from './metrics.js';
import { type EvaluationOptions, Session } from './session.js';

export interface ModelMetrics extends Metrics {
  /** Path as given. */
  model: string;
}

/** What each model reaches on the same data. */
export interface Evaluation {
  models: ModelMetrics[];
  notes: string[];
}

/**
 * Evaluates models of one architecture on the same prepared data.
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function evaluate(
  models: readonly (string | Checkpoint)[],
  options: EvaluationOptions,
): Promise<Evaluation> {
  const session = await Session.open(models, options);
  try {
    const results: ModelMetrics[] = [];
    for (const [i, c] of session.checkpoints.entries()) {
      await session.load([i]);
      const onProgress = passOf(options, i + 1, models.length);
      const logits = await session.logits(undefined, { onProgress });
      results.push({ model: c.path, ...allMetrics(logits, session.data.labels) });
    }
    return { models: results, notes: [...session.notes] };
  } finally {
    await session.close();
  }
}

/** What an evaluator said; null where it did not. */
export type SaidMetrics = { model: string } & { [K in keyof Metrics]: number | null };

/**
 * Evaluates models by a function or a program, each as a soup of itself alone.
 * @param metric what a bare number stands for
 * @throws StockpotError
 */
export async function evaluateWith(
  models: readonly Checkpoint[],
  evaluator: WholeEvaluator,
  metric: Metric,
  options: SoupOptions & RunOptions,
): Promise<SaidMetrics[]> {
  const results: SaidMetrics[] = [];
  for (const model of models) {
    throwIfAborted(options.signal);
    const soup = makeCandidate('uniform', [model], [1], options);
    const given = await askEvaluator(evaluator, soup, { beta: 1, signal: options.signal });
    throwIfAborted(options.signal);
    const { metrics } = saidBy(metric, given, evaluator.labels);
    const said = (name: keyof Metrics) => metrics[name] ?? null;
    const n = said('n') ?? evaluator.labels?.length ?? null;
    const [accuracy, loss, ece] = [said('accuracy'), said('loss'), said('ece')];
    results.push({
      model: model.path,
      n,
      accuracy,
      loss,
      ece,
      f1: said('f1'),
      matthews: said('matthews'),
    });
  }
  return results;
}
