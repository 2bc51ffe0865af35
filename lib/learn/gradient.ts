import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { NativeEvaluator } from '../evaluate/native_evaluator.js';
import { type EvaluationOptions, Session } from '../evaluate/session.js';
import { BY, type By, groupTensors } from '../merge/groups.js';
import { resolveWeights } from '../merge/weights.js';

export interface GradientCallOptions extends EvaluationOptions {
  /** Mixing coefficients, one an ingredient; 1/k each by default. */
  weights?: readonly number[];
  /** The logits are multiplied by it; 1 by default. */
  beta?: number;
  /** Also the derivatives by the coefficients of each layer, or of each tensor. */
  by?: By;
}

/** The loss of a mix, in nats, and its derivatives by the coefficients and by β. */
export interface Gradient {
  /** Mean cross-entropy of β·logits on all examples, in nats. */
  loss: number;
  /** d loss / d alpha_i = ⟨d loss / d θ, θ_i⟩, one an ingredient; buffers count as constants. */
  alpha: number[];
  /** d loss / d β. */
  beta: number;
  /** The same, restricted to a layer's tensors, or to one tensor. */
  byLayer?: Record<string, number[]>;
  byTensor?: Record<string, number[]>;
  notes: string[];
}

/**
 * The loss of a mix of the ingredients on labelled data, and its derivatives by the mixing coefficients: one backward
 * pass, and one pass over the ingredients for the dot products, accumulated in float64. For a graph, central differences.
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function gradient(
  ingredients: readonly (string | Checkpoint)[],
  options: GradientCallOptions,
): Promise<Gradient> {
  const { by = 'model', beta = 1 } = options;
  if (!BY.includes(by)) {
    throw new StockpotError(
      'USAGE',
      `expected by to be one of ${BY.join(', ')} but received ${by}`,
    );
  }
  if (!Number.isFinite(beta))
    throw new StockpotError('USAGE', `expected beta to be a finite number but received ${beta}`);
  const session = await Session.open(ingredients, options);
  try {
    const { checkpoints, matched, data } = session;
    const k = checkpoints.length;
    const { weights } = resolveWeights(k, options.weights);
    const grouping = await groupTensors(checkpoints, matched, by);
    const evaluator = new NativeEvaluator(session);
    // As many as fit are taken anyway where no number is given.
    const batch = options.batchSize === 'auto' ? undefined : options.batchSize;
    const objective = await evaluator.objective({
      ...options,
      grouping,
      examples: data.count,
      batch,
    });
    try {
      const row = Float64Array.from(weights);
      const all = Int32Array.from({ length: data.count }, (_, i) => i);
      const found = await objective.gradient(
        { alpha: grouping.names.map(() => row), beta },
        all,
        options,
      );
      const alpha = weights.map((_, i) =>
        found.alpha.reduce((sum, g) => sum + (g[i] as number), 0),
      );
      const named = () =>
        Object.fromEntries(
          grouping.names.map((n, g) => [n, [...(found.alpha[g] as Float64Array)]]),
        );
      return {
        loss: found.loss,
        alpha,
        beta: found.beta,
        ...(by === 'layer' && { byLayer: named() }),
        ...(by === 'tensor' && { byTensor: named() }),
        notes: [...session.notes],
      };
    } finally {
      await objective.close();
    }
  } finally {
    await session.close();
  }
}
