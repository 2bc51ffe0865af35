import type { OpenOptions } from '../checkpoint/open.js';
import { openAll } from '../checkpoint/open_all.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { Evaluator } from '../evaluate/evaluator.js';
import { comparable, Gram, gramOf } from '../merge/gram.js';
import { layerOf, withoutTiedCopies } from '../merge/groups.js';
import { initialisationWarnings } from '../merge/initialisation.js';
import { type Matched, type MatchOptions, matchTensors } from '../merge/match.js';
import type { RunOptions } from '../progress.js';
import { type Geometry, geometryOf } from './geometry.js';
import type { Score } from './mixes.js';
import { type PairGain, pairGains } from './pair_gains.js';

export interface AnglesOptions extends OpenOptions, MatchOptions, RunOptions {
  /** The checkpoint that the ingredients were fine-tuned from. Without it there are no task vectors, and no angles. */
  base?: string | Checkpoint;
  /** `layer`: also by group of tensors (`layerOf`). */
  by?: 'model' | 'layer';
  /** Evaluates each ingredient and the average of each pair. Its ingredients are `ingredients`, without the base. */
  evaluator?: Evaluator;
  /** Folder where evaluations are kept, so that a run that was killed goes on where it was. */
  resume?: string;
}

export interface Angles extends Geometry {
  /** Paths as given. */
  ingredients: string[];
  base: string | null;
  /** Why there are no angles; null where there are. */
  refused: string | null;
  /** Tensors that were compared: the floating-point ones, tied ones once. */
  tensors: number;
  /** With `by: 'layer'`: the same by group. */
  groups: ({ group: string } & Geometry)[] | null;
  /** With an evaluator: how good each ingredient is, and the average of each pair. */
  models: Score[] | null;
  pairs: PairGain[] | null;
  /** Pearson's, of angle and gain over the pairs; null where it is not defined. */
  correlation: number | null;
  bytesRead: number;
  seconds: number;
  warnings: string[];
  notes: string[];
}

const REFUSED =
  'angles are taken between task vectors, from the checkpoint that the ingredients were fine-tuned from, which --base names';

/**
 * Angles, norms and distances of all pairs of ingredients, in one streamed pass over their files (Wortsman et al. 2022,
 * section 3.3.1: the angle between θ_1 − θ_0 and θ_2 − θ_0, and how it goes with what averaging the two gains).
 * @throws StockpotError; what it says of ingredients and of matching is what `uniform` says
 */
export async function angles(
  ingredients: readonly (string | Checkpoint)[],
  options: AnglesOptions = {},
): Promise<Angles> {
  const began = performance.now();
  const { opened, base, all, matched, notes } = await openMatched(ingredients, options);
  const tensors = await withoutTiedCopies(all, comparable(matched));
  if (tensors.length === 0)
    throw new StockpotError('USAGE', 'the ingredients have no floating-point tensors in common');
  const byLayer = options.by === 'layer';
  const { groups, bytesRead } = await gramOf(all, tensors, {
    ...options,
    groupOf: byLayer ? layerOf : undefined,
  });
  const parts = groups.map((g) => ({
    group: g.name,
    ...geometryOf(g.gram, g.parameters, base !== null),
  }));
  const whole = geometryOf(
    Gram.sum(
      all.length,
      groups.map((g) => g.gram),
    ),
    parts.reduce((sum, p) => sum + p.parameters, 0),
    base !== null,
  );
  const name = (i: number) => `ingredient ${i} (${opened[i]?.path})`;
  const warnings = await initialisationWarnings(all, matched, options, (i) =>
    !base ? name(i) : i === 0 ? `the base (${base.path})` : name(i - 1),
  );
  whole.taskVectors?.norms.forEach((norm, i) => {
    if (norm === 0)
      warnings.push(`${name(i)} equals the base: its task vector has no direction, and no angles.`);
  });
  const gains = options.evaluator
    ? await pairGains(opened, whole, { ...options, evaluator: options.evaluator })
    : { models: null, pairs: null, correlation: null };
  const left = matched.length - comparable(matched).length;
  return {
    ingredients: opened.map((c) => c.path),
    base: base?.path ?? null,
    refused: base ? null : REFUSED,
    tensors: tensors.length,
    ...whole,
    groups: byLayer ? parts : null,
    ...gains,
    bytesRead,
    seconds: (performance.now() - began) / 1000,
    warnings,
    notes:
      left === 0
        ? notes
        : [...notes, `Tensors that are not compared (integers, buffers): ${left}.`],
  };
}

/** The checkpoints, the base first, and their tensors by the first ingredient's names. */
async function openMatched(ingredients: readonly (string | Checkpoint)[], options: AnglesOptions) {
  if (ingredients.length < 2)
    throw new StockpotError('USAGE', 'expected at least two ingredients to compare', {
      remedy: 'Name the ingredients; the checkpoint that they were made from goes to --base.',
    });
  const opened = await openAll(ingredients, options);
  const [base = null] = options.base === undefined ? [] : await openAll([options.base], options);
  const { tensors, notes } = await matchTensors(base ? [...opened, base] : opened, options);
  const matched = base ? tensors.map(lastFirst) : tensors;
  const all = base ? [base, ...opened] : opened;
  return { opened, base, all, matched, notes: [...all.flatMap((c) => c.notes), ...notes] };
}

const lastFirst = ({ name, entries }: Matched): Matched => ({
  name,
  entries: [entries.at(-1) ?? null, ...entries.slice(0, -1)],
});
