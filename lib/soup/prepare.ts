import { findDuplicates } from '../checkpoint/duplicates.js';
import { openAll } from '../checkpoint/open_all.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { groupMixture, groupTensors, meanWeights } from '../merge/groups.js';
import { initialisationWarnings } from '../merge/initialisation.js';
import { type Matched, matchTensors } from '../merge/match.js';
import { type PlannedTensor, planTensors } from '../merge/plan.js';
import { resolveWeights, type Weighting } from '../merge/weights.js';
import type { RecipeOptions } from './soup.js';

/** Opens, checks and matches the ingredients, and plans every tensor of the soup. Nothing is written. */
export async function prepareSoup(
  ingredients: readonly (string | Checkpoint)[],
  options: RecipeOptions,
) {
  if (ingredients?.length === 0)
    throw new StockpotError('USAGE', 'expected at least one ingredient');
  const checkpoints = await openAll(ingredients, options);
  const { tensors: matched, left, notes } = await matchTensors(checkpoints, options);
  const { weighting, mixture } = await chooseWeights(checkpoints, matched, options);
  const tensors = planTensors(matched, mixture, options.dtype ?? 'keep');
  const averaged = (t: PlannedTensor) =>
    /\.running_(mean|var)$/.test(t.name) && !options.statistics?.has(t.name);
  const warnings = tensors.some(averaged)
    ? [
        "Batch-norm statistics are averaged like weights; they are not those of the soup's own activations.",
      ]
    : [];
  for (const group of await findDuplicates(checkpoints, options)) {
    warnings.push(
      `Ingredients ${group.join(', ')} (${group.map((i) => checkpoints[i]?.path).join(', ')}) hold the same tensors; each counts.`,
    );
  }
  // A dry run reads no tensors.
  if (!options.dryRun)
    warnings.push(...(await initialisationWarnings(checkpoints, matched, options)));
  if (left.length > 0)
    notes.push(
      `${left.length === 1 ? '1 tensor is' : `${left.length} tensors are`} left out by --include/--exclude.`,
    );
  return {
    checkpoints,
    weighting,
    tensors,
    warnings,
    notes: [...checkpoints.flatMap((c) => c.notes), ...notes],
  };
}

/** The weights of the whole soup (for groups of tensors: their mean), and those of each tensor. */
async function chooseWeights(
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  { weights, normalize, mixture }: RecipeOptions,
) {
  const k = checkpoints.length;
  if (!mixture) {
    const weighting = resolveWeights(k, weights, normalize);
    return { weighting, mixture: weighting };
  }
  const grouping = await groupTensors(checkpoints, matched, mixture.by);
  const weighting: Weighting = {
    weights: meanWeights(grouping, mixture.alpha, k),
    members: [...Array(k).keys()].filter((i) =>
      grouping.names.some((g) => mixture.alpha[g]?.[i] !== 0),
    ),
    equal: false,
  };
  return { weighting, mixture: await groupMixture(checkpoints, matched, mixture) };
}

/** What is known of a soup before it is computed. */
export type Prepared = Awaited<ReturnType<typeof prepareSoup>>;
