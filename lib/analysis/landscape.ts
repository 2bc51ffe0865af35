import type { OpenOptions } from '../checkpoint/open.js';
import { openAll } from '../checkpoint/open_all.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { comparable, gramOf } from '../merge/gram.js';
import { withoutTiedCopies } from '../merge/groups.js';
import { initialisationWarnings } from '../merge/initialisation.js';
import { type MatchOptions, matchTensors } from '../merge/match.js';
import type { RunOptions } from '../progress.js';
import { Mixes, type MixOptions, type Score } from './mixes.js';
import { axis, Plane, type PlanePoint } from './plane.js';
import { Steps } from './steps.js';

export interface LandscapeOptions extends MixOptions, MatchOptions, OpenOptions, RunOptions {
  /** Points a side: grid × grid are evaluated. 11 by default. */
  grid?: number;
  /** How far the grid reaches beyond the checkpoints, as a share of their range. 0.25 by default. */
  margin?: number;
  /**
   * Checkpoints that are marked where they lie nearest in the plane: soups. The evaluator's ingredients are the three
   * checkpoints and these.
   */
  soups?: readonly (string | Checkpoint)[];
  /** Told of each point as it is known. */
  onPoint?: (point: LandscapePoint) => void;
}

/** A point of the grid, and how good the network there is. */
export interface LandscapePoint extends PlanePoint, Score {
  /** Weights of the three checkpoints; they sum to 1. */
  weights: [number, number, number];
}

/** A checkpoint and where it lies. */
export interface Mark extends PlanePoint, Score {
  /** Path as given. */
  model: string;
  /** What the checkpoint is in the picture. */
  role: 'base' | 'ingredient' | 'soup';
  /** From the plane; 0 for those that it goes through. The score is the checkpoint's own, not its projection's. */
  distance: number;
}

/** Loss and accuracy on a grid in the plane through three checkpoints; coordinates in units of the weights' norm. */
export interface Landscape {
  /** The base and the two ingredients: paths as given. */
  checkpoints: string[];
  /** Coordinates of the grid's columns and rows, in units of the weights' norm. */
  x: number[];
  y: number[];
  /** Row by row, x fastest. */
  points: LandscapePoint[];
  marks: Mark[];
  seconds: number;
  warnings: string[];
  notes: string[];
}

/**
 * Loss and accuracy on a grid in the plane through three checkpoints (Wortsman et al. 2022, figure 2 and appendix). Mixes
 * are evaluated in float32 where the evaluator was opened with `dtype: 'f32'`: rounding points of the plane to 16 bits
 * would put noise on it.
 * @param checkpoints the base, which is the origin, and two ingredients
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function landscape(
  checkpoints: readonly (string | Checkpoint)[],
  options: LandscapeOptions,
): Promise<Landscape> {
  const began = performance.now();
  const { grid = 11, margin = 0.25 } = options;
  check(checkpoints, grid, margin);
  const all = await openAll([...checkpoints, ...(options.soups ?? [])], options);
  const { tensors: matched, notes } = await matchTensors(all, options);
  const tensors = await withoutTiedCopies(all, comparable(matched));
  const { groups } = await gramOf(all, tensors, { ...options, phase: 'plane' });
  const gram = groups[0]?.gram;
  const plane = gram && Plane.through(gram);
  if (!plane) throw onALine(all);
  const places = all.map((_, i) => {
    const corner = plane.corners[i];
    return corner ? { ...corner, distance: 0 } : plane.project(gram, i);
  });
  const [x, y] = (['x', 'y'] as const).map((side) =>
    axis(
      places.map((p) => p[side]),
      grid,
      margin,
    ),
  ) as [number[], number[]];
  const mixes = await Mixes.open(all, options);
  const steps = new Steps('landscape', grid * grid + all.length, options.onProgress);
  const score = async (weights: readonly number[]): Promise<Score> => {
    const found = await mixes.score(all.map((_, i) => weights[i] ?? 0));
    steps.step();
    return found;
  };
  const marks: Mark[] = [];
  for (const [i, place] of places.entries())
    marks.push({
      model: (all[i] as Checkpoint).path,
      role: i === 0 ? 'base' : i < 3 ? 'ingredient' : 'soup',
      ...place,
      ...(await score(all.map((_, j) => (i === j ? 1 : 0)))),
    });
  const points: LandscapePoint[] = [];
  for (const row of y) {
    for (const column of x) {
      const weights = plane.weights({ x: column, y: row });
      const point = { x: column, y: row, weights, ...(await score(weights)) };
      points.push(point);
      options.onPoint?.(point);
    }
  }
  return {
    checkpoints: all.slice(0, 3).map((c) => c.path),
    x,
    y,
    points,
    marks,
    seconds: (performance.now() - began) / 1000,
    warnings: await initialisationWarnings(all, matched, options, (i) => all[i]?.path ?? ''),
    notes: [...all.flatMap((c) => c.notes), ...notes],
  };
}

function check(checkpoints: readonly unknown[], grid: number, margin: number): void {
  if (checkpoints.length !== 3)
    throw new StockpotError(
      'USAGE',
      `expected three checkpoints, which a plane goes through, but received ${checkpoints.length}`,
      { remedy: 'Name the base and two ingredients; soups that are to be marked go to --soup.' },
    );
  if (!Number.isInteger(grid) || grid < 2 || grid > 1024)
    throw new StockpotError('USAGE', `grid must be an integer from 2 to 1024 but received ${grid}`);
  if (!(margin >= 0 && margin <= 100))
    throw new StockpotError('USAGE', `margin must be from 0 to 100 but received ${margin}`);
}

const onALine = (all: readonly Checkpoint[]): StockpotError =>
  new StockpotError(
    'MISMATCH',
    `${all
      .slice(0, 3)
      .map((c) => c.path)
      .join(', ')}: lie on one line, so no plane goes through them`,
    { remedy: 'Two of them are the same, or one is a mix of the others: see --line.' },
  );
