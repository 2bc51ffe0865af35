import type { OpenOptions } from '../checkpoint/open.js';
import { openAll } from '../checkpoint/open_all.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { Evaluator } from '../evaluate/evaluator.js';
import { initialisationWarnings } from '../merge/initialisation.js';
import { type MatchOptions, matchTensors } from '../merge/match.js';
import type { RunOptions } from '../progress.js';
import { Mixes, type MixOptions, type Score } from './mixes.js';
import { Steps } from './steps.js';

export interface LineOptions
  extends Omit<MixOptions, 'evaluator'>,
    MatchOptions,
    OpenOptions,
    RunOptions {
  /** By data set: the held-out one, and any number of shifted ones. Their ingredients are the two checkpoints. */
  evaluators: ReadonlyMap<string, Evaluator>;
  /** Number of points, both ends included. 11 by default. */
  grid?: number;
  /** How far the line reaches beyond its ends, as a share of its length. 0 by default. */
  margin?: number;
  /** Told of each point as it is evaluated. */
  onPoint?: (point: LinePoint) => void;
}

/** One point of the line: `alpha` 0 is the first checkpoint, 1 the second. */
export interface LinePoint {
  /** (1 − alpha) · the first checkpoint + alpha · the second. */
  alpha: number;
  /** By data set. */
  scores: Record<string, Score>;
}

/** Loss and accuracy on the line between two checkpoints, on one or more data sets. */
export interface Line {
  /** Paths as given. */
  checkpoints: string[];
  points: LinePoint[];
  seconds: number;
  warnings: string[];
  notes: string[];
}

/**
 * Loss and accuracy on the line between two checkpoints, on any number of data sets: from a base to a fine-tuned model or
 * a soup, held-out against shifted, it is the curve of WiSE-FT (Wortsman et al. 2021, "Robust fine-tuning of zero-shot
 * models").
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function line(
  checkpoints: readonly (string | Checkpoint)[],
  options: LineOptions,
): Promise<Line> {
  const began = performance.now();
  const { grid = 11, margin = 0, evaluators } = options;
  check(checkpoints, grid, margin);
  const all = await openAll(checkpoints, options);
  const { tensors: matched, notes } = await matchTensors(all, options);
  const sets: [string, Mixes][] = [];
  for (const [name, evaluator] of evaluators)
    sets.push([name, await Mixes.open(all, { ...options, evaluator })]);
  const steps = new Steps('line', grid * sets.length, options.onProgress);
  const points: LinePoint[] = [];
  for (let i = 0; i < grid; i++) {
    const alpha = (i * (1 + 2 * margin)) / (grid - 1) - margin;
    const scores: Record<string, Score> = {};
    for (const [name, mixes] of sets) {
      scores[name] = await mixes.score([1 - alpha, alpha]);
      steps.step();
    }
    const point = { alpha, scores };
    points.push(point);
    options.onPoint?.(point);
  }
  return {
    checkpoints: all.map((c) => c.path),
    points,
    seconds: (performance.now() - began) / 1000,
    warnings: await initialisationWarnings(all, matched, options, (i) => all[i]?.path ?? ''),
    notes: [...all.flatMap((c) => c.notes), ...notes],
  };
}

function check(checkpoints: readonly unknown[], grid: number, margin: number): void {
  if (checkpoints.length !== 2)
    throw new StockpotError(
      'USAGE',
      `expected the two ends of a line but received ${checkpoints.length} checkpoints`,
    );
  if (!Number.isInteger(grid) || grid < 2 || grid > 100_000)
    throw new StockpotError(
      'USAGE',
      `grid must be an integer from 2 to 100000 but received ${grid}`,
    );
  if (!(margin >= 0 && margin <= 100))
    throw new StockpotError('USAGE', `margin must be from 0 to 100 but received ${margin}`);
}
