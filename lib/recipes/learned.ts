import type { Writable } from 'node:stream';
import { openAll } from '../checkpoint/open_all.js';
import type { Checkpoint } from '../checkpoint/types.js';
import type { Metrics } from '../evaluate/metrics.js';
import { coefficients, startOf } from '../learn/parametrisation.js';
import type { LearningPlan } from '../learn/plan.js';
import { type By, type Grouping, groupTensors } from '../merge/groups.js';
import { matchTensors } from '../merge/match.js';
import { makeSoup } from '../soup/make.js';
import type { Soup } from '../soup/soup.js';
import { planDescent } from './learned/by_descent.js';
import { planEvolution } from './learned/by_evolution.js';
import { checkOptions, type LearnedOptions, parametrisationOf } from './learned/options.js';

/** A learned soup: its coefficients, β, and the loss of every step. */
export interface LearnedSoup extends Soup {
  by: By;
  /** Mixing coefficients: one an ingredient, or such a row for each group. */
  alpha: number[] | Record<string, number[]>;
  /** The logits' factor; it is not folded into the weights. */
  beta: number;
  /** Per step, of its examples, before its update. */
  loss: number[];
  /** Of the soup on all held-out examples; null in a dry run. */
  accuracy: number | null;
  /** Of the soup with β on all held-out examples; what the evaluator says. */
  metrics: Partial<Metrics> | null;
  steps: number;
  /** In a dry run: what the run would hold in memory and read. */
  plan?: LearningPlan;
}

/**
 * The learned soup (Wortsman et al. 2022, appendix I): mixing coefficients of the ingredients, for the whole model or for
 * each layer or tensor, and a temperature, by gradient descent on the held-out loss. The gradient is exact; memory does
 * not grow with the number of ingredients. The soup is the last iterate.
 *
 * @param ingredients paths of checkpoints (files or folders), or open checkpoints; at least one
 * @param output a path (`*.safetensors` is a file, anything else a folder) or a writable stream
 * @throws StockpotError; on failure and on abort nothing is left behind but what `resume` keeps
 */
export async function learned(
  ingredients: readonly (string | Checkpoint)[],
  output: string | Writable,
  options: LearnedOptions,
): Promise<LearnedSoup> {
  checkOptions(options);
  const began = performance.now();
  const { by = 'model' } = options;
  const parametrisation = parametrisationOf(options);
  const checkpoints = await openAll(ingredients, options);
  // All that can be refused is refused before anything is evaluated.
  const plan = await makeSoup('learned', checkpoints, output, { ...options, dryRun: true });
  const { tensors: matched } = await matchTensors(checkpoints, options);
  const grouping = await groupTensors(checkpoints, matched, by);
  const search =
    options.optimizer === 'cma'
      ? planEvolution(checkpoints, grouping, options)
      : planDescent(checkpoints, matched, grouping, options);
  if (options.dryRun) {
    const row = coefficients(parametrisation, startOf(parametrisation, checkpoints.length));
    const start = grouping.names.map(() => row);
    return {
      ...plan,
      by,
      alpha: named(grouping, start),
      beta: 1,
      loss: [],
      accuracy: null,
      metrics: null,
      steps: search.steps,
      ...(search.plan ? { plan: search.plan, memory: search.plan.memory } : {}),
    };
  }
  const { beta, loss, steps, metrics, warnings, ...found } = await search.run();
  const alpha = named(grouping, found.alpha);
  const weights = Array.isArray(alpha)
    ? { weights: alpha }
    : { mixture: { by: by as 'layer' | 'tensor', alpha } };
  const details = { by, parametrisation, ...found.details };
  const soup = await makeSoup('learned', checkpoints, output, { ...options, ...weights }, details);
  return {
    ...soup,
    seconds: (performance.now() - began) / 1000,
    warnings: [...soup.warnings, ...warnings],
    by,
    alpha,
    beta,
    loss,
    accuracy: metrics.accuracy ?? null,
    metrics,
    steps,
  };
}

/** Coefficients as users get them: [k], or by group. */
function named(
  { by, names }: Grouping,
  alpha: readonly (readonly number[] | Float64Array)[],
): LearnedSoup['alpha'] {
  const rows = alpha.map((row) => [...row]);
  if (by === 'model') return rows[0] as number[];
  return Object.fromEntries(names.map((name, g) => [name, rows[g] as number[]]));
}
