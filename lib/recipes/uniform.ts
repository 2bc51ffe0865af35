import type { Writable } from 'node:stream';
import { openCheckpoint } from '../checkpoint/open.js';
import { openAll } from '../checkpoint/open_all.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { openDataSet } from '../data/open.js';
import { StockpotError } from '../errors.js';
import type { EvaluationOptions } from '../evaluate/session.js';
import { matchTensors } from '../merge/match.js';
import { planTensors } from '../merge/plan.js';
import { resolveWeights } from '../merge/weights.js';
import { BATCH, batchNormStatistics } from '../onnx/batch_norm.js';
import type { RunOptions } from '../progress.js';
import { makeSoup } from '../soup/make.js';
import type { Soup, SoupOptions } from '../soup/soup.js';

export interface UniformOptions extends SoupOptions, RunOptions {
  /**
   * Compute batch-norm statistics again, on data that a graph is run on, in place of averaging them. With one ingredient:
   * for a soup that any recipe made.
   */
  recomputeBatchNorm?: Pick<
    EvaluationOptions,
    | 'data'
    | 'config'
    | 'cacheMemory'
    | 'skipBad'
    | 'batchSize'
    | 'graphWeights'
    | 'graphKeep'
    | 'device'
  > & { graph: string };
}

/**
 * The uniform soup: the mean of all ingredients' weights (Wortsman et al. 2022, section 2, recipe 1), from disk to
 * disk in one streaming pass. The mean is the float64 one, rounded once; see docs/numerics.md.
 *
 * @param ingredients paths of checkpoints (files or folders), or open checkpoints; at least one
 * @param output a path (`*.safetensors` is a file, anything else a folder) or a writable stream, which gets a
 *   safetensors file and is ended
 * @throws StockpotError; on failure and on abort nothing is left behind
 */
export async function uniform(
  ingredients: readonly (string | Checkpoint)[],
  output: string | Writable,
  options: UniformOptions = {},
): Promise<Soup> {
  const { recomputeBatchNorm: again } = options;
  if (!again || options.dryRun) return makeSoup('uniform', ingredients, output, options);
  if (typeof output !== 'string') {
    throw new StockpotError(
      'USAGE',
      'batch-norm statistics are computed again for an output on disk',
      {
        remedy: 'Name a file or folder in place of a stream.',
      },
    );
  }
  const checkpoints = await openAll(ingredients, options);
  await makeSoup('uniform', checkpoints, output, { ...options, dryRun: true });
  const { statistics, examples } = await recompute(checkpoints, again, options);
  const { graph, data } = again;
  const batchSize = batchOf(again);
  const details = { recomputedBatchNorm: { graph, data, examples, batchSize } };
  return makeSoup('uniform', checkpoints, output, { ...options, statistics }, details);
}

/** Statistics are of batches, so their size is not left to the memory that there is. */
const batchOf = ({ batchSize }: Pick<EvaluationOptions, 'batchSize'>): number =>
  typeof batchSize === 'number' ? batchSize : BATCH;

async function recompute(
  checkpoints: readonly Checkpoint[],
  again: NonNullable<UniformOptions['recomputeBatchNorm']>,
  options: UniformOptions,
): Promise<{ statistics: Map<string, Float32Array>; examples: number }> {
  const { tensors: matched } = await matchTensors(checkpoints, options);
  const weighting = resolveWeights(checkpoints.length, options.weights, options.normalize);
  const planned = planTensors(matched, weighting, options.dtype ?? 'keep');
  const model = (checkpoints[0] as Checkpoint).path;
  const { signal, threads, memory } = options;
  const data = await openDataSet(again.data, { ...again, model, signal, threads, memory });
  try {
    const { graph, graphWeights, graphKeep: keep, device } = again;
    const batchSize = batchOf(again);
    const exportedFrom = graphWeights ? await openCheckpoint(graphWeights) : undefined;
    const how = { keep, exportedFrom, batchSize, device, signal, threads, memory };
    const statistics = await batchNormStatistics(graph, checkpoints, matched, planned, data, how);
    return { statistics, examples: data.count };
  } finally {
    await data.close();
  }
}
