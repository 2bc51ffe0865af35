import type { Checkpoint } from '../../checkpoint/types.js';
import type { Grouping } from '../../merge/groups.js';
import { evolve, GENERATIONS } from './evolution.js';
import { type LearnedOptions, parametrisationOf } from './options.js';
import type { Search } from './search.js';
import { stepTeller } from './steps.js';

/** Coefficients by CMA-ES, for metrics without derivatives: steps are generations. */
export function planEvolution(
  checkpoints: readonly Checkpoint[],
  grouping: Grouping,
  options: LearnedOptions,
): Search {
  const { metric = 'accuracy', steps = GENERATIONS, seed = 0, temperature = true } = options;
  const run = async () => {
    const tell = stepTeller(options, steps);
    const { best, loss } = await evolve(checkpoints, {
      ...options,
      metric,
      grouping,
      parametrisation: parametrisationOf(options),
      generations: steps,
      seed,
      temperature,
      onGeneration: (g, { metrics, beta }) => tell(g, metrics.loss ?? Number.NaN, beta),
    });
    const { alpha, beta, metrics } = best;
    const details = { optimizer: 'cma', metric, seed, steps, beta, metrics, loss };
    return { alpha, beta, loss, steps, metrics, details, warnings: [] };
  };
  return { steps, run };
}
