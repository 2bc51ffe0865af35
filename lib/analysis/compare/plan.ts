import { openAll } from '../../checkpoint/open_all.js';
import type { Checkpoint } from '../../checkpoint/types.js';
import { openPanel } from './open_panel.js';
import { type CompareOptions, check, listSets, mostMixes } from './options.js';

/** What a comparison would do: sets, mixes and the cost of a prediction. */
export interface ComparisonPlan {
  ingredients: string[];
  sets: { name: string; path: string; n: number }[];
  /** Mixes that are run on each set, at most. */
  mixes: number;
  /** Of all predictions together, at most; learned soups and subsets not counted. */
  flops: number | null;
  dryRun: true;
}

/**
 * What `compare` would do: opens and checks everything, and runs nothing.
 * @throws StockpotError
 */
export async function planComparison(
  ingredients: readonly (string | Checkpoint)[],
  options: CompareOptions,
): Promise<ComparisonPlan> {
  const settings = check(ingredients.length, options);
  const { base, soups = [] } = options;
  const named = [...ingredients, ...(base === undefined ? [] : [base]), ...soups];
  const models = await openAll(named, options);
  const k = ingredients.length;
  const mixes = mostMixes(models.length + settings.learned.length, k, settings);
  const sets: ComparisonPlan['sets'] = [];
  let flops: number | null = 0;
  for (const { name, data } of listSets(options)) {
    const { panel, about, close } = await openPanel(models, name, data, options, mixes);
    const n = panel.labels.length;
    sets.push({ name, path: about.path, n });
    flops = flops === null || about.flops === null ? null : flops + about.flops * n * mixes;
    await close();
  }
  return {
    ingredients: models.slice(0, k).map((m) => m.path),
    sets,
    mixes,
    flops,
    dryRun: true,
  };
}
