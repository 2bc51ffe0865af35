import type { Checkpoint } from '../checkpoint/types.js';
import { passOf } from './example_progress.js';
import { allMetrics, type Metrics } from './metrics.js';
import { type EvaluationOptions, Session } from './session.js';

export interface ModelMetrics extends Metrics {
  /** Path as given. */
  model: string;
}

export interface Evaluation {
  models: ModelMetrics[];
  notes: string[];
}

/**
 * Evaluates models of one architecture on the same prepared data.
 * @throws StockpotError
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
