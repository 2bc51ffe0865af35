import type { Checkpoint } from '../checkpoint/types.js';
import { type EvaluationOptions, Session } from './session.js';

/** What evaluating models on data would take. */
export interface EvaluationPlan {
  dryRun: true;
  /** Paths as given. */
  ingredients: string[];
  /** Examples; null for a program without data. */
  n: number | null;
  /** Of the network; this and what follows is null for a program, which decides it itself. */
  classes: number | null;
  /** Examples at a time. */
  batchSize: number | null;
  /** Bytes of weights that are read in all. */
  bytesRead: number;
  /** Bytes that are held: weights and activations (of a graph, weights); prepared data. */
  networkBytes: number | null;
  dataBytes: number;
  threads: number | null;
  notes: string[];
}

/**
 * Checks all that can be checked without running the network: opens and matches the models, prepares the data, plans the
 * network's memory.
 * @throws StockpotError as the evaluation would
 */
export async function planEvaluation(
  models: readonly (string | Checkpoint)[],
  options: EvaluationOptions,
): Promise<EvaluationPlan> {
  const session = await Session.open(models, options);
  try {
    const { checkpoints, data, network } = session;
    return {
      dryRun: true,
      ingredients: checkpoints.map((c) => c.path),
      n: data.count,
      classes: network.numClasses,
      batchSize: network.batch,
      bytesRead: session.weightBytes,
      networkBytes: network.bytes,
      dataBytes: data.heldBytes ?? 0,
      threads: network.threads,
      notes: [...session.notes],
    };
  } finally {
    await session.close();
  }
}
