import { type ExecuteOptions, execute, judge } from '../merge/execute.js';
import type { PlannedTensor } from '../merge/plan.js';
import type { Shard } from '../merge/shards.js';
import type { MergeResult } from '../native.js';
import type { Prepared } from './prepare.js';
import type { RecipeOptions } from './soup.js';

/** Runs the plan natively, and judges what the data held. @throws StockpotError */
export async function run(
  prepared: Prepared,
  shards: Shard[],
  outputs: ExecuteOptions['outputs'],
  sink: ExecuteOptions['sink'],
  options: RecipeOptions,
): Promise<{ result: MergeResult; warnings: string[] }> {
  const { checkpoints } = prepared;
  const result = await execute(checkpoints, shards, {
    ...options,
    sink,
    outputs,
    hashInputs: options.hash === true && sink === 'file',
  });
  const tensors: PlannedTensor[] = shards.flatMap((s) => s.tensors);
  return { result, warnings: judge(result.findings, tensors, checkpoints, options) };
}
