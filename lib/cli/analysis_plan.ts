import { showBytes } from '../bytes.js';
import { openCheckpoint } from '../checkpoint/open.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { comparable } from '../merge/gram.js';
import { type MatchOptions, matchTensors } from '../merge/match.js';
import { tensorBytes } from '../merge/plan.js';
import { plural } from './parse.js';
import type { Outcome } from './run.js';

/**
 * What --dry-run says of an analysis: nothing but the checkpoints' structure is read, and every mismatch is told.
 * @param evaluations how many mixes would be evaluated
 * @param pass whether all weights would be compared in a pass over the files
 */
export async function analysisPlan(
  paths: readonly string[],
  options: MatchOptions & { key?: string },
  evaluations: number,
  pass: boolean,
): Promise<Outcome> {
  const checkpoints: Checkpoint[] = [];
  for (const p of paths) checkpoints.push(await openCheckpoint(p, { key: options.key }));
  const { tensors, notes } = await matchTensors(checkpoints, options);
  const compared = pass ? comparable(tensors) : [];
  const bytesRead = compared
    .flatMap((t) => t.entries)
    .reduce((sum, e) => sum + tensorBytes(e as TensorEntry), 0);
  const reads = pass ? ` compares ${showBytes(bytesRead)} of weights in one pass,` : '';
  return {
    json: { checkpoints: paths, tensors: tensors.length, evaluations, bytesRead, dryRun: true },
    lines: [
      `${plural(paths.length, 'checkpoint')} of ${plural(tensors.length, 'tensor')}:${reads} evaluates ${plural(evaluations, 'mix').replace(/s$/, 'es')}`,
    ],
    notes,
  };
}
