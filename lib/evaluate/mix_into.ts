import type { Sources } from '../checkpoint/source_table.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { type Allowances, execute, judge } from '../merge/execute.js';
import type { PlannedTensor } from '../merge/plan.js';
import type { Graph } from '../models/graph.js';
import type { NetworkHandle } from '../native.js';
import type { RunOptions } from '../progress.js';

/**
 * Mixes those of these tensors that are the graph's into its weights, rounded as the soup on disk would be.
 * @param run.allowNonfinite what of the soup's options lets through is no error here either
 * @param run.sources where the ingredients are read from, in place of their files
 * @throws StockpotError NONFINITE, OVERFLOW, …, as for a soup on disk
 */
export async function mixInto(
  { graph, handle }: { graph: Graph; handle: NetworkHandle },
  checkpoints: readonly Checkpoint[],
  tensors: readonly PlannedTensor[],
  run: RunOptions & Allowances & { sources?: Sources },
): Promise<void> {
  const ids = new Map(graph.weights.map((w, i) => [w.name, i]));
  const used = tensors.filter((t) => ids.has(t.storedName));
  if (used.length === 0) return;
  const { findings } = await execute(checkpoints, [{ name: '', tensors: used }], {
    ...run,
    onProgress: undefined,
    sink: 'network',
    network: { handle, weights: Float64Array.from(used, (t) => ids.get(t.storedName) as number) },
    outputs: [{ fd: -1, prefix: new Uint8Array(), path: '' }],
  });
  judge(findings, used, checkpoints, run);
}

/**
 * @param names of the soup's tensors, as they are stored
 * @throws StockpotError MISMATCH where a weight of the graph is not among them
 */
export function requireWeights(graph: Graph, names: ReadonlySet<string | undefined>): void {
  const missing = graph.weights.find((w) => !names.has(w.name));
  if (!missing) return;
  throw new StockpotError(
    'MISMATCH',
    `the soup has no tensor "${missing.name}", which the network needs`,
    { tensor: missing.name, remedy: 'Do not leave it out with --include or --exclude.' },
  );
}
