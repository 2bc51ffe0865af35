import { join } from 'node:path';
import { openCheckpoint } from '../../checkpoint/open.js';
import type { Checkpoint } from '../../checkpoint/types.js';
import { TemporaryFolder } from '../../checkpoint/unfinished.js';
import { StockpotError } from '../../errors.js';
import { NativeEvaluator } from '../../evaluate/native_evaluator.js';
import { type EvaluationOptions, Session } from '../../evaluate/session.js';
import type { By } from '../../merge/groups.js';
import { learned } from '../../recipes/learned.js';

/** A learned soup: a checkpoint like any other, in a folder that is removed after. */
export interface LearnedModel {
  by: By;
  checkpoint: Checkpoint;
  /** One an ingredient; null where they differ from group to group. */
  weights: number[] | null;
}

export interface LearnedModels {
  models: LearnedModel[];
  notes: string[];
  remove(): Promise<void>;
}

/** Makes the learned soups of the ingredients on the held-out set, as `learned` makes them by default. */
export async function makeLearned(
  ingredients: readonly Checkpoint[],
  by: readonly By[],
  options: EvaluationOptions & { seed: number },
): Promise<LearnedModels> {
  if (by.length === 0) return { models: [], notes: [], remove: async () => {} };
  const folder = await TemporaryFolder.make('compare');
  const remove = () => folder.remove();
  const models: LearnedModel[] = [];
  const notes: string[] = [];
  try {
    const session = await Session.open(ingredients, options);
    try {
      const evaluator = new NativeEvaluator(session);
      for (const group of by) {
        const output = join(folder.path, `learned-${group}.safetensors`);
        const { batchSize: _, graph, device, ...rest } = options;
        const soup = await learned(ingredients, output, {
          ...rest,
          // A graph's device is not that of the merge.
          device: graph === undefined ? device : undefined,
          evaluator,
          by: group,
        });
        const weights = Array.isArray(soup.alpha) ? soup.alpha : null;
        models.push({ by: group, checkpoint: await openCheckpoint(output), weights });
        notes.push(...soup.warnings);
      }
    } finally {
      await session.close();
    }
  } catch (e) {
    // Not every network has a backward pass.
    if (!(e instanceof StockpotError && e.code === 'UNSUPPORTED')) {
      await remove();
      throw e;
    }
    notes.push(`There is no learned soup: ${e.message}`);
  }
  return { models, notes, remove };
}
